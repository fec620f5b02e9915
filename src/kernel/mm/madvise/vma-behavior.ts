/**
 * An advice for one VMA: may a sealed one take it, and who carries it out.
 * @see Linux mm/madvise.c, `madvise_vma_behavior`, `can_madvise_modify`
 */
import { atomically, type Task } from '../../../base/task.ts';
import { EPERM } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { madviseCollapse } from '../thp/madvise-collapse.ts';
import type { VmArea } from '../vma.ts';
import { VM_WRITE, VMH_SEALED } from '../vma-flags.ts';
import {
  isDiscard,
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_GUARD_REMOVE,
  MADV_PAGEOUT,
  MADV_REMOVE,
  MADV_WILLNEED,
} from './advice.ts';
import { madviseColdOrPageout } from './cold.ts';
import { madviseDontneedFree } from './dontneed.ts';
import { madviseGuardInstall, madviseGuardRemove } from './guard.ts';
import type { MadviseState } from './madvise-state.ts';
import { madviseRemove } from './remove.ts';
import { madviseVmaFlags } from './vma-flags-advice.ts';
import { madviseWillneed } from './willneed.ts';

/**
 * Throwing away anonymous memory that the process cannot write is what sealing forbids; who may write it could do the
 * same with stores.
 */
function mayModify(current: TaskStruct, vma: VmArea, advice: number): boolean {
  if ((vma.flagsHigh & VMH_SEALED) === 0 || !isDiscard(advice) || !vma.anonymous) return true;
  if ((vma.flags & VM_WRITE) === 0) return false;
  const foreign = current.mm !== vma.mm;
  return current.kernel.arch.vmaAccessPermitted(current.cpu, vma.flags, vma.flagsHigh, true, false, foreign);
}

/** mmap_lock may be dropped on the way; the walk looks its next VMA up anew then. */
function* collapse(current: TaskStruct, state: MadviseState): Task<number> {
  const { error, lockDropped } = yield* madviseCollapse(current, state.vma, state.start, state.end);
  if (lockDropped) state.lockDropped = true;
  return error;
}

/** 0 or a negative errno. */
export function madviseVmaBehavior(current: TaskStruct, state: MadviseState): Task<number> {
  if (!mayModify(current, state.vma, state.advice)) return atomically(() => -EPERM);
  switch (state.advice) {
    case MADV_REMOVE:
      return madviseRemove(current, state);
    case MADV_WILLNEED:
      return madviseWillneed(current, state);
    case MADV_COLD:
    case MADV_PAGEOUT:
      return madviseColdOrPageout(current, state);
    case MADV_FREE:
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
      return madviseDontneedFree(current, state);
    case MADV_COLLAPSE:
      return collapse(current, state);
    case MADV_GUARD_INSTALL:
      return madviseGuardInstall(current, state);
    case MADV_GUARD_REMOVE:
      return madviseGuardRemove(current, state);
    default:
      return madviseVmaFlags(current, state);
  }
}
