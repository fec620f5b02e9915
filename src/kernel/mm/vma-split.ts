/**
 * Splitting a VMA in two, and changing the attributes of a part of one.
 * Left out: allocation failure.
 * @see Linux mm/vma.c, `__split_vma`, `split_vma`, `vma_modify`
 */
import type { Task } from '../../base/task.ts';
import { ENOMEM } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import { anonVmaClone } from './anon-vma.ts';
import { hugetlbSplit } from './hugetlb/pmd-share.ts';
import type { MmStruct } from './mm.ts';
import { splitHugePmdIfNeeded } from './thp/split-pmd.ts';
import type { UserfaultfdContext } from './userfaultfd/context.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB } from './vma-flags.ts';
import { vmaInitWriteLocked, vmaMarkAttached, vmaStartWrite } from './vma-lock.ts';
import { vmaMergeExistingRange } from './vma-merge.ts';
import { vmaComplete, vmaPrepare } from './vma-prepare.ts';
import { vmAreaAlloc } from './vma-slab.ts';

/** A VMA like `vma` over [start, end), not in the tree; it holds the file and is chained to the same anon_vmas. */
function* duplicateForSplit(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  start: number,
  end: number,
): Task<VmArea> {
  const copy = vmAreaAlloc(mm, start, end, vma.flags, vma.flagsHigh, vma.indexOf(start));
  copy.ops = vma.ops;
  copy.privateData = vma.privateData;
  copy.userfaultfd = vma.userfaultfd;
  copy.file = vma.file;
  if (copy.file !== null) copy.file.count++;
  copy.anonVma = vma.anonVma;
  yield* anonVmaClone(current, copy, vma);
  copy.ops?.open?.(copy);
  return copy;
}

/**
 * Splits `vma` at page `at`, which lies inside it. With `newBelow` the new VMA is the lower part, otherwise the upper;
 * `vma` keeps the other. Does not look at the map limit, as munmap may pass it for a moment.
 * Returns 0, or what the mapping's `maySplit` says.
 * @see mm/vma.c, `__split_vma`
 */
export function* splitVmaUnlimited(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  at: number,
  newBelow: boolean,
): Task<number> {
  if (at <= vma.start || at >= vma.end)
    throw new Error(`${vma.name} cannot be split at page 0x${at.toString(16)}`);
  const error = vma.ops?.maySplit?.(vma, at) ?? 0;
  if (error !== 0) return error;
  const [start, end] = newBelow ? [vma.start, at] : [at, vma.end];
  const part = yield* duplicateForSplit(current, mm, vma, start, end);
  yield* vmaStartWrite(current, mm, vma);
  vmaInitWriteLocked(mm, part);
  const change = { vma, adjacent: null, insert: part, removed: [] };
  yield* vmaPrepare(current, change);
  if ((vma.flags & VM_HUGETLB) !== 0) yield* hugetlbSplit(current, vma, at);
  // `vma_adjust_trans_huge`: no pmd may map pages of two VMAs, which could come to differ in their rights.
  else yield* splitHugePmdIfNeeded(current, vma, at);
  const from = vma.start;
  if (newBelow) {
    vma.pgoff += at - vma.start;
    vma.start = at;
  } else {
    vma.end = at;
  }
  yield mm.treeStore;
  mm.vmas.resize(from, vma.start, vma.end);
  mm.vmas.insert(part);
  vmaMarkAttached(part);
  mm.mapCount++;
  yield* vmaComplete(current, mm, change);
  return 0;
}

/** `splitVmaUnlimited`, unless the mm has as many VMAs as it may: -ENOMEM. @see mm/vma.c, `split_vma` */
function* splitVma(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  at: number,
  newBelow: boolean,
): Task<number> {
  if (mm.mapCount >= mm.kernel.config.maxMapCount) return -ENOMEM;
  return yield* splitVmaUnlimited(current, mm, vma, at, newBelow);
}

/** What `vmaModify` is to change. */
export interface VmaChange {
  readonly flags: number;
  readonly flagsHigh: number;
  /** Absent: the same as before. */
  readonly userfaultfd?: UserfaultfdContext | null;
}

/** How `vmaModify` ended. */
export interface ModifiedVma {
  /** 0 or -ENOMEM and the like; parts that were split before the error stay split. */
  readonly error: number;
  /** The VMA that covers the range now. */
  readonly vma: VmArea;
  /** It was merged and has the asked attributes already, with the sticky flags of all its parts. */
  readonly merged: boolean;
}

/**
 * Makes [start, end) of `vma` a VMA of its own, or a part of a neighbour that has the asked attributes already. Without
 * a merge the caller sets the attributes.
 * @param prev the VMA before `vma`, or `vma` itself when the range does not begin at its start
 * @see mm/vma.c, `vma_modify`, `vma_modify_flags`
 */
export function* vmaModify(
  current: TaskStruct,
  mm: MmStruct,
  prev: VmArea | null,
  vma: VmArea,
  start: number,
  end: number,
  change: VmaChange,
): Task<ModifiedVma> {
  const next = end === vma.end ? mm.vmas.find(vma.end) : null;
  const merged = yield* vmaMergeExistingRange(current, {
    mm,
    start,
    end,
    flags: change.flags,
    flagsHigh: change.flagsHigh,
    pgoff: vma.indexOf(start),
    file: vma.file,
    userfaultfd: change.userfaultfd === undefined ? vma.userfaultfd : change.userfaultfd,
    anonVma: vma.anonVma,
    prev,
    middle: vma,
    next,
  });
  if (merged !== null) return { error: 0, vma: merged, merged: true };
  if (vma.start < start) {
    const error = yield* splitVma(current, mm, vma, start, true);
    if (error !== 0) return { error, vma, merged: false };
  }
  if (vma.end > end) {
    const error = yield* splitVma(current, mm, vma, end, false);
    if (error !== 0) return { error, vma, merged: false };
  }
  return { error: 0, vma, merged: false };
}
