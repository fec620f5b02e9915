/**
 * Merging VMAs: which neighbours fit a range that is new or whose attributes change, and the change of the tree when
 * they do. All paths here hold mmap_lock for writing; every VMA that is touched is write-locked first, and the tree
 * goes from the old to the new state in one step.
 * Left out: memory policies and anonymous VMA names (every VMA has the default of both), allocation failure.
 * @see Linux mm/vma.c, `vma_merge_new_range`, `vma_merge_existing_range`, `vma_expand`, `commit_merge`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { type AnonVma, anonVmaClone, vmaHadUncowedParents } from './anon-vma.ts';
import type { MappedFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import { splitHugePmdIfNeeded } from './thp/split-pmd.ts';
import type { VmArea } from './vma.ts';
import { VM_IGNORE_MERGE, VM_SPECIAL, VM_STICKY } from './vma-flags.ts';
import { vmaStartWrite } from './vma-lock.ts';
import { vmaComplete, vmaPrepare } from './vma-prepare.ts';

/** A range and the attributes it is to have (`struct vma_merge_struct`). Pages, `end` exclusive. */
export interface MergeRange {
  readonly mm: MmStruct;
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly flagsHigh: number;
  readonly pgoff: number;
  readonly file: MappedFile | null;
  readonly userfaultfd: object | null;
  readonly anonVma: AnonVma | null;
  /** The VMA before the range, which may end at it. */
  readonly prev: VmArea | null;
  /** The existing VMA that holds the range; null for a new range. */
  readonly middle: VmArea | null;
  /** The VMA after the range. */
  readonly next: VmArea | null;
  /** The VMA whose pages a new range is going to take over (mremap). */
  readonly copiedFrom?: VmArea | null;
  /** VMAs that a new range is mapped over: detached, and taken out of the tree in the step in which it goes in. */
  readonly replaced?: readonly VmArea[];
}

/** What the change of the tree will be. */
interface MergePlan {
  readonly target: VmArea;
  readonly start: number;
  readonly end: number;
  readonly pgoff: number;
  readonly removed: readonly VmArea[];
  /** Its other end moves: the part of `middle` that is not in the range. */
  readonly shrunk: VmArea | null;
  /** VMA whose anon_vma the target takes if it has none. */
  readonly anonVmaFrom: VmArea | null;
}

/** @see mm/vma.c, `is_mergeable_vma` */
function attributesFit(range: MergeRange, neighbour: VmArea): boolean {
  return (
    ((neighbour.flags ^ range.flags) & ~VM_IGNORE_MERGE) === 0 &&
    neighbour.flagsHigh === range.flagsHigh &&
    neighbour.file === range.file &&
    neighbour.userfaultfd === range.userfaultfd
  );
}

/**
 * Both sides may have an anon_vma only if it is the same. One side may have none, unless the other is a fork child:
 * a merge would chain more pages to the anon_vmas of all its ancestors.
 * @see mm/vma.c, `is_mergeable_anon_vma`
 */
function anonVmasFit(range: MergeRange, target: VmArea): boolean {
  if (target.anonVma === null && range.anonVma !== null) {
    return !vmaHadUncowedParents(range.middle ?? range.copiedFrom ?? null);
  }
  if (target.anonVma !== null && range.anonVma === null) return !vmaHadUncowedParents(target);
  return target.anonVma === range.anonVma;
}

/** @see mm/vma.c, `can_vma_merge_left` */
function canMergeLeft(range: MergeRange): boolean {
  const { prev } = range;
  return (
    prev !== null &&
    prev.end === range.start &&
    attributesFit(range, prev) &&
    anonVmasFit(range, prev) &&
    prev.pgoff + prev.pages === range.pgoff
  );
}

/** @see mm/vma.c, `can_vma_merge_right` */
function canMergeRight(range: MergeRange, left: boolean): boolean {
  const { prev, next } = range;
  if (next === null || next.start !== range.end) return false;
  if (!attributesFit(range, next) || !anonVmasFit(range, next)) return false;
  if (range.pgoff + (range.end - range.start) !== next.pgoff) return false;
  // Each of the two fits the range; they must fit each other as well.
  return (
    !left || prev === null || prev.anonVma === null || next.anonVma === null || prev.anonVma === next.anonVma
  );
}

/** A VMA whose driver wants to hear of its end cannot be merged away. @see mm/vma.c, `can_merge_remove_vma` */
function canBeRemoved(vma: VmArea): boolean {
  return vma.ops === null || !vma.ops.hasClose;
}

function planNewRange(range: MergeRange, justExpand: boolean): MergePlan | null {
  const { prev, next, start, end, pgoff } = range;
  const left = canMergeLeft(range);
  const right = !justExpand && canMergeRight(range, left);
  const copiedFrom = range.copiedFrom ?? null;
  if (left && prev !== null) {
    const both = right && next !== null && canBeRemoved(next);
    return {
      target: prev,
      start: prev.start,
      end: both ? next.end : end,
      pgoff: prev.pgoff,
      removed: both ? [next] : [],
      shrunk: null,
      anonVmaFrom: both && next.anonVma !== null ? next : copiedFrom,
    };
  }
  if (!right || next === null) return null;
  return { target: next, start, end: next.end, pgoff, removed: [], shrunk: null, anonVmaFrom: copiedFrom };
}

