/**
 * The lock of one VMA: a reference count that readers raise, and a sequence number by which a writer, who holds
 * mmap_lock for writing, marks the VMA as its own until it lets mmap_lock go. There is no unlocking of a single written
 * VMA: the end of the mmap_lock write section unlocks them all.
 * Values of `refcount`: 0 detached, nobody may raise it; 1 attached, no readers; above, readers (a few may come and go
 * while it is write-locked); with bit 30 set a writer, or whoever detaches it, waits for readers and lets none in.
 * Left out: saturation of the count (a reader is refused below it); memory order.
 * @see Linux include/linux/mmap_lock.h and mm/mmap_lock.c, `vma_start_read`, `vma_refcount_put`, `__vma_start_write`,
 * `vma_mark_attached`, `vma_mark_detached`; include/linux/mm_types.h on `vm_refcnt`
 */
import type { Task } from '../../base/task.ts';
import { LockMode } from '../../sched/task.ts';
import { mmapAssertLocked, mmapAssertWriteLocked } from '../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../lock/rcu.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { mmdrop, mmgrab } from './mm-count.ts';
import type { VmArea } from './vma.ts';
import { VmaLockFailure } from './vma-lock-counters.ts';

/** Set in `refcount` while readers are kept out; formerly called VMA_LOCK_OFFSET. */
export const VM_REFCNT_EXCLUDE_READERS_FLAG = 0x4000_0000;
/** Above this no reader may raise the count. */
export const VM_REFCNT_LIMIT = VM_REFCNT_EXCLUDE_READERS_FLAG - 1;

/** Is the VMA write-locked? Meaningful only under mmap_lock held for writing. */
function isVmaWriteLocked(mm: MmStruct, vma: VmArea): boolean {
  return vma.vmLockSeq === mm.lockSequence;
}

// --- readers ---

/**
 * Takes the lock of a VMA that was found under RCU, whose section goes on. Between the look-up and the count anything
 * may have happened to the object: only its mm, count and sequence are looked at before it is counted.
 * @returns null with the lock held, or why not; `Detached` means: look up again
 */
export function* vmaStartRead(current: TaskStruct, mm: MmStruct, vma: VmArea): Task<VmaLockFailure | null> {
  if (isSeenWriteLocked(mm, vma)) return VmaLockFailure.WriteLocked;
  yield vma.startRead;
  const refused = countReader(current, vma);
  if (refused !== null) return refused;
  yield vma.recheck;
  return mayStay(mm, vma) ? null : yield* countOff(current, mm, vma);
}

// The parts of `vmaStartRead`, for a caller that makes its points itself.

/** Only a hint, which spares writers a cache line that bounces: the look that counts comes when the reader is counted. */
export function isSeenWriteLocked(mm: MmStruct, vma: VmArea): boolean {
  if (vma.watcher !== null) vma.watcher.lookedAtLock?.(vma, mm);
  return isVmaWriteLocked(mm, vma);
}

/** The step after `vma.startRead`: null when `current` is counted as a reader. */
export function countReader(current: TaskStruct, vma: VmArea): VmaLockFailure | null {
  if (vma.refcount === 0) return VmaLockFailure.Detached;
  if (vma.refcount >= VM_REFCNT_EXCLUDE_READERS_FLAG) return VmaLockFailure.Excluded;
  if (vma.refcount >= VM_REFCNT_LIMIT) return VmaLockFailure.Overflow;
  vma.refcount++;
  if (vma.watcher !== null) vma.watcher.readerCounted(vma, vma.refcount - 1);
  vma.addReader(current);
  current.lockWatcher?.acquired(current, vma, LockMode.Read, 'vma_start_read');
  return null;
}

/**
 * The step after `vma.recheck`. A writer that has come since sees our count, or we see its mark. A wrapped number can only
 * refuse us.
 */
export function mayStay(mm: MmStruct, vma: VmArea): boolean {
  if (vma.watcher !== null) vma.watcher.lookedAtLock?.(vma, mm);
  return vma.mm === mm && !isVmaWriteLocked(mm, vma);
}

