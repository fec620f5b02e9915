/**
 * mlock, mlock2 and munlock: the flags of the VMAs in the range, and with mlock its pages, which are faulted in after
 * mmap_lock was released. A hole ends the call; what lies before it stays done.
 * @see Linux mm/mlock.c, `do_mlock`, `apply_vma_lock_flags`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';
import { canDoMlock } from './limits.ts';
import { mlockFixup } from './mlock-fixup.ts';
import type { MmStruct } from './mm.ts';
import { populateOperations } from './populate.ts';
import { limitPages } from './rlimit.ts';
import { VM_LOCKED, VM_LOCKONFAULT } from './vma-flags.ts';

/** mlock2: lock pages as they are faulted in. */
export const MLOCK_ONFAULT = 0x01;

const U64 = 1n << 64n;

/** A range of bytes, rounded outwards to pages. The end may have wrapped. */
function pageRange(
  current: TaskStruct,
  address: bigint,
  length: bigint,
): { readonly start: bigint; readonly end: bigint } {
  const untagged = current.kernel.arch.untaggedAddress(current.cpu, address);
  const bytes = (length + (untagged & 0xfffn) + 0xfffn) & ~0xfffn & (U64 - 1n);
  const start = untagged & ~0xfffn;
  return { start, end: (start + bytes) % U64 };
}

const pageOf = (address: bigint): number => Number(address >> 12n);

/** Pages of [start, end) that are locked. @see `count_mm_mlocked_page_nr` */
function lockedPages(mm: MmStruct, start: number, end: number): number {
  let pages = 0;
  for (const vma of mm.vmas.inRange(start, end)) {
    if ((vma.flags & VM_LOCKED) !== 0) pages += Math.min(vma.end, end) - Math.max(vma.start, start);
  }
  return pages;
}

/** Is there room below RLIMIT_MEMLOCK? What the range has locked already counts only once. */
function withinLimit(current: TaskStruct, mm: MmStruct, start: number, pages: number): boolean {
  if (current.capable(CAP_IPC_LOCK)) return true;
  const limit = limitPages(current.rlimits.memlock);
  const locked = mm.lockedVm + pages;
  return locked <= limit || locked - lockedPages(mm, start, start + pages) <= limit;
}

/** 0, -EINVAL (the range wraps), or -ENOMEM (a hole, or the map limit). Needs mmap_lock for writing. */
function* applyVmaLockFlags(
  current: TaskStruct,
  mm: MmStruct,
  { start: from, end: to }: { readonly start: bigint; readonly end: bigint },
  lockFlags: number,
): Task<number> {
  if (to < from) return -EINVAL;
  if (to === from) return 0;
  const [start, end] = [pageOf(from), pageOf(to)];
  const first = mm.vmas.lookup(start);
  if (first === null) return -ENOMEM;
  let prev = start > first.start ? first : mm.vmas.findPrevious(first.start);
  for (let at = start; at < end; ) {
    const vma = mm.vmas.lookup(at);
    if (vma === null) return -ENOMEM;
    const partEnd = Math.min(vma.end, end);
    const fixed = yield* mlockFixup(current, mm, prev, vma, at, partEnd, lockFlags);
    if (fixed.error !== 0) return fixed.error;
    prev = fixed.vma;
    at = fixed.vma.end;
  }
  return 0;
}

/** What POSIX wants of a range that is locked and cannot be populated. @see `__mlock_posix_error_return` */
function posixError(error: number): number {
  if (error === -EFAULT) return -ENOMEM;
  return error === -ENOMEM ? -EAGAIN : error;
}

function* doMlock(current: TaskStruct, address: bigint, length: bigint, lockFlags: number): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mlock without an address space`);
  if (!canDoMlock(current)) return -EPERM;
  const range = pageRange(current, address, length);
  const bytes = range.end >= range.start ? range.end - range.start : range.end - range.start + U64;
  const pages = Number(bytes >> 12n);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  let error = -ENOMEM;
  if (withinLimit(current, mm, pageOf(range.start), pages)) {
    error = yield* applyVmaLockFlags(current, mm, range, lockFlags);
  }
  yield* mmapWriteUnlock(current, mm);
  if (error !== 0) return error;
  const { mmPopulateRange } = populateOperations(mm.kernel);
  return posixError(yield* mmPopulateRange(current, pageOf(range.start), pageOf(range.end)));
}

/**
 * The system call. `address` and `length` are bytes, unsigned 64 bits, rounded outwards. 0, -EPERM (RLIMIT_MEMLOCK is 0
 * and no CAP_IPC_LOCK), -ENOMEM (over the limit, with nothing done; a hole, what lies before it being locked; or a page
 * that cannot be had, all being locked), -EAGAIN (no memory), -EINVAL (the range wraps) or -EINTR (killed).
 * @param flags of mlock2
 */
export function sysMlock(current: TaskStruct, address: bigint, length: bigint, flags = 0): Task<number> {
  return sysMlock2(current, address, length, flags);
}

/** mlock2: as mlock, and -EINVAL for flags other than MLOCK_ONFAULT. */
export function* sysMlock2(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  flags: number,
): Task<number> {
  if ((flags & ~MLOCK_ONFAULT) !== 0) return -EINVAL;
  const onFault = (flags & MLOCK_ONFAULT) !== 0 ? VM_LOCKONFAULT : 0;
  return yield* doMlock(current, address, length, VM_LOCKED | onFault);
}

/** munlock, always allowed: 0, -ENOMEM (a hole, what lies before it being unlocked), -EINVAL or -EINTR. */
export function* sysMunlock(current: TaskStruct, address: bigint, length: bigint): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls munlock without an address space`);
  const range = pageRange(current, address, length);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  const error = yield* applyVmaLockFlags(current, mm, range, 0);
  yield* mmapWriteUnlock(current, mm);
  return error;
}
