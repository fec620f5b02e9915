/**
 * Finding a VMA and taking its own lock without mmap_lock. Between the walk of the tree, which shows some version of it,
 * and the moment the lock is held, the VMA may be changed, taken out, given back and become another's; each such case
 * is refused and counted.
 * @see Linux mm/mmap_lock.c, `lock_vma_under_rcu`, `lock_next_vma`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN } from '../errno.ts';
import {
  mmapLockSpeculateRetry,
  mmapLockSpeculateTryBegin,
  mmapReadLockKillable,
  mmapReadUnlock,
} from '../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../lock/rcu.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';
import {
  countOff,
  countReader,
  isSeenWriteLocked,
  mayStay,
  vmaEndRead,
  vmaStartRead,
  vmaStartReadLocked,
} from './vma-lock.ts';
import { VmaLockFailure } from './vma-lock-counters.ts';

function note(current: TaskStruct, mm: MmStruct, page: number, reason: VmaLockFailure): void {
  mm.vmaLockCounters.note(reason);
  report(current, page, reason);
}

/** What was begun under a VMA's lock is to be done again under mmap_lock (`VMA_LOCK_RETRY`). */
export function noteVmaLockRetry(current: TaskStruct, mm: MmStruct, page: number): void {
  mm.vmaLockCounters.retry++;
  report(current, page, 'retry');
}

function report(current: TaskStruct, page: number, reason: string): void {
  const { events } = current.kernel;
  if (!events.enabled) return;
  const time = current.processor?.time ?? 0;
  events.emit({ kind: 'vma-lock', time, cpu: current.cpu, task: current.name, page, reason });
}

/**
 * The VMA that holds `page`, its own lock held for reading; null when that cannot be had, for whatever reason: then the
 * caller takes mmap_lock. Never waits. The steps of `vmaStartRead` are written out: most accesses come through here.
 */
export function* lockVmaUnderRcu(current: TaskStruct, mm: MmStruct, page: number): Task<VmArea | null> {
  rcuReadLock(current);
  yield mm.treeLoad;
  // None is a failure, too.
  const vma = mm.vmas.lookup(page) as VmArea;
  let failure = failureSeen(mm, vma);
  if (failure === null) yield vma.startRead;
  failure ??= countReader(current, vma);
  if (failure === null) yield vma.recheck;
  return isLocked(current, mm, vma, page, failure) ? vma : yield* notLocked(current, mm, vma, page, failure);
}

// The parts of `lockVmaUnderRcu`, for a caller that makes its points itself.

/** The step after `mm.treeLoad`: why the VMA that was found is not one to lock, as far as can be seen; or null. */
export function failureSeen(mm: MmStruct, vma: VmArea | null): VmaLockFailure | null {
  if (vma === null) return VmaLockFailure.Hole;
  if (mm.kernel.bugs.lockVmaAnonVmaCheck && vma.anonymous && vma.anonVma === null)
    return VmaLockFailure.NoAnonVma;
  return isSeenWriteLocked(mm, vma) ? VmaLockFailure.WriteLocked : null;
}

/** The step after `vma.recheck`: true when the lock is held and the RCU section over. If not, `notLocked` is next. */
export function isLocked(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  page: number,
  failure: VmaLockFailure | null,
): boolean {
  if (failure !== null || !mayStay(mm, vma) || !vma.contains(page)) return false;
  rcuReadUnlock(current);
  return true;
}

/** Notes why: `failure`, or what `isLocked` has seen. Not always the end: null, or the VMA found instead, locked. */
export function* notLocked(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  page: number,
  failure: VmaLockFailure | null,
): Task<VmArea | null> {
  if (failure !== null) return yield* giveUp(current, mm, page, failure);
  if (!mayStay(mm, vma)) return yield* giveUp(current, mm, page, yield* countOff(current, mm, vma));
  rcuReadUnlock(current);
  return yield* leaveChanged(current, vma, page);
}

/** Notes why; a VMA that has left the tree is looked for again, for which each time another must have come. */
function* giveUp(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  failure: VmaLockFailure,
): Task<VmArea | null> {
  rcuReadUnlock(current);
  note(current, mm, page, failure);
  return failure === VmaLockFailure.Detached ? yield* lockVmaUnderRcu(current, mm, page) : null;
}

/** It was changed before we had the lock; now it cannot be. */
function* leaveChanged(current: TaskStruct, vma: VmArea, page: number): Task<null> {
  const { mm } = vma;
  yield* vmaEndRead(current, vma);
  note(current, mm, page, VmaLockFailure.RangeChanged);
  return null;
}

/** `lock_next_vma_under_mmap_lock`: for when the lockless way did not work out. */
function* lockNextUnderMmapLock(
  current: TaskStruct,
  mm: MmStruct,
  fromPage: number,
): Task<VmArea | number | null> {
  const error = yield* mmapReadLockKillable(current, mm);
  if (error !== 0) return error;
  const vma = mm.vmas.find(fromPage);
  const locked = vma === null || (yield* vmaStartReadLocked(current, vma));
  yield* mmapReadUnlock(current, mm);
  return locked ? vma : -EAGAIN;
}

/** The lockless way: a VMA with its lock held, null at the end of the tree, or false: it needs mmap_lock. */
function* tryLockNext(current: TaskStruct, mm: MmStruct, fromPage: number): Task<VmArea | null | false> {
  for (;;) {
    const sequence = mmapLockSpeculateTryBegin(mm);
    yield mm.treeLoad;
    const vma = mm.vmas.find(fromPage);
    if (vma === null) return null;
    const failure = yield* vmaStartRead(current, mm, vma);
    if (failure !== null) {
      note(current, mm, fromPage, failure);
      // Nothing bounds this; but each round needs a VMA that was put in and taken out meanwhile.
      if (failure === VmaLockFailure.Detached) continue;
      return false;
    }
    // A VMA that begins later may hide one that was put in before it since.
    if (fromPage < vma.end && (fromPage >= vma.start || (yield* isStillNext(mm, vma, fromPage, sequence)))) {
      return vma;
    }
    note(current, mm, fromPage, VmaLockFailure.RangeChanged);
    rcuReadUnlock(current);
    yield* vmaEndRead(current, vma);
    rcuReadLock(current);
    return false;
  }
}

function* isStillNext(mm: MmStruct, vma: VmArea, fromPage: number, sequence: number | null): Task<boolean> {
  if (sequence !== null && !mmapLockSpeculateRetry(mm, sequence)) return true;
  yield mm.treeLoad;
  return mm.vmas.find(fromPage) === vma;
}

/**
 * The first VMA that ends above `fromPage`, its own lock held for reading and mmap_lock not; null when there is none.
 * For walks over an address space. Comes and goes inside an RCU section, which it leaves meanwhile if it has to wait
 * for mmap_lock.
 * @returns -EINTR when killed while waiting, -EAGAIN when the VMA has too many readers
 */
export function* lockNextVma(
  current: TaskStruct,
  mm: MmStruct,
  fromPage: number,
): Task<VmArea | number | null> {
  if (current.rcuReadDepth === 0) throw new Error(`${current.name} is in no RCU section`);
  const vma = yield* tryLockNext(current, mm, fromPage);
  if (vma !== false) return vma;
  rcuReadUnlock(current);
  const locked = yield* lockNextUnderMmapLock(current, mm, fromPage);
  rcuReadLock(current);
  return locked;
}
