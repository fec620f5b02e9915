/**
 * Advices that only change flags of VMAs, under mmap_lock for writing: how the mapping will be read, what fork, core
 * dumps, KSM and huge pages do with it. VMAs are split and merged as by mprotect.
 * Left out: merging equal pages (KSM): MADV_MERGEABLE sets its flag and nothing more.
 * @see Linux mm/madvise.c, `madvise_vma_behavior`, `madvise_update_vma`; mm/ksm.c, `ksm_madvise`; mm/khugepaged.c,
 * `hugepage_madvise`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EINVAL, ENOMEM } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { khugepagedEnterVma } from '../thp/khugepaged-list.ts';
import type { VmArea } from '../vma.ts';
import {
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_IO,
  VM_MAYSHARE,
  VM_MERGEABLE,
  VM_NOHUGEPAGE,
  VM_RAND_READ,
  VM_SEQ_READ,
  VM_SHARED,
  VM_SPECIAL,
  VM_WIPEONFORK,
  VMH_DROPPABLE,
} from '../vma-flags.ts';
import { vmaStartWrite } from '../vma-lock.ts';
import { vmaModify } from '../vma-split.ts';
import {
  MADV_DODUMP,
  MADV_DOFORK,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_KEEPONFORK,
  MADV_MERGEABLE,
  MADV_NOHUGEPAGE,
  MADV_NORMAL,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_UNMERGEABLE,
  MADV_WIPEONFORK,
} from './advice.ts';
import type { MadviseState } from './madvise-state.ts';

/** Refused: this kind of mapping cannot have the flag. No set of flags is this one value: reserved bits would be set. */
const REFUSED = null;

/** What the advice makes of the VMA's low flag word, or REFUSED (-EINVAL). */
type FlagChange = (vma: VmArea, flags: number) => number | null;

const isDroppable = (vma: VmArea): boolean => (vma.flagsHigh & VMH_DROPPABLE) !== 0;

/** @see mm/ksm.c, `vma_ksm_compatible` */
function ksmCompatible(vma: VmArea): boolean {
  return (vma.flags & (VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_HUGETLB)) === 0 && !isDroppable(vma);
}

/** Memory without pages of its own, such as a device's, stays out of core dumps; hugetlb's is fine. */
function dumpable(vma: VmArea, flags: number): boolean {
  const special = (flags & VM_HUGETLB) === 0 && (flags & VM_SPECIAL) !== 0;
  return !special && !isDroppable(vma);
}

const CHANGES: ReadonlyMap<number, FlagChange> = new Map<number, FlagChange>([
  [MADV_NORMAL, (_vma, flags) => flags & ~(VM_RAND_READ | VM_SEQ_READ)],
  [MADV_RANDOM, (_vma, flags) => (flags & ~VM_SEQ_READ) | VM_RAND_READ],
  [MADV_SEQUENTIAL, (_vma, flags) => (flags & ~VM_RAND_READ) | VM_SEQ_READ],
  [MADV_DONTFORK, (_vma, flags) => flags | VM_DONTCOPY],
  [MADV_DOFORK, (_vma, flags) => ((flags & VM_IO) !== 0 ? REFUSED : flags & ~VM_DONTCOPY)],
  [
    MADV_WIPEONFORK,
    (vma, flags) => (vma.file !== null || (flags & VM_SHARED) !== 0 ? REFUSED : flags | VM_WIPEONFORK),
  ],
  [MADV_KEEPONFORK, (vma, flags) => (isDroppable(vma) ? REFUSED : flags & ~VM_WIPEONFORK)],
  [MADV_DONTDUMP, (_vma, flags) => flags | VM_DONTDUMP],
  [MADV_DODUMP, (vma, flags) => (dumpable(vma, flags) ? flags & ~VM_DONTDUMP : REFUSED)],
  [MADV_MERGEABLE, (vma, flags) => (ksmCompatible(vma) ? flags | VM_MERGEABLE : flags)],
  [MADV_UNMERGEABLE, (_vma, flags) => flags & ~VM_MERGEABLE],
  [MADV_HUGEPAGE, (_vma, flags) => (flags & ~VM_NOHUGEPAGE) | VM_HUGEPAGE],
  [MADV_NOHUGEPAGE, (_vma, flags) => (flags & ~VM_HUGEPAGE) | VM_NOHUGEPAGE],
]);

/** Gives the part of the VMA its new flags. 0, -EINVAL, or -EAGAIN (no VMA could be made; madvise does not say ENOMEM). */
export function* madviseVmaFlags(current: TaskStruct, state: MadviseState): Task<number> {
  const { vma, advice } = state;
  const change = CHANGES.get(advice);
  if (change === undefined) throw new Error(`advice ${advice} changes no flags`);
  const flags = change(vma, vma.flags);
  if (flags === REFUSED) return -EINVAL;
  const error = yield* updateVma(current, state, flags);
  if (error === 0 && advice === MADV_HUGEPAGE) yield* khugepagedEnterVma(state.vma);
  return error === -ENOMEM ? -EAGAIN : error;
}

/** @see mm/madvise.c, `madvise_update_vma` */
function* updateVma(current: TaskStruct, state: MadviseState, flags: number): Task<number> {
  const { mm, vma, prev, start, end } = state;
  if (flags === vma.flags) return 0;
  const { flagsHigh } = vma;
  const modified = yield* vmaModify(current, mm, prev, vma, start, end, { flags, flagsHigh });
  if (modified.error !== 0) return modified.error;
  const changed = modified.vma;
  state.vma = changed;
  yield* vmaStartWrite(current, mm, changed);
  // A merged VMA has the flags, and with them the sticky ones of all its parts.
  if (!modified.merged) changed.flags = flags;
  return 0;
}
