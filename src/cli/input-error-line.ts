/** Turns errors that are the input's fault into one line; says of all others that they are not. */
import { systemErrorWords } from '../conformance/file-errors.ts';

/** The shape of `InputError`; told by name, since a scenario may have been loaded into a module graph of its own. */
interface InputErrorLike {
  readonly name: string;
  readonly message: string;
}

/** One line without a newline, or undefined when the error is not the input's fault. */
export function inputErrorLine(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const like = error as InputErrorLike;
  if (like.name === 'InputError') return `tablewalk: ${oneLine(like.message)}`;
  const { code, path } = error as NodeJS.ErrnoException;
  const words = systemErrorWords(code);
  return words === undefined || path === undefined ? undefined : `tablewalk: ${path}: ${words}`;
}

/** The text on one line; characters that would do something to a terminal are shown as escapes. */
export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').replace(/\p{Cc}/gu, (control) => {
    return `\\x${(control.codePointAt(0) as number).toString(16).padStart(2, '0')}`;
  });
}
