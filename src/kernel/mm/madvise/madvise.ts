/**
 * madvise: the checks of its arguments, the lock that the advice needs, and the walk over the VMAs of the range. A hole
 * is passed over and makes the result -ENOMEM; an error ends the walk, and what lies before it stays done.
 * @see Linux mm/madvise.c, `do_madvise`, `madvise_do_behavior`, `madvise_walk_vmas`, `try_vma_read_lock`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { EINTR, EINVAL, ENOMEM, ERESTARTNOINTR } from '../../errno.ts';
import {
  mmapReadLock,
  mmapReadUnlock,
  mmapWriteLockKillable,
  mmapWriteUnlock,
} from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { lockVmaUnderRcu } from '../lock-vma-under-rcu.ts';
import { tlbFinishMmu, tlbGatherMmu } from '../mmu-gather.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_FLAGS, VMH_UFFD_FLAGS } from '../vma-flags.ts';
import { vmaEndRead } from '../vma-lock.ts';
import {
  adviceValid,
  batchesTlbFlush,
  isMemoryFailure,
  isPopulate,
  LockMode,
  lockModeOf,
  MADV_GUARD_INSTALL,
} from './advice.ts';
import { madviseInjectError } from './inject-error.ts';
import { MadviseState } from './madvise-state.ts';
import { madvisePopulate } from './populate.ts';
import { madviseVmaBehavior } from './vma-behavior.ts';

const U64 = 1n << 64n;
const pageAlign = (length: bigint): bigint => (length + 0xfffn) & ~0xfffn & (U64 - 1n);

/**
 * Is there nothing to do? -EINVAL, 0 for an empty range, null to go on. Bytes, as given: tag bits and all.
 * @see `madvise_should_skip`, `is_valid_madvise`
 */
export function madviseShouldSkip(state: MadviseState, address: bigint, length: bigint): number | null {
  if (!adviceValid(state.mm.kernel.config, state.advice)) return -EINVAL;
  if ((address & 0xfffn) !== 0n) return -EINVAL;
  const rounded = pageAlign(length);
  if (length !== 0n && rounded === 0n) return -EINVAL;
  if (address + rounded >= U64) return -EINVAL;
  return rounded === 0n ? 0 : null;
}

/** 0 or -EINTR. A VMA's own lock is not taken here. @see `madvise_lock` */
export function* madviseLock(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm } = state;
  const lockMode = lockModeOf(mm.kernel.config, state.advice);
  if (lockMode === LockMode.MmapWrite) {
    if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  } else if (lockMode === LockMode.MmapRead) yield* mmapReadLock(current, mm);
  state.lockMode = lockMode;
  if (batchesTlbFlush(state.advice)) state.gather = yield* tlbGatherMmu(current, mm);
  return 0;
}

/** The opposite, if anything is held, with the TLB flush of all that was taken away. @see `madvise_finish_tlb`, `madvise_unlock` */
export function* madviseUnlock(current: TaskStruct, state: MadviseState): Task<void> {
  const { mm, gather, lockMode } = state;
  if (gather !== null) yield* tlbFinishMmu(current, gather);
  state.gather = null;
  state.lockMode = LockMode.None;
  if (lockMode === LockMode.MmapWrite) yield* mmapWriteUnlock(current, mm);
  else if (lockMode === LockMode.MmapRead) yield* mmapReadUnlock(current, mm);
}

/** Bytes. 0 or a negative errno; -ERESTARTNOINTR: let the locks go and try again. @see `madvise_do_behavior` */
export function* madviseDoBehavior(
  current: TaskStruct,
  state: MadviseState,
  address: bigint,
  length: bigint,
): Task<number> {
  const { mm, advice } = state;
  if (isMemoryFailure(advice)) return yield* madviseInjectError(current, advice, address, length);
  const { arch } = mm.kernel;
  const start =
    current.mm === mm || mm.context === null
      ? arch.untaggedAddress(current.cpu, address)
      : arch.untaggedAddressRemote(mm.context, address);
  state.start = Number(start >> 12n);
  state.end = state.start + Number(pageAlign(length) >> 12n);
  return isPopulate(advice) ? yield* madvisePopulate(current, state) : yield* walkVmas(current, state);
}

