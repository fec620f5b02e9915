/**
 * What the ioctls of userfaultfd ask of a range before they look at anything.
 * @see Linux fs/userfaultfd.c, `validate_range`, `validate_unaligned_range`
 */
import { EINVAL } from '../../errno.ts';
import type { MmStruct } from '../mm.ts';

const PAGE_MASK = 0xfffn;
const U64 = 1n << 64n;

/** A range whose start need not be at a page boundary: the source of UFFDIO_COPY. 0 or -EINVAL. */
export function validateUnalignedRange(mm: MmStruct, start: bigint, length: bigint): number {
  const taskSize = BigInt(mm.taskSizePages) << 12n;
  if ((length & PAGE_MASK) !== 0n || length === 0n) return -EINVAL;
  if (start + length >= U64) return -EINVAL;
  if (start < BigInt(mm.kernel.config.mmapMinPage) << 12n) return -EINVAL;
  if (start >= taskSize || length > taskSize - start) return -EINVAL;
  return 0;
}

/** Whole pages inside what the process may map. Tag bits are not taken off. 0 or -EINVAL. */
export function validateRange(mm: MmStruct, start: bigint, length: bigint): number {
  return (start & PAGE_MASK) === 0n ? validateUnalignedRange(mm, start, length) : -EINVAL;
}
