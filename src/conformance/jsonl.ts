/**
 * Reads JSON Lines files, plain or gzip (told apart by the first two bytes, not by the name), line by line without
 * holding the file in memory. Every error of the input is an `InputError` that names file and line.
 * It does not look into the objects: what a line must hold is for the reader of vectors, traces or truth files.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { InputError } from '../base/input-error.ts';
import { systemErrorWords } from './file-errors.ts';

/** One line of a file, parsed. */
export interface JsonLine {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly value: unknown;
}

export interface JsonLinesOptions {
  /**
   * Integers of 16 digits and more become decimal strings, so that 64-bit numbers written without quotes keep every
   * digit. Costs one pass over each line.
   */
  readonly wideIntegersAsText?: boolean;
}

/** Bytes read and unpacked at a time. */
const PIECE_BYTES = 1 << 20;

const STREAM_ERRORS: Readonly<Record<string, string>> = {
  Z_BUF_ERROR: 'the gzip data ends too early: the file is truncated',
  Z_DATA_ERROR: 'the gzip data is damaged',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'not UTF-8 text',
};

/**
 * The lines of `file` in order; blank lines are skipped, and a last line needs no newline.
 * @throws InputError for a file that cannot be read, damaged gzip or UTF-8, and a line that is not JSON
 */
export async function* readJsonLines(file: string, options: JsonLinesOptions = {}): AsyncGenerator<JsonLine> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 0;
  let rest = '';
  try {
    for await (const chunk of await openInput(file)) {
      const lines = (rest + decoder.decode(chunk as Buffer, { stream: true })).split('\n');
      rest = lines.pop() as string;
      for (const text of lines) {
        line++;
        if (text.trim() !== '') yield { file, line, value: parseLine(text, file, line, options) };
      }
    }
    rest += decoder.decode();
  } catch (error) {
    throw asInputError(error, file, line + 1);
  }
  if (rest.trim() !== '') yield { file, line: line + 1, value: parseLine(rest, file, line + 1, options) };
}

/** The bytes of the file, unpacked when it starts as gzip does (RFC 1952, "Member header and trailer"). */
async function openInput(file: string): Promise<Readable> {
  const handle = await open(file, 'r');
  const magic = new Uint8Array(2);
  try {
    await handle.read(magic, 0, 2, 0);
  } finally {
    await handle.close();
  }
  const source = createReadStream(file, { highWaterMark: PIECE_BYTES });
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) return source;
  // Large pieces: with 16 KiB ones a 16 MB file takes 80 to 120 ms to unpack, with 1 MiB ones 20 ms.
  const unpacked = source.pipe(createGunzip({ chunkSize: PIECE_BYTES }));
  source.once('error', (error) => unpacked.destroy(error));
  return unpacked;
}

function asInputError(error: unknown, file: string, line: number): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (error instanceof InputError || typeof code !== 'string') return error;
  const known = STREAM_ERRORS[code] ?? systemErrorWords(code);
  const position = code.startsWith('Z_') || code.startsWith('ERR_') ? { file, line } : { file };
  return new InputError(known ?? `cannot be read (${code})`, position);
}

/** A whole string, passed over, or a whole number. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const WIDE_INTEGER = /^-?\d{16,}$/;

const quoteWideIntegers = (text: string): string =>
  text.replace(STRING_OR_NUMBER, (token) => (WIDE_INTEGER.test(token) ? `"${token}"` : token));

function parseLine(text: string, file: string, line: number, options: JsonLinesOptions): unknown {
  const source = options.wideIntegersAsText === true ? quoteWideIntegers(text) : text;
  try {
    return JSON.parse(source) as unknown;
  } catch (error) {
    const position = /position (\d+)/.exec((error as Error).message)?.[1];
    throw new InputError('the line is not a JSON object', {
      file,
      line,
      ...(position !== undefined && source === text ? { column: Number(position) + 1 } : {}),
      found: excerpt(text, position === undefined ? text.length : Number(position)),
    });
  }
}

/** Some characters of the line before `at`, so that the place can be found in a line of megabytes. */
function excerpt(text: string, at: number): string {
  const from = Math.max(0, at - 30);
  return JSON.stringify(`${from > 0 ? '…' : ''}${text.slice(from, at + 10)}`);
}
