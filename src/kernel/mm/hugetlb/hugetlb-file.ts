/**
 * Files of huge pages: the unlinked one behind MAP_ANONYMOUS | MAP_HUGETLB, and memfd with MFD_HUGETLB; and mapping them.
 * Left out: mounts of hugetlbfs with paths, SysV shared memory.
 * @see Linux fs/hugetlbfs/inode.c, `hugetlb_file_setup`, `hugetlbfs_file_mmap`, `hugetlb_get_unmapped_area`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL, ENOMEM } from '../../errno.ts';
import type { Kernel } from '../../kernel.ts';
import { MappedFile } from '../mapped-file.ts';
import { setMemfdSeals } from '../memfd-flags.ts';
import { MAP_HUGE_MASK, MAP_HUGE_SHIFT } from '../mman.ts';
import type { VmArea } from '../vma.ts';
import { VM_DONTEXPAND, VM_HUGETLB, VM_WRITE } from '../vma-flags.ts';
import type { Hstate } from './hstate.ts';
import { HugetlbInode, hugetlbInodeOf } from './hugetlb-inode.ts';
import { allocVmaLock, HugetlbVmaData, hugetlbVmOperations, inodeOfVma } from './hugetlb-vma.ts';
import { hugetlbReservePages } from './reservation.ts';

const PAGE_BYTES = 4096;

/** The size that MAP_HUGE_* or MFD_HUGE_* bits name; null for one that this machine has not. */
export function hstateOfFlags(kernel: Kernel, flags: number): Hstate | null {
  return kernel.hugetlb.ofShift((flags >>> MAP_HUGE_SHIFT) & MAP_HUGE_MASK);
}

function makeFile(kernel: Kernel, hstate: Hstate, name: string, kind: string, bytes: number): MappedFile {
  const serial = kernel.nextSerial('hugetlb');
  const inode = new HugetlbInode(kernel.frames, hstate, `i_pages ${name} ${serial}`, serial, bytes);
  return new MappedFile({
    name: `${name} ${serial}`,
    mapping: inode.mapping,
    readable: true,
    writable: true,
    kind,
  });
}

/** The file of an anonymous mapping of `pages` pages, with one reference. */
export function hugetlbFileSetup(kernel: Kernel, hstate: Hstate, pages: number): MappedFile {
  return makeFile(kernel, hstate, 'anon_hugepage', 'hugetlb', pages * PAGE_BYTES);
}

/**
 * memfd_create with MFD_HUGETLB: an empty file that seals can be put on, or -EINVAL for a size of pages that there is not.
 * @param flags MFD_*, with log2 of the page's bytes from bit 26 on; 0 there is the default size
 */
export function hugetlbMemfdCreate(kernel: Kernel, name: string, flags: number): MappedFile | number {
  const hstate = hstateOfFlags(kernel, flags);
  if (hstate === null) return -EINVAL;
  const file = makeFile(kernel, hstate, `memfd:${name}`, `memfd:${name}`, 0);
  setMemfdSeals(file.mapping, flags);
  return file;
}

/** The size of a file's huge pages, null of small ones (`is_file_hugepages`, `hstate_file`). */
export function hstateOfFile(file: MappedFile | null): Hstate | null {
  return file === null ? null : (hugetlbInodeOf(file.mapping)?.hstate ?? null);
}

/**
 * Maps the file into a new VMA that is not in the tree: promises its pages. 0, -EINVAL (offset inside a huge page) or
 * -ENOMEM (not so many pages are free).
 * @see `hugetlbfs_file_mmap`
 */
export function* hugetlbFileMmap(vma: VmArea): Task<number> {
  const inode = inodeOfVma(vma);
  const { pages } = inode;
  vma.flags |= VM_HUGETLB | VM_DONTEXPAND;
  vma.ops = hugetlbVmOperations;
  vma.privateData = new HugetlbVmaData();
  if (vma.pgoff % pages !== 0) return -EINVAL;
  const first = vma.pgoff / pages;
  const error = yield* hugetlbReservePages(vma, first, first + vma.pages / pages);
  if (error !== 0) return -ENOMEM;
  allocVmaLock(vma);
  const end = (vma.pgoff + vma.pages) * PAGE_BYTES;
  if ((vma.flags & VM_WRITE) !== 0 && inode.mapping.sizeBytes < end) inode.mapping.sizeBytes = end;
  return 0;
}
