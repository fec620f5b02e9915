/**
 * The argument check at every exported entry of GUP, and the flags it adds.
 * @see Linux mm/gup.c, `is_valid_gup_args`
 */
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_GET,
  FOLL_LONGTERM,
  FOLL_PCI_P2PDMA,
  FOLL_PIN,
  FOLL_UNLOCKABLE,
  INTERNAL_GUP_FLAGS,
  type MmapLocked,
  type PageArray,
} from './foll-flags.ts';

/** Returned for arguments that no caller may pass. Flags are never negative. */
export const INVALID_GUP_ARGS = -1;

/**
 * The flags to go on with, or INVALID_GUP_ARGS, of which the kernel warns once for each rule.
 * @param gupFlags the caller's; internal bits are refused
 * @param toSet the internal flags of this entry point
 */
export function validGupFlags(
  current: TaskStruct,
  pages: PageArray | null,
  locked: MmapLocked | null,
  gupFlags: number,
  toSet: number,
): number {
  let flags = gupFlags | toSet;
  if (locked !== null) flags |= FOLL_UNLOCKABLE;
  // Every caller that wants pages and no pin wants references.
  if (pages !== null && (flags & FOLL_PIN) === 0) flags |= FOLL_GET;
  const mistake = mistakeIn(pages, locked, gupFlags, flags);
  if (mistake === null) return flags;
  current.kernel.warnings.once(current, 'is_valid_gup_args', mistake);
  return INVALID_GUP_ARGS;
}

/** The first rule that is broken, in Linux's order; null: none. */
function mistakeIn(
  pages: PageArray | null,
  locked: MmapLocked | null,
  gupFlags: number,
  flags: number,
): string | null {
  if ((gupFlags & INTERNAL_GUP_FLAGS) !== 0) return 'a flag of GUP itself from outside';
  if (locked !== null && !locked.held) return 'locked says that mmap_lock is not held';
  if ((flags & FOLL_GET) !== 0 && (flags & FOLL_PIN) !== 0) return 'FOLL_GET and FOLL_PIN';
  if ((flags & FOLL_LONGTERM) !== 0 && (flags & FOLL_PIN) === 0) return 'FOLL_LONGTERM without a pin';
  if ((flags & (FOLL_GET | FOLL_PIN)) !== 0 && pages === null) return 'nowhere to put the pages';
  if ((flags & FOLL_LONGTERM) !== 0 && (flags & FOLL_PCI_P2PDMA) !== 0) {
    return 'FOLL_LONGTERM and FOLL_PCI_P2PDMA';
  }
  return null;
}
