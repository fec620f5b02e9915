/**
 * What mremap asks of its arguments before it takes mmap_lock, and of each VMA afterwards, in Linux's order.
 * Left out: offsets into the object that wrap at 2^64 pages (no object is so long).
 * @see Linux mm/mremap.c, `check_mremap_params`, `check_prep_vma`, `vma_multi_allowed`
 */
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { hstateOfVma } from './hugetlb/hugetlb-vma.ts';
import { mayExpandVm, mlockFutureOk } from './limits.ts';
import type { MmStruct } from './mm.ts';
import {
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  type MremapOperation,
  MremapType,
} from './mremap-operation.ts';
import type { VmArea } from './vma.ts';
import {
  VM_DONTEXPAND,
  VM_HUGETLB,
  VM_LOCKED,
  VM_MAYSHARE,
  VM_PFNMAP,
  VM_SHARED,
  VM_UFFD_FLAGS,
  VMH_SEALED,
  VMH_UFFD_FLAGS,
} from './vma-flags.ts';

const U64 = 1n << 64n;

/** Arguments as the kernel looks at them: bytes, the old address without its tag, the lengths rounded up to pages. */
export interface MremapArguments {
  readonly address: bigint;
  readonly oldLength: bigint;
  readonly newLength: bigint;
  readonly flags: number;
  readonly newAddress: bigint;
}

/** `PAGE_ALIGN` of a length; it wraps. */
export const alignLength = (length: bigint): bigint => ((length + 0xfffn) & ~0xfffn) % U64;

/** Would the mapping be copied onto itself? @see `vrm_overlaps` */
function overlaps({ address, oldLength, newLength, newAddress }: MremapArguments): boolean {
  return (address + oldLength) % U64 > newAddress && (newAddress + newLength) % U64 > address;
}

function checkNewAddress(mm: MmStruct, args: MremapArguments, taskSize: bigint): number {
  const { flags, newAddress, oldLength, newLength } = args;
  if (newAddress > taskSize - newLength || (newAddress & 0xfffn) !== 0n) return -EINVAL;
  if ((flags & MREMAP_MAYMOVE) === 0) return -EINVAL;
  if ((flags & MREMAP_DONTUNMAP) !== 0 && oldLength !== newLength) return -EINVAL;
  if (overlaps(args)) return -EINVAL;
  // Source and target may each be cut in three before the move itself is tried, which wants some room as well.
  return mm.mapCount + 2 >= mm.kernel.config.maxMapCount - 3 ? -ENOMEM : 0;
}

/** 0, -EINVAL, or -ENOMEM (too near to the limit of VMAs). @see `check_mremap_params` */
export function checkMremapParams(mm: MmStruct, args: MremapArguments): number {
  const { flags, address, newLength } = args;
  const taskSize = BigInt(mm.taskSizePages) << 12n;
  if ((flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP)) !== 0 || flags >= 2 ** 31) return -EINVAL;
  if ((address & 0xfffn) !== 0n || newLength === 0n || newLength > taskSize) return -EINVAL;
  return (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) === 0 ? 0 : checkNewAddress(mm, args, taskSize);
}

const userfaultfdArmed = (vma: VmArea): boolean =>
  (vma.flags & VM_UFFD_FLAGS) !== 0 || (vma.flagsHigh & VMH_UFFD_FLAGS) !== 0;

/** May the VMA move together with others? @see `vma_multi_allowed`: every file here is one of tmpfs or hugetlbfs */
export const isMultiMoveAllowed = (vma: VmArea): boolean => !userfaultfdArmed(vma);

/**
 * Of huge pages: lengths are rounded up to whole ones; addresses must be of whole ones, and the mapping may not grow.
 * @see `align_hugetlb`
 */
function alignHugetlb(operation: MremapOperation, vma: VmArea): boolean {
  const { pages } = hstateOfVma(vma);
  operation.oldPages = Math.ceil(operation.oldPages / pages) * pages;
  operation.newPages = Math.ceil(operation.newPages / pages) * pages;
  if (operation.page % pages !== 0 || operation.newPage % pages !== 0) return false;
  return operation.newPages <= operation.oldPages;
}

/** The mapping grows by `operation.delta`. */
function checkGrowth(operation: MremapOperation, vma: VmArea): number {
  const { current, mm, delta } = operation;
  if ((vma.flags & VM_LOCKED) !== 0) operation.populateExpand = true;
  if ((vma.flags & (VM_DONTEXPAND | VM_PFNMAP)) !== 0) return -EFAULT;
  if (!mlockFutureOk(current, mm, vma.flags, delta)) return -EAGAIN;
  return mayExpandVm(current, mm, vma.flags, delta) ? 0 : -ENOMEM;
}

/**
 * May `operation.vma`, null when nothing is mapped there, be moved or resized so? 0, -EFAULT, -EPERM (sealed),
 * -EINVAL, -EAGAIN (locked memory), -ENOMEM (limits).
 * @see `check_prep_vma`
 */
export function checkPrepVma(operation: MremapOperation): number {
  const { vma } = operation;
  if (vma === null) return -EFAULT;
  if ((vma.flagsHigh & VMH_SEALED) !== 0) return -EPERM;
  if ((vma.flags & VM_HUGETLB) !== 0 && !alignHugetlb(operation, vma)) return -EINVAL;
  const { type } = operation;
  if (!operation.impliesNewAddress) operation.newPage = operation.page;
  if (type !== MremapType.Expand && !operation.impliesNewAddress) return 0;
  if (operation.oldPages === 0 && (vma.flags & (VM_SHARED | VM_MAYSHARE)) === 0) return -EINVAL;
  if (operation.dontUnmap && (vma.flags & (VM_DONTEXPAND | VM_PFNMAP)) !== 0) return -EINVAL;
  // Of what shrinks, only the part that stays must be one VMA.
  const oldPages = type === MremapType.Shrink ? operation.newPages : operation.oldPages;
  if (oldPages > vma.end - operation.page) return -EFAULT;
  return operation.newPages === oldPages ? 0 : checkGrowth(operation, vma);
}