/** The range touches the left edge of `middle` and `prev` takes it, and all of `next` too unless that is null. */
function planIntoPrev(range: MergeRange, middle: VmArea, prev: VmArea, next: VmArea | null): MergePlan {
  const whole = range.end === middle.end;
  const removedMiddle = whole ? [middle] : [];
  return {
    target: prev,
    start: prev.start,
    end: next === null ? range.end : next.end,
    pgoff: prev.pgoff,
    removed: next === null ? removedMiddle : [middle, next],
    shrunk: whole ? null : middle,
    anonVmaFrom: next !== null && next.anonVma !== null ? next : middle,
  };
}

/** The range touches the right edge of `middle` and `next` takes it. */
function planIntoNext(range: MergeRange, middle: VmArea, next: VmArea): MergePlan {
  const whole = range.start === middle.start;
  return {
    target: next,
    start: range.start,
    end: next.end,
    pgoff: range.pgoff,
    removed: whole ? [middle] : [],
    shrunk: whole ? null : middle,
    anonVmaFrom: middle,
  };
}

/** The range lies in `middle` and touches its left edge, its right edge, or both. */
function planExistingRange(range: MergeRange, middle: VmArea): MergePlan | null {
  const { prev, next } = range;
  const atLeft = range.start === middle.start;
  const atRight = range.end === middle.end;
  if (atLeft && atRight && !canBeRemoved(middle)) return null;
  const left = atLeft && canMergeLeft(range);
  const right = atRight && canMergeRight(range, left);
  if (left && prev !== null) {
    const both = right && next !== null && canBeRemoved(next);
    return planIntoPrev(range, middle, prev, both ? next : null);
  }
  return right && next !== null ? planIntoNext(range, middle, next) : null;
}

/** The tree's part, in one step: what goes, what shrinks, what grows. */
function changeTree(range: MergeRange, plan: MergePlan, targetFrom: number, shrunkFrom: number): void {
  const { mm, replaced } = range;
  if (replaced !== undefined) for (const vma of replaced) mm.vmas.remove(vma.start);
  for (const vma of plan.removed) mm.vmas.remove(vma.start);
  const { shrunk, target } = plan;
  if (shrunk !== null) mm.vmas.resize(shrunkFrom, shrunk.start, shrunk.end);
  mm.vmas.resize(targetFrom, target.start, target.end);
}

/** @see mm/vma.c, `commit_merge` and `vma_complete` */
function* commitMerge(current: TaskStruct, range: MergeRange, plan: MergePlan): Task<VmArea> {
  const { mm } = range;
  const { target, removed, shrunk, anonVmaFrom } = plan;
  if (range.middle !== null) yield* vmaStartWrite(current, mm, range.middle);
  yield* vmaStartWrite(current, mm, target);
  for (const vma of removed) yield* vmaStartWrite(current, mm, vma);
  if (anonVmaFrom !== null && anonVmaFrom.anonVma !== null && target.anonVma === null) {
    target.anonVma = anonVmaFrom.anonVma;
    yield* anonVmaClone(current, target, anonVmaFrom);
  }
  for (const vma of removed) target.flags |= vma.flags & VM_STICKY;
  target.flags |= range.flags & VM_STICKY;
  const skipsUprobes = (range.copiedFrom ?? null) !== null;
  const change = { vma: target, adjacent: shrunk, insert: null, removed, skipsUprobes };
  yield* vmaPrepare(current, change);
  if (shrunk !== null) {
    // `vma_adjust_trans_huge`: a huge page on the boundary would belong to both.
    yield* splitHugePmdIfNeeded(current, shrunk, range.start);
    yield* splitHugePmdIfNeeded(current, shrunk, range.end);
  }
  const targetFrom = target.start;
  const shrunkFrom = shrunk?.start ?? 0;
  target.start = plan.start;
  target.end = plan.end;
  target.pgoff = plan.pgoff;
  if (shrunk !== null && range.start === shrunk.start) {
    shrunk.pgoff += range.end - shrunk.start;
    shrunk.start = range.end;
  } else if (shrunk !== null) {
    shrunk.end = range.start;
  }
  yield mm.treeStore;
  changeTree(range, plan, targetFrom, shrunkFrom);
  yield* vmaComplete(current, mm, change);
  return target;
}

/**
 * A range of pages that nothing maps now: extends `prev`, `next` or both over it. The VMA that covers it afterwards;
 * null when none fits (nothing has changed then).
 * @param justExpand only `prev` may grow (brk)
 * @see mm/vma.c, `vma_merge_new_range`
 */
export function* vmaMergeNewRange(
  current: TaskStruct,
  range: MergeRange,
  justExpand = false,
): Task<VmArea | null> {
  if ((range.flags & VM_SPECIAL) !== 0) return null;
  const plan = planNewRange(range, justExpand);
  return plan === null ? null : yield* commitMerge(current, range, plan);
}

/**
 * A range inside `middle` whose attributes change to those of `range`: gives it to the neighbours that have them. The
 * VMA that covers it afterwards; null when none fits (nothing has changed then).
 * @see mm/vma.c, `vma_merge_existing_range`
 */
export function* vmaMergeExistingRange(current: TaskStruct, range: MergeRange): Task<VmArea | null> {
  if (range.middle === null) throw new Error('no VMA to change');
  if ((range.flags & VM_SPECIAL) !== 0) return null;
  const plan = planExistingRange(range, range.middle);
  return plan === null ? null : yield* commitMerge(current, range, plan);
}