const isUffdArmed = (vma: VmArea): boolean =>
  (vma.flags & VM_UFFD_FLAGS) !== 0 || (vma.flagsHigh & VMH_UFFD_FLAGS) !== 0;

/** Does this one VMA's lock do for the whole call? @see `is_vma_lock_sufficient` */
function isVmaLockSufficient(current: TaskStruct, state: MadviseState, vma: VmArea): boolean {
  if (state.end > vma.end) return false;
  if (current.mm !== vma.mm) return false;
  if (isUffdArmed(vma)) return false;
  // Giving it an anon_vma needs mmap_lock.
  return state.advice !== MADV_GUARD_INSTALL || !vma.anonymous || vma.anonVma !== null;
}

/** Takes the read lock of the VMA at the start; without success mmap_lock for reading instead. */
function* tryVmaReadLock(current: TaskStruct, state: MadviseState): Task<VmArea | null> {
  const { mm } = state;
  const vma = mm.kernel.config.perVmaLocks ? yield* lockVmaUnderRcu(current, mm, state.start) : null;
  if (vma !== null) {
    if (isVmaLockSufficient(current, state, vma)) return vma;
    yield* vmaEndRead(current, vma);
  }
  yield* mmapReadLock(current, mm);
  state.lockMode = LockMode.MmapRead;
  return null;
}

/** 0, -ENOMEM (a hole, everything else is done), or the error of the VMA that ended it. */
function* walkVmas(current: TaskStruct, state: MadviseState): Task<number> {
  if (state.lockMode === LockMode.VmaRead) {
    const locked = yield* tryVmaReadLock(current, state);
    if (locked !== null) {
      state.vma = locked;
      const error = yield* madviseVmaBehavior(current, state);
      yield* vmaEndRead(current, locked);
      return error;
    }
  }
  return yield* walkVmasLocked(current, state);
}

function* walkVmasLocked(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm } = state;
  const lastEnd = state.end;
  let unmappedError = 0;
  let vma = mm.vmas.find(state.start);
  state.prev = vma !== null && state.start > vma.start ? vma : mm.vmas.findPrevious(state.start);
  for (;;) {
    if (vma === null) return -ENOMEM;
    if (state.start < vma.start) {
      unmappedError = -ENOMEM;
      state.start = vma.start;
      if (state.start >= lastEnd) break;
    }
    state.end = Math.min(vma.end, lastEnd);
    state.vma = vma;
    const error = yield* madviseVmaBehavior(current, state);
    if (error !== 0) return error;
    stepOver(state);
    if (state.end >= lastEnd) break;
    vma = mm.vmas.find(state.end);
    state.start = state.end;
  }
  return unmappedError;
}

/** Sets `end` to where to go on: behind the VMA, which may have been merged, or may be gone. */
function stepOver(state: MadviseState): void {
  if (state.lockDropped) {
    state.lockDropped = false;
    state.prev = null;
    return;
  }
  state.prev = state.vma;
  if (state.end < state.vma.end) state.end = state.vma.end;
}

/**
 * The system call for the caller's own memory. `address` and `length` are bytes, unsigned 64 bits. 0 or a negative
 * errno: -EINVAL, -ENOMEM (a hole), -EINTR (killed), -EAGAIN (a VMA could not be made), -EPERM (sealed) and those of
 * the advices.
 */
export function* sysMadvise(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  advice: number,
): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls madvise without an address space`);
  for (;;) {
    const state = new MadviseState(mm, advice);
    const skip = madviseShouldSkip(state, address, length);
    if (skip !== null) return skip;
    const killed = yield* madviseLock(current, state);
    if (killed !== 0) return killed;
    const error = yield* madviseDoBehavior(current, state, address, length);
    yield* madviseUnlock(current, state);
    if (error !== -ERESTARTNOINTR) return error;
    // Back to the border of user mode, where others may run and a fatal signal ends the process; then the call is made
    // again. Nothing else ends it while what is in the way stays there.
    yield new SchedPoint(PointKind.Write, current.object, 'restart_syscall', StepCost.KernelEntry);
    if (current.fatalSignalPending()) return -EINTR;
  }
}
