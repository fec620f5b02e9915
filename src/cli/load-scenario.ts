/**
 * Loads a scenario file: a module whose default export is made by `defineScenario`, or YAML. TypeScript modules load
 * also where the runtime itself cannot: a loader is registered before the first of them.
 */
import { execFile } from 'node:child_process';
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { InputError } from '../base/input-error.ts';
import { readTextFile } from '../conformance/file-errors.ts';
import { checkScenario, type Scenario } from '../userland/scenario.ts';
import { loadYamlScenario } from '../userland/yaml/load.ts';
import { type ErrorPlace, errorPlace } from './error-place.ts';
import { resolveToRunningPackage } from './running-package.ts';

/** @throws InputError for a file that is missing, is no scenario, or throws while it loads */
export async function loadScenario(file: string): Promise<Scenario> {
  const extension = extname(file);
  if (extension === '.yaml' || extension === '.yml') return loadYamlScenario(readTextFile(file), file);
  if (!['.ts', '.mts', '.js', '.mjs'].includes(extension)) {
    throw new InputError('not a scenario', {
      file,
      expected: 'a .ts, .mts, .js, .mjs, .yaml or .yml file',
      found: extension || 'no extension',
    });
  }
  // Reading first gives a missing file the same one line as everywhere else.
  readTextFile(file);
  const scenario = checkedScenario(await defaultExport(file), file);
  return scenario.file === undefined ? { ...scenario, file } : scenario;
}

function checkedScenario(value: unknown, file: string): Scenario {
  try {
    return checkScenario(value);
  } catch (error) {
    throw error instanceof InputError ? error.at({ file }) : error;
  }
}

async function defaultExport(file: string): Promise<unknown> {
  if (extname(file).endsWith('ts')) await registerTypeScript();
  resolveToRunningPackage();
  try {
    const module = (await import(pathToFileURL(resolve(file)).href)) as { readonly default?: unknown };
    const exported = isTranspiled(module.default) ? module.default.default : module.default;
    if (exported === undefined) {
      throw new InputError('no default export', { file, expected: 'export default defineScenario({…})' });
    }
    return exported;
  } catch (error) {
    if (error instanceof Error && error.name === 'InputError') throw placed(error, file);
    const { message, line, column } = await placeOf(error, file);
    throw new InputError(`the scenario throws while it loads: ${message}`, {
      file,
      ...(line === undefined ? {} : { line }),
      ...(column === undefined ? {} : { column }),
    });
  }
}

/** Is it all exports of a module that was made CommonJS? Its default export is one level further down then. */
function isTranspiled(value: unknown): value is { readonly default?: unknown } {
  return typeof value === 'object' && value !== null && '__esModule' in value;
}

/** `defineScenario` knows no file; the error's stack does. An error of another module graph has the same fields. */
function placed(error: Error, file: string): Error {
  const { reason, details } = error as InputError;
  if (details.file !== undefined) return error;
  const { line, column } = errorPlace(error, file);
  return new InputError(reason, {
    file,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
    ...details,
  });
}

/**
 * Where the error was thrown. The runtime keeps the place of a mistake in JavaScript's grammar to itself when a module
 * is imported, and tells it when the file is only checked.
 */
async function placeOf(error: unknown, file: string): Promise<ErrorPlace> {
  const place = errorPlace(error, file);
  if (!(error instanceof SyntaxError) || place.line !== undefined) return place;
  const checked: { readonly stderr?: string } = await promisify(execFile)(process.execPath, [
    '--check',
    resolve(file),
  ]).catch((failure: { readonly stderr?: string }) => failure);
  const line = /^.*:(\d+)\n/.exec(checked.stderr ?? '')?.[1];
  return line === undefined ? place : { ...place, line: Number(line) };
}

/** Under a loader that already reads TypeScript (tests, `npm run tablewalk`) there is nothing to do. */
async function registerTypeScript(): Promise<void> {
  const own = extname(import.meta.url);
  if (own === '.ts') return;
  const [commonJs, modules] = await Promise.all([import('tsx/cjs/api'), import('tsx/esm/api')]);
  // In a folder whose package.json does not say `"type": "module"`, a .ts file is CommonJS.
  commonJs.register();
  modules.register();
}