/** When it may not: the count is taken back. */
export function* countOff(current: TaskStruct, mm: MmStruct, vma: VmArea): Task<VmaLockFailure> {
  if (vma.mm !== mm) {
    yield* putForeign(current, vma);
    return VmaLockFailure.ForeignMm;
  }
  yield* vmaRefcountPut(current, vma);
  return VmaLockFailure.WriteLockedMeanwhile;
}

/**
 * The object is a VMA of another process now, whose writer may wait for the count that we raised: its mm must outlive
 * the wake-up, and our count alone does not keep it.
 */
function* putForeign(current: TaskStruct, vma: VmArea): Task<void> {
  const { mm: other } = vma;
  const pins = !current.kernel.bugs.vmaRefcountPutMm;
  // Dropping an mm may be much work; nothing here needs the section.
  rcuReadUnlock(current);
  if (pins) yield* mmgrab(other);
  yield* vmaRefcountPut(current, vma);
  if (pins) yield* mmdrop(other);
  rcuReadLock(current);
}

/** One reader less; wakes a writer that now has the VMA to itself. The VMA may be gone afterwards. */
function* vmaRefcountPut(current: TaskStruct, vma: VmArea): Task<void> {
  const { mm } = vma;
  yield vma.endRead;
  if (countReaderOff(current, vma)) yield* mm.vmaWriterWait.wakeUp(vma);
}

/** The step after `vma.endRead`, for a caller that makes the point itself. True: then `mm.vmaWriterWait` is to be woken. */
export function countReaderOff(current: TaskStruct, vma: VmArea): boolean {
  vma.removeReader(current);
  current.lockWatcher?.release(current, vma);
  vma.refcount--;
  return (vma.refcount | 1) === (VM_REFCNT_EXCLUDE_READERS_FLAG | 1);
}

/** Releases the lock. `vma` is not to be looked at afterwards. */
export function vmaEndRead(current: TaskStruct, vma: VmArea): Task<void> {
  return vmaRefcountPut(current, vma);
}

/**
 * Takes the lock under mmap_lock held for reading, so that no writer can be there.
 * @returns false when there are too many readers
 */
export function* vmaStartReadLocked(current: TaskStruct, vma: VmArea): Task<boolean> {
  mmapAssertLocked(current, vma.mm);
  yield vma.startRead;
  if (vma.refcount === 0) throw new Error(`${vma.name} is detached`);
  if (vma.refcount >= VM_REFCNT_LIMIT) return false;
  vma.refcount++;
  vma.addReader(current);
  current.lockWatcher?.acquired(current, vma, LockMode.Read, 'vma_start_read_locked');
  return true;
}

// --- writers ---

/**
 * Write-locks the VMA until mmap_lock is released or downgraded: no new readers, and those inside have left. Needs
 * mmap_lock for writing. Nothing when it is write-locked already. Sleeps; a fatal signal does not end that.
 */
export function* vmaStartWrite(current: TaskStruct, mm: MmStruct, vma: VmArea): Task<void> {
  yield* startWrite(current, mm, vma, false);
}

/** As `vmaStartWrite`, but a fatal signal ends the wait. @returns 0 or -EINTR, the VMA as before */
export function* vmaStartWriteKillable(current: TaskStruct, mm: MmStruct, vma: VmArea): Task<number> {
  return yield* startWrite(current, mm, vma, true);
}

function* startWrite(current: TaskStruct, mm: MmStruct, vma: VmArea, killable: boolean): Task<number> {
  mmapAssertWriteLocked(current, mm);
  if (isVmaWriteLocked(mm, vma)) return 0;
  yield vma.change;
  const attached = vma.refcount !== 0;
  if (attached) {
    const error = yield* excludeReaders(current, vma, 1, killable);
    if (error !== 0) return error;
  }
  vma.vmLockSeq = mm.lockSequence;
  if (vma.watcher !== null) vma.watcher.writeLocked(vma);
  if (attached) {
    yield vma.change;
    vma.refcount -= VM_REFCNT_EXCLUDE_READERS_FLAG;
  }
  return 0;
}

/**
 * Keeps new readers out and waits until those inside have left.
 * @param own what the count is without readers: 1 for a VMA that stays attached, 0 for one that is being detached
 */
