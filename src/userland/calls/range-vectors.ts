/** Lists of ranges as system calls take them (`struct iovec`). */
import { InputError } from '../../base/input-error.ts';
import { hexAddress } from '../../base/u64.ts';
import type { IoVector } from '../../kernel/remote/user-buffer.ts';
import type { MemoryRange } from '../ranges.ts';
import { checkKeys, word } from '../units.ts';

/** @throws InputError for what is no list of ranges */
export function rangeVectors(ranges: readonly MemoryRange[], what: string): IoVector[] {
  if (!Array.isArray(ranges)) {
    throw new InputError(`${what}: the ranges`, {
      expected: 'a list of { address, bytes }',
      found: typeof ranges,
    });
  }
  return ranges.map((range: MemoryRange) => {
    checkKeys(range, ['address', 'bytes'], `a range of ${what}`);
    return {
      base: word(range.address, `${what}: address`),
      length: word(range.bytes, `${what}: bytes`),
    };
  });
}

/** For the timeline. */
export const shownRanges = (list: readonly IoVector[]): string =>
  list.length === 0
    ? 'no ranges'
    : list
        .map(({ base, length }) =>
          typeof base === 'bigint' ? `${hexAddress(base)}+${length}` : `buffer+${length}`,
        )
        .join(',');
