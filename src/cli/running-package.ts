/**
 * A scenario imports 'tablewalk' and means the one that runs it. Its folder may have none installed, or another one, and
 * a scenario that is no part of a package cannot name the package by itself: so the name always means this one.
 */
import Module from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's entries by the names that scenarios import them by. */
function entries(): Readonly<Record<string, string>> {
  // The folder above is src/ in a clone and dist/ in the package; there the file is .js.
  const extension = extname(new URL(import.meta.url).pathname);
  return {
    tablewalk: new URL(`../index${extension}`, import.meta.url).href,
    'tablewalk/yaml': new URL(`../yaml${extension}`, import.meta.url).href,
  };
}

/** Runs in the thread of the loader, which shares nothing with this one: hence as text. */
const RESOLVE_HOOK = `
let entries = {};
export const initialize = (data) => { entries = data; };
export const resolve = (specifier, context, next) =>
  next(Object.hasOwn(entries, specifier) ? entries[specifier] : specifier, context);
`;

interface CommonJsLoader {
  _resolveFilename(request: string, ...rest: readonly unknown[]): string;
}

/** Registered last, the hooks are asked first: before a loader that reads TypeScript. */
export function resolveToRunningPackage(): void {
  const byName = entries();
  Module.register(`data:text/javascript,${encodeURIComponent(RESOLVE_HOOK)}`, { data: byName });
  const loader = Module as unknown as CommonJsLoader;
  const resolveFilename = loader._resolveFilename;
  loader._resolveFilename = function (request, ...rest) {
    const entry = Object.hasOwn(byName, request) ? byName[request] : undefined;
    return entry === undefined ? resolveFilename.call(this, request, ...rest) : fileURLToPath(entry);
  };
}