function* excludeReaders(current: TaskStruct, vma: VmArea, own: number, killable: boolean): Task<number> {
  const operation = own === 0 ? 'vma_mark_detached' : 'vma_start_write';
  // A moment's lock, for lockdep: afterwards nobody can wait for it while mmap_lock is held.
  current.lockWatcher?.acquire(current, vma, LockMode.Write, 0, operation);
  current.lockWatcher?.release(current, vma);
  vma.refcount += VM_REFCNT_EXCLUDE_READERS_FLAG;
  const alone = VM_REFCNT_EXCLUDE_READERS_FLAG + own;
  if (vma.refcount === alone) return 0;
  const left = () => vma.refcount === alone;
  const error = yield* vma.mm.vmaWriterWait.waitEvent(current, vma, operation, left, killable);
  if (error !== 0) vma.refcount -= VM_REFCNT_EXCLUDE_READERS_FLAG;
  return error;
}

/** A new VMA that nobody can reach yet: write-locked without a step that others could see. */
export function vmaInitWriteLocked(mm: MmStruct, vma: VmArea): void {
  vma.vmLockSeq = mm.lockSequence;
  if (vma.watcher !== null) vma.watcher.writeLocked(vma);
}

/** The VMA is about to be put into the tree. Everything else in it is written before. */
export function vmaMarkAttached(vma: VmArea): void {
  vmaAssertWriteLocked(vma.mm, vma);
  vmaAssertDetached(vma);
  vma.refcount = 1;
  if (vma.watcher !== null) vma.watcher.attached(vma);
}

/** As `vmaMarkAttached`, of a VMA that readers can lock from now on: a bug put in on purpose. */
export function vmaMarkAttachedUnlocked(vma: VmArea): void {
  vmaAssertDetached(vma);
  vma.refcount = 1;
}

/**
 * The VMA leaves the tree: no reader can take its lock any more. One that has counted itself and not yet seen the
 * writer's mark is waited for. Needs the VMA write-locked.
 */
export function* vmaMarkDetached(current: TaskStruct, vma: VmArea): Task<void> {
  mmapAssertWriteLocked(current, vma.mm);
  vmaAssertWriteLocked(vma.mm, vma);
  vmaAssertAttached(vma);
  yield vma.detach;
  vma.refcount--;
  if (vma.refcount !== 0) yield* waitForLastReaders(current, vma);
  if (vma.watcher !== null) vma.watcher.detached(vma);
}

/** Of a VMA that is being detached, whose own count is gone. */
function* waitForLastReaders(current: TaskStruct, vma: VmArea): Task<void> {
  yield vma.detach;
  // The last of them has left in between: nobody is there who would wake us.
  if (vma.refcount === 0) return;
  yield* excludeReaders(current, vma, 0, false);
  vma.refcount -= VM_REFCNT_EXCLUDE_READERS_FLAG;
}

// --- what must hold ---

/**
 * By whom is not asked: who puts VMAs back, and stores to them, know no task.
 * @throws Error when `vmaStartWrite` was not called in this write section
 */
export function vmaAssertWriteLocked(mm: MmStruct, vma: VmArea): void {
  if (!mm.mmapWriteLocked || !isVmaWriteLocked(mm, vma)) {
    throw new Error(`${vma.name} is changed without being write-locked`);
  }
}

/** @throws Error when the VMA is out of the tree */
export function vmaAssertAttached(vma: VmArea): void {
  if (vma.refcount === 0) throw new Error(`${vma.name} is detached`);
}

/** @throws Error when the VMA is in the tree */
export function vmaAssertDetached(vma: VmArea): void {
  if (vma.refcount !== 0) throw new Error(`${vma.name} is attached`);
}

/** @throws Error when `current` has not read-locked the VMA, and it is not write-locked */
export function assertVmaLocked(current: TaskStruct, vma: VmArea): void {
  if (vma.readers.includes(current)) return;
  vmaAssertWriteLocked(vma.mm, vma);
}

/** @throws Error when nothing that `current` holds keeps the VMA as it is: neither mmap_lock nor the VMA's own */
export function assertVmaStabilised(current: TaskStruct, vma: VmArea): void {
  if (vma.mm.mmapLock.isHeldBy(current)) return;
  assertVmaLocked(current, vma);
}
