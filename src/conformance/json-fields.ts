/**
 * Takes fields out of parsed JSON by hand. Twenty thousand vectors are read in less time than a schema library needs
 * for its first thousand, and an error names the field by its path: `steps[3].expect.pa`.
 */
import { InputError } from '../base/input-error.ts';
import type { Halves } from '../base/u64.ts';

/** Where a value stands. */
export interface Place {
  readonly file: string;
  readonly line?: number;
}

type Key = string | number;

/** Which value of a line an error speaks of; made anew only for lists and nested objects. */
export class FieldReader {
  readonly value: Readonly<Record<string, unknown>>;
  readonly #place: Place;
  readonly #path: string;

  /** @throws InputError when `value` is not an object */
  constructor(value: unknown, place: Place, path = '') {
    this.#place = place;
    this.#path = path;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new InputError(path === '' ? 'not a JSON object' : `field ${path}`, {
        ...place,
        expected: 'an object',
        found: show(value),
      });
    }
    this.value = value as Readonly<Record<string, unknown>>;
  }

  has(key: string): boolean {
    return this.value[key] !== undefined;
  }

  /** @throws InputError naming the field, what was expected there and what was found */
  fail(keys: readonly Key[], expected: string, found: unknown): never {
    throw new InputError(`field ${pathOf(this.#path, keys)}`, {
      ...this.#place,
      expected,
      found: show(found),
    });
  }

  object(key: string): FieldReader {
    return new FieldReader(this.value[key], this.#place, pathOf(this.#path, [key]));
  }

  objects(key: string): FieldReader[] {
    const list = this.list(key);
    return list.map((item, index) => new FieldReader(item, this.#place, pathOf(this.#path, [key, index])));
  }

  list(key: string): readonly unknown[] {
    const value = this.value[key];
    if (!Array.isArray(value)) this.fail([key], 'a list', value);
    return value as readonly unknown[];
  }

  text(key: string): string {
    const value = this.value[key];
    if (typeof value !== 'string') this.fail([key], 'a string', value);
    return value as string;
  }

  texts(key: string): readonly string[] {
    const list = this.list(key);
    const wrong = list.findIndex((item) => typeof item !== 'string');
    if (wrong >= 0) this.fail([key, wrong], 'a string', list[wrong]);
    return list as readonly string[];
  }

  /** One of the words given. */
  oneOf<Word extends string>(key: string, words: readonly Word[]): Word {
    const value = this.value[key] as Word;
    if (!words.includes(value)) this.fail([key], words.map((word) => `"${word}"`).join(' or '), value);
    return value;
  }

  /** An integer from `low` to `high`. */
  integer(key: string, low: number, high: number): number {
    const value = this.value[key];
    if (!Number.isInteger(value) || (value as number) < low || (value as number) > high) {
      this.fail([key], `an integer from ${low} to ${high}`, value);
    }
    return value as number;
  }

  boolean(key: string): boolean {
    const value = this.value[key];
    if (typeof value !== 'boolean') this.fail([key], 'true or false', value);
    return value as boolean;
  }

  /** A 64-bit number written as a hexadecimal string, as halves. */
  word(key: string): Halves {
    const word = { hi: 0, lo: 0 };
    if (!hexInto(this.value[key], word)) this.fail([key], HEX_EXPECTED, this.value[key]);
    return word;
  }

  /** The word that a pair [hexadecimal string, something] starts with. @param keys where the pair stands */
  pairWord(keys: readonly Key[], pair: unknown): Halves {
    if (!Array.isArray(pair) || pair.length !== 2) this.fail(keys, 'a pair [address, value]', pair);
    const word = { hi: 0, lo: 0 };
    const text: unknown = (pair as unknown[])[0];
    if (!hexInto(text, word)) this.fail([...keys, 0], HEX_EXPECTED, text);
    return word;
  }

  /** A 64-bit number written as a hexadecimal string. */
  hex(key: string): bigint {
    const value = this.value[key];
    if (typeof value !== 'string' || !HEX.test(value)) this.fail([key], HEX_EXPECTED, value);
    return BigInt(value as string);
  }

  /** A list of pairs of hexadecimal strings as int32: first high, first low, second high, second low, and so on. */
  wordPairs(key: string): Int32Array {
    const list = this.list(key);
    const words = new Int32Array(list.length * 4);
    const word = { hi: 0, lo: 0 };
    for (let index = 0; index < list.length; index++) {
      const pair = list[index];
      if (!Array.isArray(pair) || pair.length !== 2) this.fail([key, index], 'a pair [address, value]', pair);
      for (let side = 0; side < 2; side++) {
        const text: unknown = (pair as unknown[])[side];
        if (!hexInto(text, word)) this.fail([key, index, side], HEX_EXPECTED, text);
        words[index * 4 + side * 2] = word.hi;
        words[index * 4 + side * 2 + 1] = word.lo;
      }
    }
    return words;
  }
}

const HEX = /^0x[0-9a-f]{1,16}$/i;
const HEX_EXPECTED = 'a hexadecimal string "0x…" of at most 64 bits';

/**
 * Reads `0x` and 1 to 16 hexadecimal digits into halves; false for anything else. By character: a vector has some
 * thirty of them, and `BigInt` with the conversion to halves takes six times as long.
 */
function hexInto(text: unknown, word: Halves): boolean {
  if (typeof text !== 'string' || text.length < 3 || text.length > 18 || !text.startsWith('0x')) return false;
  let hi = 0;
  let lo = 0;
  for (let at = 2; at < text.length; at++) {
    const digit = hexDigit(text.charCodeAt(at));
    if (digit < 0) return false;
    hi = (hi << 4) | (lo >>> 28);
    lo = (lo << 4) | digit;
  }
  word.hi = hi;
  word.lo = lo;
  return true;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

function pathOf(base: string, keys: readonly Key[]): string {
  return keys.reduce<string>(
    (path, key) => (typeof key === 'number' ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`),
    base,
  );
}

/** A found value in a few characters. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
