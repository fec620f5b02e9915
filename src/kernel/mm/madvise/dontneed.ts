/**
 * MADV_DONTNEED, MADV_DONTNEED_LOCKED and MADV_FREE: which mappings allow them, and taking the pages away. Private
 * anonymous memory reads as zeros afterwards, a private file mapping shows the file again, a shared one loses only ptes.
 * Guards stay.
 * @see Linux mm/madvise.c, `madvise_dontneed_free`, `madvise_dontneed_single_vma`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL, ENOMEM } from '../../errno.ts';
import { mmapReadLock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { hstateOfVma, isHugetlbVma } from '../hugetlb/hugetlb-vma.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from '../mmu-notifier.ts';
import { userfaultfdRemove } from '../userfaultfd/events.ts';
import { VM_LOCKED, VM_PFNMAP } from '../vma-flags.ts';
import { zapRange } from '../zap-range.ts';
import { MADV_DONTNEED_LOCKED, MADV_FREE } from './advice.ts';
import { madviseFreeSingleVma } from './free.ts';
import type { MadviseState } from './madvise-state.ts';

/**
 * May the advice be given here? Of hugetlb memory the end is rounded down: a caller that knows small pages only must
 * not lose more than it names.
 * @see mm/madvise.c, `madvise_dontneed_free_valid_vma`
 */
function validVma(state: MadviseState): boolean {
  const { vma, advice, start, end } = state;
  if (!isHugetlbVma(vma)) {
    const forbidden = advice === MADV_DONTNEED_LOCKED ? VM_PFNMAP : VM_PFNMAP | VM_LOCKED;
    return (vma.flags & forbidden) === 0;
  }
  if (advice === MADV_FREE) return false;
  const { pages } = hstateOfVma(vma);
  if (start % pages !== 0) return false;
  state.end = end - (end % pages);
  return true;
}

/** userfaultfd's reader was told, without mmap_lock: what is mapped there now? 0, -ENOMEM or -EINVAL. */
function* lookAgain(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm } = state;
  state.lockDropped = true;
  yield* mmapReadLock(current, mm);
  const vma = mm.vmas.lookup(state.start);
  if (vma === null) return -ENOMEM;
  state.vma = vma;
  if (!validVma(state)) return -EINVAL;
  // Split meanwhile: that call and this one may have come in any order.
  if (state.end > vma.end) state.end = vma.end;
  return 0;
}

/** 0, -EINVAL, or -ENOMEM (unmapped meanwhile). */
export function* madviseDontneedFree(current: TaskStruct, state: MadviseState): Task<number> {
  if (!validVma(state)) return -EINVAL;
  if (state.start >= state.end) return 0;
  if (!(yield* userfaultfdRemove(current, state.vma, state.start, state.end))) {
    const error = yield* lookAgain(current, state);
    if (error !== 0 || state.start >= state.end) return error;
  }
  const { mm, vma, gather, start, end } = state;
  if (gather === null) throw new Error('pages are thrown away without an mmu_gather');
  if (state.advice === MADV_FREE) return yield* madviseFreeSingleVma(current, state, gather);
  if (mm.kernel.watcher !== null) mm.kernel.watcher.discards(current, mm, start, end);
  const range = mmuNotifierRange(mm, start, end, 'clear');
  yield* mmuNotifierStart(current, range);
  yield* zapRange(current, mm, vma, start, end, gather, {
    keepMarkers: true,
    reclaimTables: mm.kernel.config.ptReclaim,
  });
  yield* mmuNotifierEnd(current, range);
  return 0;
}
