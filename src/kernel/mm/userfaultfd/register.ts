/**
 * UFFDIO_REGISTER: faults in a range become user space's business.
 * @see Linux fs/userfaultfd.c, `userfaultfd_register`; mm/userfaultfd.c, `userfaultfd_register_range`
 */
import { pagesPerEntry } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EBUSY, EINVAL, ENOMEM, EPERM } from '../../errno.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import {
  hugetlbVmaLockWrite,
  hugetlbVmaUnlockWrite,
  inodeOfVma,
  isHugetlbVma,
} from '../hugetlb/hugetlb-vma.ts';
import { hugetlbUnsharePmds } from '../hugetlb/pmd-share.ts';
import { mmgetNotZero, mmput } from '../mm-lifetime.ts';
import type { VmArea } from '../vma.ts';
import {
  VM_HUGETLB,
  VM_MAYWRITE,
  VM_UFFD_FLAGS,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
  VMH_UFFD_FLAGS,
  VMH_UFFD_MINOR,
} from '../vma-flags.ts';
import { vmaModify } from '../vma-split.ts';
import { misalignedHugetlb, vmaCanUserfault } from './can-userfault.ts';
import type { UserfaultfdContext } from './context.ts';
import {
  CONTINUE_IOCTL,
  UFFD_API_RANGE_IOCTLS,
  UFFD_API_RANGE_IOCTLS_BASIC,
  UFFD_API_REGISTER_MODES,
  UFFD_FEATURE_WP_ASYNC,
  UFFDIO_REGISTER_MODE_MINOR,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  WRITEPROTECT_IOCTL,
} from './uffd-abi.ts';
import { validateRange } from './validate-range.ts';
import { setUserfaultfd, type UffdModes } from './vma-context.ts';

export interface UffdRegistered {
  /** 0 or -errno. */
  readonly error: number;
  /** Which ioctls work on the range, one bit each; 0 after an error. */
  readonly ioctls: bigint;
}

const refused = (error: number): UffdRegistered => ({ error, ioctls: 0n });

/**
 * Registers [start, start + length), bytes, with UFFDIO_REGISTER_MODE_*. -EINVAL: no or unknown mode, bad range, nothing
 * mapped, or memory that cannot have the mode; -EPERM: memory that may never be written; -EBUSY: another userfaultfd has
 * a part of it; -ENOMEM: too many VMAs, or the process is gone. Holes are skipped.
 */
export function* userfaultfdRegister(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
  mode: bigint,
): Task<UffdRegistered> {
  if (context.features === null) return refused(-EINVAL);
  if (mode === 0n || (mode & ~UFFD_API_REGISTER_MODES) !== 0n) return refused(-EINVAL);
  const { mm } = context;
  const invalid = validateRange(mm, start, length);
  if (invalid !== 0) return refused(invalid);
  if (!(yield* mmgetNotZero(mm))) return refused(-ENOMEM);
  const firstPage = Number(start >> 12n);
  const endPage = firstPage + Number(length >> 12n);
  yield* mmapWriteLock(current, mm);
  const vmas = mm.vmas.inRange(firstPage, endPage);
  const modes = modesOf(mode);
  let error = incompatible(context, vmas, modes, firstPage, endPage);
  if (error === 0) error = yield* registerRange(current, context, modes, firstPage, endPage);
  const basic = vmas.some(({ flags }) => (flags & VM_HUGETLB) !== 0);
  yield* mmapWriteUnlock(current, mm);
  yield* mmput(current, mm);
  return error === 0 ? { error, ioctls: ioctlsOf(mode, basic) } : refused(error);
}

function modesOf(mode: bigint): UffdModes {
  let flags = 0;
  if ((mode & UFFDIO_REGISTER_MODE_MISSING) !== 0n) flags |= VM_UFFD_MISSING;
  if ((mode & UFFDIO_REGISTER_MODE_WP) !== 0n) flags |= VM_UFFD_WP;
  return { flags, flagsHigh: (mode & UFFDIO_REGISTER_MODE_MINOR) === 0n ? 0 : VMH_UFFD_MINOR };
}

