/**
 * May GUP take the page that an entry maps?
 * @see Linux mm/gup.c, `can_follow_write_pte`, `can_follow_write_pmd`, `gup_can_follow_protnone`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { EEXIST, EFAULT, EMLINK } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { VmArea } from '../mm/vma.ts';
import {
  VM_ACCESS_FLAGS,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_SHARED,
  VM_UFFD_WP,
  VM_WRITE,
} from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_DUMP, FOLL_FORCE, FOLL_HONOR_NUMA_FAULT, FOLL_PIN, FOLL_WRITE, NO_PAGE } from './foll-flags.ts';
import { oldCanFollowWritePte } from './forced-write-flags.ts';
import { gupMustUnshare } from './must-unshare.ts';

/**
 * The decision on one leaf, before any reference is taken: the frame, NO_PAGE, or an error.
 * @see Linux mm/gup.c, `follow_page_pte`, `follow_huge_pmd`
 */
export function leafVerdict(
  current: TaskStruct,
  vma: VmArea,
  flags: number,
  gupFlags: number,
  frame: number,
): number {
  if ((flags & EntryFlag.Present) === 0) return NO_PAGE;
  if ((flags & EntryFlag.Protnone) !== 0 && !canFollowProtnone(vma, gupFlags)) return NO_PAGE;
  const { frames } = current.kernel;
  const zeroPage = frames.isZeroFrame(frame);
  // `vm_normal_page`: special entries have no page that could be counted, dirtied or unshared.
  const normal = (flags & EntryFlag.Special) === 0 && !zeroPage;
  if ((gupFlags & FOLL_WRITE) !== 0 && !canFollowWritePte(current, vma, flags, gupFlags, frame, normal)) {
    return NO_PAGE;
  }
  if (!normal) {
    if ((gupFlags & FOLL_DUMP) !== 0) return -EFAULT;
    if (!zeroPage) return -EEXIST;
  }
  if ((flags & EntryFlag.Write) === 0 && gupMustUnshare(frames, vma, gupFlags, frame)) return -EMLINK;
  const anonymous = frames.hasFlag(frame, FrameFlag.Anon);
  if ((gupFlags & FOLL_PIN) !== 0 && anonymous && !frames.hasFlag(frame, FrameFlag.AnonExclusive)) {
    const text = 'a pin of an anonymous page that is not exclusive';
    current.kernel.warnings.once(current, 'follow_page_pte', text);
  }
  return frame;
}

/**
 * A PROT_NONE entry in an accessible VMA is a NUMA hint, and only callers that ask for it are stopped by one.
 * @see Linux include/linux/mm.h, `gup_can_follow_protnone`
 */
function canFollowProtnone(vma: VmArea, gupFlags: number): boolean {
  return (gupFlags & FOLL_HONOR_NUMA_FAULT) === 0 || (vma.flags & VM_ACCESS_FLAGS) === 0;
}

/**
 * May a write go through this entry? If it is not writable, only by FOLL_FORCE, only in a private mapping that is not
 * writable anyway, and only on a page that is this mm's alone.
 * @see Linux mm/gup.c, `can_follow_write_pte` and `can_follow_write_common`
 */
function canFollowWritePte(
  current: TaskStruct,
  vma: VmArea,
  flags: number,
  gupFlags: number,
  frame: number,
  normal: boolean,
): boolean {
  if ((flags & EntryFlag.Write) !== 0) return true;
  const { bugs, frames } = current.kernel;
  if (bugs.dirtyCow || bugs.shmemDirtyCow) return oldCanFollowWritePte(bugs, flags, gupFlags);
  if ((gupFlags & FOLL_FORCE) === 0) return false;
  if ((vma.flags & (VM_SHARED | VM_MAYSHARE)) !== 0) return false;
  if ((vma.flags & VM_MAYWRITE) === 0) return false;
  // A writable mapping takes a real write fault, which knows about write protection for other reasons.
  if ((vma.flags & VM_WRITE) !== 0) return false;
  if (!normal || !frames.hasFlag(frame, FrameFlag.Anon)) return false;
  if (!frames.hasFlag(frame, FrameFlag.AnonExclusive)) return false;
  return (vma.flags & VM_UFFD_WP) === 0 || (flags & EntryFlag.UffdWp) === 0;
}
