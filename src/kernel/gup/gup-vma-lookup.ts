/**
 * The VMA of a page, for paths that never make a stack grow, with a word in the log where such an access looks as if it
 * relied on that.
 * Left out: that the log hears of it again after an hour.
 * @see Linux mm/gup.c, `gup_vma_lookup`
 */
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_GROWSDOWN } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';

/** What is this near to a stack, in pages, would have made it grow in kernels before 6.5 (65536 bytes). */
const NEAR_PAGES = 16;

/** Null: nothing is mapped there. Needs mmap_lock. */
export function gupVmaLookup(current: TaskStruct, mm: MmStruct, page: number): VmArea | null {
  const vma = mm.vmas.find(page);
  if (vma === null || page >= vma.start) return vma;
  noteBelowStack(current, vma, page);
  return null;
}

/** `vma` is the first one above `page`, which nothing maps. */
export function noteBelowStack(current: TaskStruct, vma: VmArea, page: number): void {
  if ((vma.flags & VM_GROWSDOWN) === 0 || vma.start - page > NEAR_PAGES) return;
  current.kernel.warnings.once(current, 'gup_vma_lookup', 'GUP does not make a stack grow');
}
