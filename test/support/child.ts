/** Child processes of the clone: the command line as `npm run -s tablewalk` starts it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommandResult } from './command.ts';

export const projectFolder = fileURLToPath(new URL('../..', import.meta.url));

/** What node needs to run a TypeScript file of the clone, from any folder. */
export const nodeOptions: readonly string[] = [
  '--import',
  import.meta.resolve('tsx'),
  '--conditions=tablewalk-source',
];

/** Runs the command lines in `folder`, in one process. */
export function runCommandsIn(folder: string, lines: readonly (readonly string[])[]): CommandResult[] {
  const driver = join(projectFolder, 'test/support/run-commands.ts');
  const json = execFileSync(process.execPath, [...nodeOptions, driver, JSON.stringify(lines)], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  return JSON.parse(json) as CommandResult[];
}

/** Makes `tablewalk` importable from `folder`, as after `npm install tablewalk` there. */
export function linkPackage(folder: string): void {
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(projectFolder, join(folder, 'node_modules/tablewalk'), 'dir');
}
