/**
 * The arguments of one recorded step, with the checks that turn text into numbers. An argument that is missing or
 * cannot be read is an `InputError` of the trace file; a name the replay does not know makes the trace unsupported.
 */
import type { InputError } from '../../base/input-error.ts';
import { maskOf } from '../../base/u64.ts';
import { Unsupported } from '../../kernel/unsupported.ts';

const ALL_BITS = maskOf(63, 0);

export class StepArguments {
  readonly #op: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #fail: (message: string, found: unknown) => InputError;

  constructor(
    op: string,
    values: Readonly<Record<string, unknown>>,
    fail: (message: string, found: unknown) => InputError,
  ) {
    this.#op = op;
    this.#values = values;
    this.#fail = fail;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  /** Every argument as it stands in the trace, for messages. */
  toString(): string {
    return Object.entries(this.#values)
      .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
      .join(' ');
  }

  get names(): readonly string[] {
    return Object.keys(this.#values);
  }

  /** A 64-bit unsigned number, written as a JSON number, decimal text or 0x text. */
  word(name: string, absent?: bigint): bigint {
    const value = this.#values[name];
    if (value === undefined && absent !== undefined) return absent;
    const word = toWord(value);
    if (word === undefined) throw this.#fail(`${this.#op} needs "${name}", a 64-bit number`, value);
    return word;
  }

  /** A number that fits a double exactly: lengths, counts, process numbers. */
  count(name: string, absent?: number): number {
    const value = this.word(name, absent === undefined ? undefined : BigInt(absent));
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.#fail(`${this.#op}: "${name}" is too large`, value);
    return Number(value);
  }

  text(name: string, absent?: string): string {
    const value = this.#values[name];
    if (value === undefined && absent !== undefined) return absent;
    if (typeof value !== 'string') throw this.#fail(`${this.#op} needs "${name}", a text`, value);
    return value;
  }

  /**
   * A set of bits: a number, or names of `table` joined by `|`.
   * @throws Unsupported for a name that is not in the table
   */
  bits(name: string, table: Readonly<Record<string, number>>, absent?: number): number {
    const value = this.#values[name];
    if (value === undefined && absent !== undefined) return absent;
    const word = toWord(value);
    if (word !== undefined) return Number(word);
    let bits = 0;
    for (const part of this.text(name).split('|')) bits |= this.bitOf(name, part, table);
    return bits >>> 0;
  }

  /** The bit that one name of the argument stands for. @throws Unsupported for a name that is not in the table */
  bitOf(name: string, part: string, table: Readonly<Record<string, number>>): number {
    const bit = Object.hasOwn(table, part) ? table[part] : undefined;
    if (bit === undefined) throw new Unsupported(`${this.#op} with ${name} ${part}`);
    return bit;
  }

  /** The names of a `|` list, or none when the argument is a number or absent. */
  namesOf(name: string): readonly string[] {
    const value = this.#values[name];
    return typeof value === 'string' && toWord(value) === undefined ? value.split('|') : [];
  }

  /** An iovec array: address and length in bytes, both 64 bits. `undefined` when the argument is absent. */
  vectors(name: string): readonly { readonly base: bigint; readonly length: bigint }[] | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    if (!Array.isArray(value))
      throw this.#fail(`${this.#op}: "${name}" must be a list of [address, length]`, value);
    return value.map((pair: unknown) => {
      const base = Array.isArray(pair) ? toWord(pair[0]) : undefined;
      const length = Array.isArray(pair) ? toWord(pair[1]) : undefined;
      if (base === undefined || length === undefined) {
        throw this.#fail(`${this.#op}: "${name}" must be a list of [address, length]`, pair);
      }
      return { base, length };
    });
  }
}

function toWord(value: unknown): bigint | undefined {
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? BigInt.asUintN(64, BigInt(value)) : undefined;
  if (typeof value !== 'string' || !/^(0x[0-9a-fA-F]{1,16}|-?\d{1,20})$/.test(value)) return undefined;
  const number = BigInt(value);
  return number > ALL_BITS || number < -(ALL_BITS >> 1n) - 1n ? undefined : BigInt.asUintN(64, number);
}
