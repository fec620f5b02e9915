/**
 * Runs one command line. Bad input of any kind becomes one line on stderr that names the file and the position, what
 * was expected and what was found; a broken invariant of ours is the only thing that shows a stack trace.
 */
import { CommanderError } from 'commander';
import { ExitStatus } from './exit-status.ts';
import { inputErrorLine } from './input-error-line.ts';
import { buildProgram } from './program.ts';
import { type Session, startSession, type Terminal } from './session.ts';

/**
 * @param terminal where the output goes; default: the streams of this process
 * @returns the exit status
 */
export async function runCommandLine(args: readonly string[], terminal?: Terminal): Promise<ExitStatus> {
  const session = startSession(terminal);
  const program = buildProgram(session);
  try {
    if (args.length === 0) {
      const names = program.commands.map((command) => command.name()).join(', ');
      session.problem(`tablewalk: no command: expected one of ${names}; 'tablewalk --help' tells more`);
      return ExitStatus.BadInput;
    }
    await program.parseAsync(args, { from: 'user' });
    return session.status();
  } catch (error) {
    return statusOf(error, session);
  } finally {
    session.end();
  }
}

function statusOf(error: unknown, session: Session): ExitStatus {
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? session.status() : ExitStatus.BadInput;
  }
  const line = inputErrorLine(error);
  if (line !== undefined) {
    session.problem(line);
    return ExitStatus.BadInput;
  }
  session.problem('tablewalk: internal error: this is a mistake in tablewalk, please report it');
  session.problem((error instanceof Error ? error.stack : undefined) ?? String(error));
  return ExitStatus.InternalError;
}
