/** The commands, their options and their help. Each command's code is loaded only when it runs: `--help` is instant. */
import { Command } from 'commander';
import { addBenchCommand } from './commands/bench.ts';
import { addDecodeCommand } from './commands/decode.ts';
import { addExploreCommand } from './commands/explore.ts';
import { addMapsCommand } from './commands/maps.ts';
import { addReplayCommand } from './commands/replay.ts';
import { addRunCommand } from './commands/run.ts';
import { addVerifyCommand } from './commands/verify.ts';
import { addWalkCommand } from './commands/walk.ts';
import { oneLine } from './input-error-line.ts';
import type { Session } from './session.ts';
import { version } from './version.ts';

export function buildProgram(session: Session): Command {
  const program = new Command('tablewalk')
    .description('A bit-accurate x86-64 and arm64 MMU under a small Linux-like memory manager.')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .configureOutput({
      writeOut: (text) => session.print(text),
      writeErr: (text) => session.problem(oneLine(text.trim()).replace(/^error: /, 'tablewalk: ')),
      outputError: (text, write) => write(text),
      getOutHelpWidth: () => Math.min(session.width, HELP_WIDTH),
    })
    .showSuggestionAfterError(true)
    .exitOverride()
    .addHelpText('after', afterHelp);
  const commands = [
    addRunCommand,
    addExploreCommand,
    addVerifyCommand,
    addReplayCommand,
    addWalkCommand,
    addMapsCommand,
    addDecodeCommand,
    addBenchCommand,
  ];
  for (const add of commands) add(program, session);
  for (const command of program.commands) inherit(command, program);
  return program;
}

/** What holds for all commands; commands below were made before theirs had it. */
function inherit(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent).allowExcessArguments(false);
  for (const below of command.commands) inherit(below, command);
}

const HELP_WIDTH = 110;

const afterHelp = `
Exit status: 0 all is well; 1 a check failed; 2 bad usage or input; 130 interrupted.
'tablewalk COMMAND --help' has the options and an example of each command.`;
