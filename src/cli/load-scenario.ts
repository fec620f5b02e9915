/**
 * Loads a scenario file: a module whose default export is made by `defineScenario`, or YAML. TypeScript modules load
 * also where the runtime itself cannot: a loader is registered before the first of them.
 */
import { readFileSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InputError } from '../base/input-error.ts';
import { checkScenario, type Scenario } from '../userland/scenario.ts';
import { loadYamlScenario } from '../userland/yaml/load.ts';
import { errorPlace } from './error-place.ts';

/** @throws InputError for a file that is missing, is no scenario, or throws while it loads */
export async function loadScenario(file: string): Promise<Scenario> {
  const extension = extname(file);
  if (extension === '.yaml' || extension === '.yml')
    return loadYamlScenario(readFileSync(file, 'utf8'), file);
  if (!['.ts', '.mts', '.js', '.mjs'].includes(extension)) {
    throw new InputError('not a scenario', {
      file,
      expected: 'a .ts, .js, .mjs or .yaml file',
      found: extension || 'no extension',
    });
  }
  // Reading first gives a missing file the same one line as everywhere else.
  readFileSync(file);
  const scenario = checkScenario(await defaultExport(file));
  return scenario.file === undefined ? { ...scenario, file } : scenario;
}

async function defaultExport(file: string): Promise<unknown> {
  if (extname(file).endsWith('ts')) await registerTypeScript();
  try {
    const module = (await import(pathToFileURL(resolve(file)).href)) as { readonly default?: unknown };
    if (module.default === undefined) {
      throw new InputError('no default export', { file, expected: 'export default defineScenario({…})' });
    }
    return module.default;
  } catch (error) {
    if (error instanceof Error && error.name === 'InputError') throw error;
    const { message, line, column } = errorPlace(error, file);
    throw new InputError(`the scenario throws while it loads: ${message}`, {
      file,
      ...(line === undefined ? {} : { line }),
      ...(column === undefined ? {} : { column }),
    });
  }
}

/** Under a loader that already reads TypeScript (tests, `npm run tablewalk`) there is nothing to do. */
async function registerTypeScript(): Promise<void> {
  const own = extname(import.meta.url);
  if (own === '.ts') return;
  const { register } = await import('tsx/esm/api');
  register();
}
