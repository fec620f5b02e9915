/**
 * The mappings of a file of huge pages that have a page in a range. They are the same ones that every file has; only
 * the loops are here.
 * @see Linux mm/interval_tree.c, `vma_interval_tree_foreach`
 */
import { firstMapping, nextMapping } from '../i-mmap.ts';
import type { VmArea } from '../vma.ts';
import type { HugetlbInode } from './hugetlb-inode.ts';

/** VMAs that map a page of the file in [first, end), small pages. Needs `iMmapRwsem`. */
export function vmasMapping({ mapping }: HugetlbInode, first: number, end: number): VmArea[] {
  const found: VmArea[] = [];
  let vma = firstMapping(mapping, first, end - 1);
  while (vma !== null) {
    found.push(vma);
    vma = nextMapping(mapping, vma, first, end - 1);
  }
  return found;
}
