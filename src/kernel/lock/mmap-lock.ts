/**
 * mmap_lock: the rw_semaphore of an address space, with the sequence number that per-VMA locks and speculative readers
 * compare against. The number is odd exactly while a writer holds the lock: taking the write lock makes it odd,
 * releasing or downgrading it makes it even, and thereby unlocks every VMA that was write-locked meanwhile.
 * @see Linux include/linux/mmap_lock.h
 */
import type { Task } from '../../base/task.ts';
import type { SchedTask } from '../../sched/task.ts';
import type { RwSemaphore } from './rwsem.ts';

/** The part of an mm_struct these functions need. */
export interface MmapLocked {
  readonly mmapLock: RwSemaphore;
  /** 32 bits, unsigned; wraps. */
  mmLockSeq: number;
}

export function* mmapReadLock(current: SchedTask, mm: MmapLocked): Task<void> {
  yield* mm.mmapLock.downRead(current);
}

/** @returns 0 or -EINTR */
export function* mmapReadLockKillable(current: SchedTask, mm: MmapLocked): Task<number> {
  return yield* mm.mmapLock.downReadKillable(current);
}

export function* mmapReadTrylock(current: SchedTask, mm: MmapLocked): Task<boolean> {
  return yield* mm.mmapLock.downReadTrylock(current);
}

export function* mmapReadUnlock(current: SchedTask, mm: MmapLocked): Task<void> {
  yield* mm.mmapLock.upRead(current);
}

export function* mmapWriteLock(current: SchedTask, mm: MmapLocked): Task<void> {
  yield* mm.mmapLock.downWrite(current);
  beginWrite(mm);
}

/** For a second mm that nobody else can know, with the first one's lock held. */
export function* mmapWriteLockNested(current: SchedTask, mm: MmapLocked, subclass: number): Task<void> {
  yield* mm.mmapLock.downWrite(current, subclass);
  beginWrite(mm);
}

/** @returns 0 or -EINTR */
export function* mmapWriteLockKillable(current: SchedTask, mm: MmapLocked): Task<number> {
  const error = yield* mm.mmapLock.downWriteKillable(current);
  if (error === 0) beginWrite(mm);
  return error;
}

export function* mmapWriteTrylock(current: SchedTask, mm: MmapLocked): Task<boolean> {
  const taken = yield* mm.mmapLock.downWriteTrylock(current);
  if (taken) beginWrite(mm);
  return taken;
}

export function* mmapWriteUnlock(current: SchedTask, mm: MmapLocked): Task<void> {
  yield mm.mmapLock.endWriteAll;
  endWrite(current, mm);
  yield* mm.mmapLock.upWrite(current);
}

/** From write to read without a gap. */
export function* mmapWriteDowngrade(current: SchedTask, mm: MmapLocked): Task<void> {
  yield mm.mmapLock.endWriteAll;
  endWrite(current, mm);
  yield* mm.mmapLock.downgradeWrite(current);
}

/**
 * As Linux asserts it where lockdep knows who holds what: that others hold the lock is not enough.
 * @throws Error when `current` does not hold the lock, in either mode
 */
export function mmapAssertLocked(current: SchedTask, mm: MmapLocked): void {
  if (mm.mmapLock.isHeldBy(current)) return;
  throw new Error(`${current.name} needs ${mm.mmapLock.name}, held by ${holdersOf(mm)}`);
}

/** @throws Error when `current` does not hold the lock for writing */
export function mmapAssertWriteLocked(current: SchedTask, mm: MmapLocked): void {
  if (mm.mmapLock.isWrittenBy(current)) return;
  throw new Error(`${current.name} needs ${mm.mmapLock.name} for writing, held by ${holdersOf(mm)}`);
}

function holdersOf({ mmapLock }: MmapLocked): string {
  const holders = mmapLock.holders().map(({ name, mode }) => `${name} (${mode})`);
  return holders.join(', ') || 'nobody';
}

/** The sequence number if no writer holds the lock, else null. @see Linux `mmap_lock_speculate_try_begin` */
export function mmapLockSpeculateTryBegin(mm: MmapLocked): number | null {
  if (mm.mmLockSeq % 2 !== 0) return null;
  mm.mmapLock.onSpeculation?.(false);
  return mm.mmLockSeq;
}

/** Has a writer held the lock since? @see Linux `mmap_lock_speculate_retry` */
export function mmapLockSpeculateRetry(mm: MmapLocked, sequence: number): boolean {
  mm.mmapLock.onSpeculation?.(true);
  return mm.mmLockSeq !== sequence;
}

function beginWrite(mm: MmapLocked): void {
  if (mm.mmLockSeq % 2 !== 0)
    throw new Error(`${mm.mmapLock.name}: sequence ${mm.mmLockSeq} odd before a write lock`);
  mm.mmLockSeq = (mm.mmLockSeq + 1) >>> 0;
}

/** `vma_end_write_all`. */
function endWrite(current: SchedTask, mm: MmapLocked): void {
  mmapAssertWriteLocked(current, mm);
  mm.mmLockSeq = (mm.mmLockSeq + 1) >>> 0;
}
