/**
 * Entries that are neither none nor present: pages in swap, markers, broken memory. When nothing is under way there is
 * no other kind: a migration entry, say, would be somebody's unfinished work.
 * @see Linux include/linux/swapops.h; mm/memory.c, `zap_nonpresent_ptes`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { MM_ANONPAGES, MM_SWAPENTS } from '../../kernel/mm/mm.ts';
import {
  isSwapType,
  PTE_MARKER_GUARD,
  PTE_MARKER_POISONED,
  PTE_MARKER_UFFD_WP,
  SWP_DEVICE_EXCLUSIVE,
  SWP_HWPOISON,
  SWP_PTE_MARKER,
} from '../../kernel/mm/swap-entry.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_HUGETLB, VM_MAYBE_GUARD, VM_SHARED, VM_UFFD_WP } from '../../kernel/mm/vma-flags.ts';
import { type Audit, count, frameName, pageName } from './audit.ts';

const ALL_MARKERS = PTE_MARKER_GUARD | PTE_MARKER_POISONED | PTE_MARKER_UFFD_WP;

/** Of the entry that was read last, from a table of `level`: which counter of the address space has it, -1 for none. */
export function auditAbsent(audit: Audit, vma: VmArea, page: number, level: number): number {
  const { pageTables } = audit.kernel;
  const { format, hi, lo } = pageTables;
  const flags = pageTables.flags(level);
  const type = format.swapTypeOf(hi, lo);
  const offset = format.swapOffsetOf(hi, lo);
  const place = pageName(vma.mm, page);
  if ((flags & EntryFlag.UffdWp) !== 0 && (vma.flags & VM_UFFD_WP) === 0) {
    audit.report(`${place} is write-protected by no userfaultfd`);
  }
  if (isSwapType(type)) {
    auditSwapEntry(audit, vma, page, offset, (flags & EntryFlag.SwapExclusive) !== 0);
    return MM_SWAPENTS;
  }
  if (type === SWP_PTE_MARKER) auditMarker(audit, vma, place, offset);
  else if (type === SWP_HWPOISON) auditBroken(audit, place, offset);
  else if (type === SWP_DEVICE_EXCLUSIVE) {
    auditDeviceExclusive(audit, vma, place, offset);
    return MM_ANONPAGES;
  } else audit.report(`${place} has an entry of type ${type}`);
  return -1;
}

function auditSwapEntry(audit: Audit, vma: VmArea, page: number, slot: number, exclusive: boolean): void {
  // Pages of files are in swap by their file's account.
  if ((vma.flags & (VM_SHARED | VM_HUGETLB)) !== 0) {
    audit.report(`${pageName(vma.mm, page)} of ${vma.name} has a swap entry`);
  }
  count(audit.slots, slot);
  if (exclusive) count(audit.exclusiveSlots, slot);
}

function auditMarker(audit: Audit, vma: VmArea, place: string, bits: number): void {
  const { maybeGuardFlag } = audit.kernel.config;
  if (bits === 0 || (bits & ~ALL_MARKERS) !== 0) audit.report(`${place} has a marker of bits ${bits}`);
  if ((bits & PTE_MARKER_UFFD_WP) !== 0 && (vma.flags & VM_UFFD_WP) === 0) {
    audit.report(`${place} has a marker of no userfaultfd`);
  }
  const guard = (bits & PTE_MARKER_GUARD) !== 0;
  const known = maybeGuardFlag && audit.options.guardFlagMayBeLost !== true;
  if (guard && known && (vma.flags & VM_MAYBE_GUARD) === 0) {
    audit.report(`${place} has a guard that ${vma.name} does not know of`);
  }
}

function auditBroken(audit: Audit, place: string, frame: number): void {
  audit.poisoned.add(frame);
  if (!audit.kernel.frames.hasFlag(frame, FrameFlag.HwPoison)) {
    audit.report(`${place} says that ${frameName(frame)} is broken, and it is not`);
  }
}

/** It maps the page as a pte does, of anonymous memory that is this mapping's alone. */
function auditDeviceExclusive(audit: Audit, vma: VmArea, place: string, frame: number): void {
  const { frames } = audit.kernel;
  count(audit.ptes, frame);
  if (vma.mm.notifiers === null) audit.report(`${place} is a device's, and no device listens`);
  const alone = FrameFlag.Anon | FrameFlag.AnonExclusive;
  if ((frames.flags(frame) & alone) !== alone)
    audit.report(`${place} is a device's, ${frameName(frame)} not exclusive`);
}
