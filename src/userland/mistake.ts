/** Turns what the author's own code threw into one line that names it, the file and the line. */
import { InputError } from '../base/input-error.ts';

/**
 * @param what whose code it was: `program "target"`
 * @param file of the scenario, as far as it is known
 * @param words says it better than the error itself, of errors that it knows
 */
export function mistakeOf(
  what: string,
  cause: unknown,
  file: string | undefined,
  words: (cause: unknown) => string | null = () => null,
): InputError {
  const place = { ...(file === undefined ? {} : { file }), ...lineOf(cause, file) };
  const better = words(cause);
  if (better !== null) return new InputError(`${what}: ${better}`, place);
  if (!(cause instanceof InputError)) return new InputError(`${what} threw ${describe(cause)}`, place);
  const { expected, found, line } = cause.details;
  return new InputError(`${what}: ${cause.reason}`, {
    ...(line === undefined ? place : { ...(file === undefined ? {} : { file }), line }),
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
  });
}

function describe(cause: unknown): string {
  return cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
}

/** Line and column in `file` where an error was made: the first frame of its stack that is in that file. */
function lineOf(
  cause: unknown,
  file: string | undefined,
): { readonly line?: number; readonly column?: number } {
  if (!(cause instanceof Error) || file === undefined) return {};
  const name = file.replace(/^.*[\\/]/, '');
  for (const frame of (cause.stack ?? '').split('\n')) {
    const match = /[(\s]?([^()\s]+):(\d+):(\d+)\)?$/.exec(frame);
    if (match?.[1]?.replace(/\?.*$/, '').endsWith(name) === true) {
      return { line: Number(match[2]), column: Number(match[3]) };
    }
  }
  return {};
}
