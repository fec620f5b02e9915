/**
 * Where transparent huge pages may be: what /sys/kernel/mm/transparent_hugepage/enabled, the VMA's flags and its extent
 * say together.
 * Left out: sizes other than that of a pmd (their default is never), huge pages of files other than tmpfs
 * (CONFIG_READ_ONLY_THP_FOR_FS is off), PR_SET_THP_DISABLE.
 * @see Linux mm/huge_memory.c, `__thp_vma_allowable_orders`; include/linux/huge_mm.h, `thp_vma_suitable_order`
 */
import { hugePages } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import {
  VM_DONTEXPAND,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_IO,
  VM_MIXEDMAP,
  VM_NOHUGEPAGE,
  VM_PFNMAP,
  VM_STACK_INCOMPLETE_SETUP,
} from '../vma-flags.ts';
import { shmemAllowsHugePage } from './shmem-policy.ts';

/** log2 of the pages of a huge page (HPAGE_PMD_ORDER), with 4 KiB pages. */
export const HPAGE_PMD_ORDER = 9;

/** VM_NO_KHUGEPAGED: VM_SPECIAL and hugetlb. */
const VM_NO_KHUGEPAGED = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP | VM_HUGETLB;

/** Who asks. */
export type ThpPurpose =
  | 'fault'
  /** The background task. */
  | 'khugepaged'
  /** MADV_COLLAPSE, which asks neither the policy nor VM_HUGEPAGE. */
  | 'forced-collapse';

/** Does [haddr, haddr + a huge page) lie in the VMA, which has pages of a file where their huge pages can be? */
export function thpVmaSuitable(vma: VmArea, start: number): boolean {
  const pages = hugePages(vma.mm.kernel.pageTables);
  if (!vma.anonymous && (vma.start - vma.pgoff) % pages !== 0) return false;
  return start >= vma.start && start + pages <= vma.end;
}

/** Is the VMA large enough, wherever it lies, to hold one? */
function holdsHugePage(vma: VmArea): boolean {
  const pages = hugePages(vma.mm.kernel.pageTables);
  return thpVmaSuitable(vma, vma.end - (vma.end % pages) - pages);
}

/** May the VMA have huge pages, as far as its flags say? */
export function thpVmaAllowable(vma: VmArea, purpose: ThpPurpose): boolean {
  const { config } = vma.mm.kernel;
  if ((vma.flags & VM_NOHUGEPAGE) !== 0) return false;
  if (purpose !== 'fault' && ((vma.flags & VM_NO_KHUGEPAGED) !== 0 || !holdsHugePage(vma))) return false;
  // The pmd of a file's page is the affair of its fault handler.
  if (!vma.anonymous) return purpose !== 'fault' && shmemVmaAllowable(vma, purpose);
  if ((vma.flags & VM_STACK_INCOMPLETE_SETUP) === VM_STACK_INCOMPLETE_SETUP) return false;
  if (purpose === 'forced-collapse') return vma.anonVma !== null;
  if (config.transparentHugepage === 'never') return false;
  if (config.transparentHugepage === 'madvise' && (vma.flags & VM_HUGEPAGE) === 0) return false;
  return purpose === 'fault' || vma.anonVma !== null;
}

function shmemVmaAllowable({ mm, file, pgoff, flags }: VmArea, purpose: ThpPurpose): boolean {
  if (file === null || !file.mapping.shmem) return false;
  return shmemAllowsHugePage(mm.kernel, file.mapping, pgoff, flags, purpose === 'forced-collapse');
}
