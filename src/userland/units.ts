/** Arguments of calls in the forms people write them, turned into what the kernel takes, with the checks on the way. */
import { PROT_BTI, PROT_MTE } from '../arch/user-abi.ts';
import { InputError } from '../base/input-error.ts';
import { PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_WRITE } from '../kernel/mm/mman.ts';

/** A 64-bit number: a JavaScript number where it is exact, a bigint for all of them. */
export type Word = number | bigint;

/** PROT_ bits by letter: `rw`, `rx`, `rwm`, `none`. */
const PROTECTION_LETTERS: Readonly<Record<string, number>> = {
  r: PROT_READ,
  w: PROT_WRITE,
  x: PROT_EXEC,
  m: PROT_MTE,
  b: PROT_BTI,
  d: PROT_GROWSDOWN,
  u: PROT_GROWSUP,
};
const PROTECTION_WORDS = 'letters of rwx, or none';

/**
 * d and u are PROT_GROWSDOWN and PROT_GROWSUP, which mean something to mprotect only.
 * @throws InputError for letters other than r, w, x, d, u, and of arm64 m (PROT_MTE) and b (PROT_BTI), each once, or `none`
 */
export function protectionBits(text: string): number {
  if (text === 'none') return 0;
  if (typeof text !== 'string') {
    throw new InputError('prot is no text', { expected: PROTECTION_WORDS, found: String(text) });
  }
  let bits = 0;
  for (const letter of text) {
    const bit = PROTECTION_LETTERS[letter] ?? 0;
    if (bit === 0 || (bits & bit) !== 0) {
      throw new InputError(`"${text}" is not a protection`, {
        expected: PROTECTION_WORDS,
        found: text,
      });
    }
    bits |= bit;
  }
  return bits;
}

/**
 * An unsigned 64-bit word from what a program wrote; negative numbers are their two's complement.
 * @throws InputError when it is no whole number of 64 bits, or a `number` beyond 2^53 that lost digits already
 */
export function word(value: Word, what: string): bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new InputError(`${what}: ${value} is not exact as a number`, {
      expected: 'a bigint',
      found: `${value}`,
    });
  }
  if (typeof value !== 'number' && typeof value !== 'bigint') {
    throw new InputError(`${what} is not a number`, {
      expected: 'a number or bigint',
      found: value === null ? 'null' : typeof value,
    });
  }
  const exact = BigInt(value);
  if (exact >= 1n << 64n || exact < -(1n << 63n)) {
    throw new InputError(`${what}: 0x${exact.toString(16)} does not fit 64 bits`);
  }
  return BigInt.asUintN(64, exact);
}

/** As `word`, for counts of bytes that must fit a JavaScript number. @throws InputError when it does not */
export function byteCount(value: Word, what: string): number {
  const exact = word(value, what);
  if (exact > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new InputError(`${what}: ${exact} bytes are more than this program can move`);
  }
  return Number(exact);
}

/** @throws InputError when `value` is no object, or has a key that is not among `known` */
export function checkKeys(value: object, known: readonly string[], what: string): void {
  if (typeof value !== 'object' || value === null) {
    throw new InputError(`${what}: not an object`, { expected: known.join(', '), found: String(value) });
  }
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const near = nearestName(key, known);
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    throw new InputError(`${what} has no "${key}"${hint}`, { expected: known.join(', ') });
  }
}

/** The width of a load or store. @throws InputError when no instruction modelled has it */
export function accessWidth(bytes: number, what: string): number {
  if (bytes !== 1 && bytes !== 2 && bytes !== 4 && bytes !== 8) {
    throw new InputError(what, { expected: '1, 2, 4 or 8', found: String(bytes) });
  }
  return bytes;
}

/** The word of `nearest` candidates that is closest to what was typed, if any is close: for "did you mean". */
export function nearestName(typed: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(typed.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(typed.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance with transpositions of neighbours counted once. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(
        cell(rows, i - 1, j) + 1,
        (row[j - 1] as number) + 1,
        cell(rows, i - 1, j - 1) + same,
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, cell(rows, i - 2, j - 2) + 1);
      }
      row.push(least);
    }
    rows.push(row);
  }
  return cell(rows, a.length, b.length);
}

const cell = (rows: readonly (readonly number[])[], i: number, j: number): number => rows[i]?.[j] as number;
