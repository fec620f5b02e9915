/** Runs the command line in this process and collects what it writes. */
import { runCommandLine } from '../../src/cli/run-command-line.ts';

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** As on a terminal of this many columns; without it the output goes to no terminal. */
  readonly columns?: number;
}

export async function runCommand(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const written = { stdout: '', stderr: '' };
  const output = (name: keyof typeof written) => ({
    write: (text: string) => {
      written[name] += text;
    },
    isTTY: options.columns !== undefined,
    ...(options.columns === undefined ? {} : { columns: options.columns }),
  });
  const status = await runCommandLine(args, { stdout: output('stdout'), stderr: output('stderr') });
  return { status, ...written };
}
