/** Files that cannot be read, in one wording for every reader, and files that are read whole. */
import { readFileSync } from 'node:fs';
import { InputError } from '../base/input-error.ts';

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a folder, a file was expected',
  ENOTDIR: 'a part of the path is not a folder',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'file name too long',
  ELOOP: 'too many symbolic links',
  EIO: 'cannot be read: input/output error',
};

/** What a code of the operating system means to who named the file; undefined for a code that is not about files. */
export function systemErrorWords(code: string | undefined): string | undefined {
  return code === undefined ? undefined : WORDS[code];
}

/**
 * The text of a file.
 * @throws InputError when it cannot be read or is not UTF-8
 */
export function readTextFile(file: string): string {
  const bytes = readBytes(file);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new InputError('not UTF-8 text', { file });
  }
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const words = systemErrorWords(code);
    // The system tells the name only while it opens a file, not when it reads a folder.
    if (words !== undefined) throw new InputError(words, { file });
    throw error;
  }
}
