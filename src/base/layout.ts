/**
 * A 64-bit word declared once, field by field, in the manual's order and names. Masks, reading, writing and printing
 * all come from the declaration. A layout names every one of the 64 bits exactly once or it does not load.
 */
import { type Halves, highHalf, lowHalf, maskOf } from './u64.ts';

/** How a field is printed: a flag by its name alone, a number with its value, the rest only when asked for. */
export type FieldKind = 'flag' | 'number' | 'address' | 'ignored' | 'reserved';

export interface FieldDeclaration {
  readonly high: number;
  readonly low: number;
  readonly kind: FieldKind;
  /** What the field means, in the manual's terms. */
  readonly meaning: string;
}

/** One bit. */
export const bit = (at: number, meaning: string): FieldDeclaration => ({
  high: at,
  low: at,
  kind: 'flag',
  meaning,
});
/** Bits high:low, printed as a number. */
export const bits = (high: number, low: number, meaning: string): FieldDeclaration => ({
  high,
  low,
  kind: 'number',
  meaning,
});
/** Bits high:low of an address: the value is the field in place, not shifted down. */
export const addressBits = (high: number, low: number, meaning: string): FieldDeclaration => ({
  high,
  low,
  kind: 'address',
  meaning,
});
/** Bits the hardware does not look at; software may use them. */
export const ignoredBits = (
  high: number,
  low: number,
  meaning = 'ignored by hardware',
): FieldDeclaration => ({
  high,
  low,
  kind: 'ignored',
  meaning,
});
/** Bits that must be zero. */
export const reservedBits = (high: number, low: number, meaning = 'reserved'): FieldDeclaration => ({
  high,
  low,
  kind: 'reserved',
  meaning,
});

/** One field of a word, read. */
export interface FieldValue {
  readonly name: string;
  readonly high: number;
  readonly low: number;
  readonly kind: FieldKind;
  readonly meaning: string;
  /** The field shifted down to bit 0; an address stays in place. */
  readonly value: bigint;
}

export class Layout<Name extends string = string> {
  readonly title: string;
  /** From bit 63 down. */
  readonly names: readonly Name[];
  readonly #fields: ReadonlyMap<string, FieldDeclaration>;

  /** @throws Error when a bit is named twice or not at all: a wrong declaration is our mistake. */
  constructor(title: string, fields: { readonly [K in Name]: FieldDeclaration }) {
    this.title = title;
    const entries = Object.entries(fields) as [Name, FieldDeclaration][];
    entries.sort((a, b) => b[1].high - a[1].high);
    let next = 63;
    for (const [name, { high, low }] of entries) {
      if (high !== next || low > high || low < 0) {
        throw new Error(`layout ${title}: field ${name} is ${high}:${low}, bit ${next} comes next`);
      }
      next = low - 1;
    }
    if (next !== -1) throw new Error(`layout ${title}: bits ${next}:0 have no name`);
    this.names = entries.map(([name]) => name);
    this.#fields = new Map(entries);
  }

  /**
   * The declaration of a field.
   * @throws Error when there is no such field: names come from the declaration
   */
  field(name: Name): FieldDeclaration {
    const field = this.#fields.get(name);
    if (field === undefined) throw new Error(`layout ${this.title} has no field ${name}`);
    return field;
  }

  /** The bits of the named fields, in place. */
  mask(...names: readonly Name[]): bigint {
    return names.reduce((mask, name) => mask | maskOf(this.field(name).high, this.field(name).low), 0n);
  }

  /** `mask` as int32 halves, for constants of hot paths that are read once at load. */
  half(...names: readonly Name[]): Readonly<Halves> {
    const mask = this.mask(...names);
    return { hi: highHalf(mask), lo: lowHalf(mask) };
  }

  /** The value of a field: shifted down, except that an address stays in place. */
  get(word: bigint, name: Name): bigint {
    const { low, kind } = this.field(name);
    const inPlace = word & this.mask(name);
    return kind === 'address' ? inPlace : inPlace >> BigInt(low);
  }

  /** Is any bit of the field set? */
  has(word: bigint, name: Name): boolean {
    return (word & this.mask(name)) !== 0n;
  }

  /**
   * `word` with one field replaced.
   * @throws RangeError when the value does not fit the field
   */
  set(word: bigint, name: Name, value: bigint | number | boolean): bigint {
    const { low, kind } = this.field(name);
    const mask = this.mask(name);
    const number = BigInt(value);
    const inPlace = kind === 'address' ? number : number << BigInt(low);
    if (number < 0n || (inPlace & ~mask) !== 0n) {
      throw new RangeError(`${this.title}: 0x${number.toString(16)} does not fit field ${name}`);
    }
    return (word & ~mask) | inPlace;
  }

  /** A word from its fields; fields that are not given are 0. */
  encode(values: { readonly [K in Name]?: bigint | number | boolean }): bigint {
    let word = 0n;
    for (const [name, value] of Object.entries(values)) {
      word = this.set(word, name as Name, value as bigint | number | boolean);
    }
    return word;
  }

  /** Every field with its value, from bit 63 down. */
  decode(word: bigint): FieldValue[] {
    return this.names.map((name) => ({ name, ...this.field(name), value: this.get(word, name) }));
  }

  /** One line, low bits first: flags that are set by name, numbers that are not 0 as NAME=0x…. */
  format(word: bigint): string {
    const parts: string[] = [];
    for (const { name, kind, value } of this.decode(word).reverse()) {
      if (value === 0n) continue;
      parts.push(kind === 'flag' ? name : `${name}=0x${value.toString(16)}`);
    }
    return parts.join(' ');
  }
}
