/** Values of options and arguments, read exactly; what is wrong is said in one line. */
import { InputError } from '../base/input-error.ts';

/**
 * A number of at most `bits` bits: decimal, or hexadecimal after 0x; `_` may group digits.
 * @param what as the error names it: `option --cr3`, `argument VA`
 */
export function unsignedWord(what: string, text: string, bits = 64): bigint {
  const digits = text.replaceAll('_', '').replaceAll('`', '');
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(digits)) {
    throw new InputError(what, { expected: 'a number, 0x for hexadecimal', found: `'${text}'` });
  }
  const value = BigInt(digits);
  if (BigInt.asUintN(bits, value) !== value) {
    throw new InputError(what, { expected: `at most ${bits} bits`, found: text });
  }
  return value;
}

/** A whole number from `least` to `most`. */
export function wholeNumber(what: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^-?[0-9]+$/.test(text) || value < least || value > most) {
    throw new InputError(what, { expected: `a whole number from ${least} to ${most}`, found: `'${text}'` });
  }
  return value;
}

/** Two options that were given and do not go together. */
export function exclusive(one: string, other: string): never {
  throw new InputError(`options ${one} and ${other} exclude each other`, { expected: 'one of them' });
}

/** One of the given words. */
export function oneOf<Word extends string>(what: string, text: string, words: readonly Word[]): Word {
  const word = words.find((candidate) => candidate === text);
  if (word === undefined) throw new InputError(what, { expected: words.join(', '), found: `'${text}'` });
  return word;
}
