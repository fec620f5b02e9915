/** How far an exploration is, in a file: written whole, under another name first, so that no reader sees half of it. */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { InputError } from '../base/input-error.ts';
import { readTextFile } from '../conformance/file-errors.ts';

/** Null when there is no such file yet. @throws InputError when it is not JSON */
export function readCheckpoint(file: string): unknown {
  if (!existsSync(file)) return null;
  try {
    return JSON.parse(readTextFile(file));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InputError('not a checkpoint', { file, expected: 'JSON', found: error.message });
  }
}

/** @throws InputError when it cannot be written */
export function writeCheckpoint(file: string, checkpoint: object): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify(checkpoint)}\n`);
    renameSync(temporary, file);
  } catch (error) {
    throw new InputError('cannot be written', {
      file,
      found: (error as NodeJS.ErrnoException).code ?? String(error),
    });
  }
}
