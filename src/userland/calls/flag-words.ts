/** Words that stand for bits of a system call's flags, with a message for those that do not. */
import { InputError } from '../../base/input-error.ts';
import { nearestName } from '../units.ts';

export type FlagTable = Readonly<Record<string, number>>;

/**
 * The bits of the words that are true in `given`: `{ mayMove: true }` with `{ mayMove: 1 }` is 1.
 * @throws InputError for a value that is no boolean
 */
export function booleanBits<Table extends FlagTable>(
  given: { readonly [Name in keyof Table]?: boolean },
  table: Table,
  what: string,
): number {
  return chosen(given, table, what).reduce((bits, name) => bits | (table[name] as number), 0);
}

/** The words themselves, for the timeline: `mayMove|fixed`, or `0`. */
export function booleanWords(given: object, table: FlagTable): string {
  const names = Object.keys(table).filter((name) => (given as Record<string, unknown>)[name] === true);
  return names.join('|') || '0';
}

function chosen(given: object, table: FlagTable, what: string): string[] {
  return Object.keys(table).filter((name) => {
    const value = (given as Readonly<Record<string, unknown>>)[name];
    if (value === undefined || typeof value === 'boolean') return value === true;
    throw new InputError(`${what}: ${name}`, { expected: 'true or false', found: String(value) });
  });
}

/**
 * The number of one word. @param prefix may stand before it, as in Linux: `MADV_`
 * @throws InputError for a word that is not in the table
 */
export function wordNumber(word: string, table: FlagTable, prefix: string, what: string): number {
  const name = typeof word === 'string' && word.startsWith(prefix) ? word.slice(prefix.length) : word;
  if (typeof name === 'string' && Object.hasOwn(table, name)) return table[name] as number;
  const near = nearestName(String(name), Object.keys(table));
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  throw new InputError(`${what}: "${String(word)}" is not known${hint}`, {
    expected: Object.keys(table).join(', '),
  });
}

/** The bits of a list of words. @throws InputError as `wordNumber`, and when it is no list */
export function listBits(words: readonly string[], table: FlagTable, prefix: string, what: string): number {
  if (!Array.isArray(words)) {
    throw new InputError(`${what}: no list`, {
      expected: `a list of ${Object.keys(table).join(', ')}`,
      found: String(words),
    });
  }
  return words.reduce((bits, word: string) => bits | wordNumber(word, table, prefix, what), 0);
}
