/** Little-endian numbers read from a part of a core, with the byte of the file in every error. */
import { InputError } from '../../base/input-error.ts';
import { hex } from '../../base/u64.ts';
import type { ByteSource } from './byte-source.ts';

/** Reads numbers out of one part of the file and knows where in the file they stand. */
export class Fields {
  readonly file: string;
  readonly #base: number;
  readonly #view: DataView;

  constructor(file: string, base: number, bytes: Uint8Array) {
    this.file = file;
    this.#base = base;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8 = (at: number): number => this.#view.getUint8(at);
  u16 = (at: number): number => this.#view.getUint16(at, true);
  u32 = (at: number): number => this.#view.getUint32(at, true);
  u64 = (at: number): bigint => this.#view.getBigUint64(at, true);

  /** @throws InputError naming byte `at` of this part */
  fail(at: number, what: string, expected: string, found: string): never {
    throw coreError(this.file, this.#base + at, what, expected, found);
  }

  /** @throws InputError when `found` is not `expected` */
  expect(at: number, what: string, expected: number, found: number, name = ''): void {
    if (found !== expected)
      this.fail(at, what, name === '' ? `${expected}` : `${expected} (${name})`, `${found}`);
  }
}

/** An error at a byte of a core. */
export function coreError(
  file: string,
  offset: number,
  what: string,
  expected: string,
  found: string,
): InputError {
  return new InputError(`byte ${hex(offset)}: ${what}`, { file, expected, found });
}

/** @throws InputError when the file ends before the bytes asked for */
export function readFields(source: ByteSource, offset: number, length: number, what: string): Fields {
  return new Fields(source.file, offset, readExactly(source, offset, length, what));
}

function readExactly(source: ByteSource, offset: number, length: number, what: string): Uint8Array {
  if (offset + length > source.size) {
    const expected = `${length} bytes`;
    throw coreError(
      source.file,
      offset,
      `the file ends in the middle of ${what}`,
      expected,
      left(source, offset),
    );
  }
  const bytes = new Uint8Array(length);
  source.read(offset, bytes);
  return bytes;
}

function left(source: ByteSource, offset: number): string {
  return offset >= source.size
    ? `a file of ${source.size} bytes`
    : `${source.size - offset} bytes, then the end of the file`;
}
