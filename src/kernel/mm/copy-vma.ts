/**
 * The VMAs of mremap: a copy of one at another address, merged with what is there if it fits, and one that grows at its
 * end.
 * Left out: memory policies, anonymous VMA names, allocation failure.
 * @see Linux mm/vma.c, `copy_vma`, `vma_merge_copied_range`, `vma_merge_extend`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { anonVmaClone } from './anon-vma.ts';
import { vmaLinkFile } from './i-mmap.ts';
import { getFile } from './mapped-file.ts';
import type { VmArea } from './vma.ts';
import { vmaInitWriteLocked, vmaMarkAttached } from './vma-lock.ts';
import { vmaMergeNewRange } from './vma-merge.ts';
import { vmAreaAlloc } from './vma-slab.ts';

/** How `copyVma` ended. */
export interface CopiedVma {
  /** The VMA that holds the source range now: it may have been merged with its own copy. */
  readonly source: VmArea;
  /** The VMA that holds the target range. */
  readonly copy: VmArea;
  /** A walk of the rmap may come to the copy before it comes to the source. */
  readonly needRmapLocks: boolean;
}

/**
 * Maps [start, start + pages), which is free, like `vma` from its object offset `pgoff` on. Needs mmap_lock for writing.
 * What the source has of pages stays where it is.
 */
export function* copyVma(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  pages: number,
  pgoff: number,
): Task<CopiedVma> {
  const { mm } = vma;
  const sourceStart = vma.start;
  // Nothing was faulted in: nothing can be found by the old offset, and with this one it may merge where it comes to.
  const offset = vma.anonymous && vma.anonVma === null ? start : pgoff;
  const merged = yield* vmaMergeNewRange(current, {
    mm,
    start,
    end: start + pages,
    flags: vma.flags,
    flagsHigh: vma.flagsHigh,
    pgoff: offset,
    file: vma.file,
    userfaultfd: vma.userfaultfd,
    anonVma: vma.anonVma,
    prev: mm.vmas.findPrevious(start),
    middle: null,
    next: mm.vmas.find(start + pages),
    copiedFrom: vma,
  });
  if (merged === null) {
    const copy = yield* insertCopy(current, vma, start, pages, offset);
    return { source: vma, copy, needRmapLocks: false };
  }
  const source = sourceStart >= merged.start && sourceStart < merged.end ? merged : vma;
  return { source, copy: merged, needRmapLocks: merged.pgoff <= source.pgoff };
}

function* insertCopy(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  pages: number,
  pgoff: number,
): Task<VmArea> {
  const { mm } = vma;
  const copy = vmAreaAlloc(mm, start, start + pages, vma.flags, vma.flagsHigh, pgoff);
  copy.ops = vma.ops;
  copy.privateData = vma.privateData;
  copy.userfaultfd = vma.userfaultfd;
  copy.anonVma = vma.anonVma;
  yield* anonVmaClone(current, copy, vma);
  copy.file = vma.file;
  if (copy.file !== null) getFile(copy.file);
  copy.ops?.open?.(copy);
  vmaInitWriteLocked(mm, copy);
  yield mm.treeStore;
  mm.vmas.insert(copy);
  vmaMarkAttached(copy);
  mm.mapCount++;
  yield* vmaLinkFile(current, copy);
  return copy;
}

/**
 * Adds `pages` pages, which are free, to the end of `vma`, and the VMA behind them if it fits. Null when the VMA is of a
 * kind that never merges.
 */
export function vmaMergeExtend(current: TaskStruct, vma: VmArea, pages: number): Task<VmArea | null> {
  return vmaMergeNewRange(current, {
    mm: vma.mm,
    start: vma.end,
    end: vma.end + pages,
    flags: vma.flags,
    flagsHigh: vma.flagsHigh,
    pgoff: vma.indexOf(vma.end),
    file: vma.file,
    userfaultfd: vma.userfaultfd,
    anonVma: vma.anonVma,
    prev: vma,
    middle: null,
    next: vma.mm.vmas.find(vma.end + pages),
  });
}
