/**
 * Making sure that a user buffer is there before something that may not fault uses it. Nothing holds the pages: they may be
 * gone again at once. Reading is `faultInReadable` of mm/user-access.ts, where a write to a file needs it.
 * @see Linux mm/gup.c, `fault_in_writeable`, `fault_in_safe_writeable`, `fault_in_subpage_writeable`;
 * arch/arm64/kernel/mte.c, `mte_probe_user_range`
 */
import type { Task } from '../../base/task.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { FAULT_FLAG_WRITE } from '../mm/fault/fault-flags.ts';
import { accessOk, copyFromUser, copyToUser } from '../mm/user-access.ts';
import type { TaskStruct } from '../task-struct.ts';
import { fixupUserFault, type MmapUnlocked } from './fixup-user-fault.ts';

const PAGE_BYTES = 4096;
/** Memory tags are one for each so many bytes. */
const MTE_GRANULE_BYTES = 16n;
const ADDRESSES = 2n ** 64n;
const ZERO = new Uint8Array(1);

/** Bytes from `address` to the start of the next page. */
const toPageEnd = (address: bigint): number => PAGE_BYTES - Number(address % BigInt(PAGE_BYTES));

/**
 * Writes a zero byte to each page of the buffer, and so destroys what was there. Returns how many of its bytes lie behind the
 * first page that cannot be written: all, when that is the first one or the range is not user space.
 */
export function* faultInWriteable(current: TaskStruct, address: bigint, length: number): Task<number> {
  if (length > 0 && !accessOk(current, address, BigInt(length))) return length;
  // A cursor that is 0 has come round the end of all addresses, Linux says; so a range that begins there is not tried either.
  if (address === 0n) return length;
  for (let done = 0; done < length; ) {
    const at = address + BigInt(done);
    if ((yield* copyToUser(current, at, ZERO)) !== 0) return length - done;
    done += toPageEnd(at);
  }
  return 0;
}

/**
 * The same by faults made by hand, under mmap_lock: nothing is written. Returns how many bytes lie behind the first page
 * whose fault fails.
 */
export function* faultInSafeWriteable(current: TaskStruct, address: bigint, length: number): Task<number> {
  const { mm } = current;
  if (length === 0) return 0;
  if (mm === null) return length;
  const unlocked: MmapUnlocked = { happened: false };
  let done = 0;
  yield* mmapReadLock(current, mm);
  // A range that goes beyond the last address has no end, so nothing of it is tried.
  while (address !== 0n && done < length && address + BigInt(length) < ADDRESSES) {
    const at = address + BigInt(done);
    if ((yield* fixupUserFault(current, mm, Number(at >> 12n), FAULT_FLAG_WRITE, unlocked)) !== 0) break;
    done += toPageEnd(at);
  }
  yield* mmapReadUnlock(current, mm);
  return Math.max(0, length - done);
}

/**
 * As `faultInWriteable`, and also looks at what may be forbidden for a part of a page: memory tags. Returns how many bytes lie
 * behind the first one that cannot be reached.
 */
export function* faultInSubpageWriteable(current: TaskStruct, address: bigint, length: number): Task<number> {
  const left = yield* faultInWriteable(current, address, length);
  const reached = length - left;
  if (reached === 0 || current.kernel.arch.memoryTags === null) return left;
  return left + (yield* probeTags(current, address, reached));
}

/** Reads a byte of each granule: a read is enough, as pages were found writable. Bytes from the one that fails on. */
function* probeTags(current: TaskStruct, address: bigint, length: number): Task<number> {
  const byte = new Uint8Array(1);
  const end = address + BigInt(length);
  let at = address;
  while (at < end) {
    if ((yield* copyFromUser(current, byte, at)) !== 0) return Number(end - at);
    at += MTE_GRANULE_BYTES - (at % MTE_GRANULE_BYTES);
  }
  return 0;
}