function ioctlsOf(mode: bigint, basic: boolean): bigint {
  let ioctls = basic ? UFFD_API_RANGE_IOCTLS_BASIC : UFFD_API_RANGE_IOCTLS;
  if ((mode & UFFDIO_REGISTER_MODE_WP) === 0n) ioctls &= ~WRITEPROTECT_IOCTL;
  if ((mode & UFFDIO_REGISTER_MODE_MINOR) === 0n) ioctls &= ~CONTINUE_IOCTL;
  return ioctls;
}

/** What speaks against the range, looked at as a whole before anything changes. */
function incompatible(
  context: UserfaultfdContext,
  vmas: readonly VmArea[],
  modes: UffdModes,
  start: number,
  end: number,
): number {
  const [first] = vmas;
  if (first === undefined || misalignedHugetlb(first, start)) return -EINVAL;
  const wpAsync = context.has(UFFD_FEATURE_WP_ASYNC);
  for (const vma of vmas) {
    if (!vmaCanUserfault(vma, modes, wpAsync)) return -EINVAL;
    // Filling a hole of a shared mapping writes to its file.
    if ((vma.flags & VM_MAYWRITE) === 0) return -EPERM;
    if (end <= vma.end && misalignedHugetlb(vma, end)) return -EINVAL;
    if (vma.userfaultfd !== null && vma.userfaultfd !== context) return -EBUSY;
  }
  return 0;
}

function isRegistered(vma: VmArea, context: UserfaultfdContext, { flags, flagsHigh }: UffdModes): boolean {
  return (
    vma.userfaultfd === context && (vma.flags & flags) === flags && (vma.flagsHigh & flagsHigh) === flagsHigh
  );
}

/** @see mm/userfaultfd.c, `userfaultfd_register_range` */
function* registerRange(
  current: TaskStruct,
  context: UserfaultfdContext,
  modes: UffdModes,
  start: number,
  end: number,
): Task<number> {
  const { mm } = context;
  let vma = mm.vmas.findIntersection(start, end);
  let prev = vma !== null && vma.start < start ? vma : mm.vmas.findPrevious(start);
  while (vma !== null) {
    if (!isRegistered(vma, context, modes)) {
      const from = Math.max(start, vma.start);
      const modified = yield* vmaModify(current, mm, prev, vma, from, Math.min(end, vma.end), {
        flags: (vma.flags & ~VM_UFFD_FLAGS) | modes.flags,
        flagsHigh: (vma.flagsHigh & ~VMH_UFFD_FLAGS) | modes.flagsHigh,
        userfaultfd: context,
      });
      if (modified.error !== 0) return modified.error;
      ({ vma } = modified);
      yield* setUserfaultfd(current, vma, context, modes);
      yield* leaveSharedTables(current, vma, modes);
    }
    prev = vma;
    vma = vma.end < end ? mm.vmas.findIntersection(vma.end, end) : null;
  }
  return 0;
}

/**
 * Huge pages that are watched one by one need page tables of this mapping's own.
 * @see include/linux/userfaultfd_k.h, `uffd_disable_huge_pmd_share`; mm/hugetlb.c, `hugetlb_unshare_all_pmds`
 */
function* leaveSharedTables(current: TaskStruct, vma: VmArea, modes: UffdModes): Task<void> {
  if (!isHugetlbVma(vma) || ((modes.flags & VM_UFFD_WP) === 0 && modes.flagsHigh === 0)) return;
  const { format, lastLevel } = vma.mm.kernel.pageTables;
  const span = pagesPerEntry(format, lastLevel - 2);
  const { iMmapRwsem } = inodeOfVma(vma).mapping;
  yield* hugetlbVmaLockWrite(current, vma);
  yield* iMmapRwsem.downWrite(current);
  yield* hugetlbUnsharePmds(
    current,
    vma,
    Math.ceil(vma.start / span) * span,
    Math.floor(vma.end / span) * span,
  );
  yield* iMmapRwsem.upWrite(current);
  yield* hugetlbVmaUnlockWrite(current, vma);
}
