/**
 * Runs one command line. Bad input of any kind becomes one line on stderr that names the file and the position, what
 * was expected and what was found; a broken invariant of ours is the only thing that shows a stack trace.
 */
import { CommanderError } from 'commander';
import pc from 'picocolors';
import { ExitStatus } from './exit-status.ts';
import { inputErrorLine } from './input-error-line.ts';
import { buildProgram } from './program.ts';
import { type Session, startSession } from './session.ts';

/** @returns the exit status */
export async function runCommandLine(args: readonly string[]): Promise<ExitStatus> {
  const session = startSession();
  const program = buildProgram(session);
  try {
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
  const { stack, message } = error as Error;
  session.problem(`${pc.red('internal error')}: this is a mistake in tablewalk, please report it`);
  session.problem(stack ?? message ?? String(error));
  return ExitStatus.InternalError;
}
