/**
 * `npm start`: the main job on real input, in a clone of the project. It runs the commands a user would run, one after
 * another, and shows each command before its output.
 */
import { fileURLToPath } from 'node:url';
import { ExitStatus } from './exit-status.ts';
import { runCommandLine } from './run-command-line.ts';
import { coloursFor } from './session.ts';

interface Part {
  readonly title: string;
  readonly command: readonly string[];
}

const kernel = 'test/real/x86_64-4level-linux6.1';
const dump = ['--dump', `${kernel}.core.gz`, '--regs', `${kernel}.regs.json`];

/** A page that two processes of that kernel share, and a data page that its owner may not write yet. */
const sharedPage = '0x7fd8c39ad000';
const copyOnWritePage = '0x4c9000';

const parts: readonly Part[] = [
  {
    title: 'The page tables of a running Linux kernel: a page two processes share, seen by the first',
    command: ['walk', ...dump, '--root', 'target', '--user', '--brief', sharedPage],
  },
  {
    title:
      'The same address seen by the second process, and a write that faults: Linux has yet to copy that page',
    command: [
      'walk',
      ...dump,
      '--root',
      'reader',
      '--user',
      '--access',
      'write',
      '--brief',
      sharedPage,
      copyOnWritePage,
    ],
  },
  {
    title:
      'A recorded trace of a real kernel, replayed: remote writes break sharing after fork in the target only',
    command: ['replay', 'test/traces/directed-x86_64.jsonl.gz', '--only', 'linux-x86-d031', '--steps'],
  },
  {
    title: 'A debugger on CPU 1 changes a read-only page of its target on CPU 0',
    command: ['run', 'examples/remote-read.ts'],
  },
];

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));
const { bold, dim } = coloursFor(process.stdout);
let status: ExitStatus = ExitStatus.Ok;
for (const [index, { title, command }] of parts.entries()) {
  console.log(`${index > 0 ? '\n' : ''}${bold(`${index + 1}. ${title}`)}`);
  console.log(`${dim(`$ npm run -s tablewalk -- ${command.map(quoted).join(' ')}`)}\n`);
  status = await runCommandLine(command);
  if (status !== ExitStatus.Ok) break;
}
process.exitCode = status;

function quoted(word: string): string {
  return /^[\w./:=,-]+$/.test(word) ? word : `'${word}'`;
}
