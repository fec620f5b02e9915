/** Turns errors that are the input's fault into one line; says of all others that they are not. */

/** The shape of `InputError`; told by name, since a scenario may have been loaded into a module graph of its own. */
interface InputErrorLike {
  readonly name: string;
  readonly message: string;
}

const systemErrors: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a folder, a file was expected',
  ENOTDIR: 'a part of the path is not a folder',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'file name too long',
  ELOOP: 'too many symbolic links',
};

/** One line without a newline, or undefined when the error is not the input's fault. */
export function inputErrorLine(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const like = error as InputErrorLike;
  if (like.name === 'InputError') return `tablewalk: ${oneLine(like.message)}`;
  const { code, path } = error as NodeJS.ErrnoException;
  if (code !== undefined && code in systemErrors && path !== undefined) {
    return `tablewalk: ${path}: ${systemErrors[code]}`;
  }
  return undefined;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ');
}
