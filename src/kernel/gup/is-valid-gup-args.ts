/**
 * The argument check at every exported entry of GUP, and the flags it adds.
 * @see Linux mm/gup.c, `is_valid_gup_args`
 */
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

/** Returned for arguments that no caller may pass; Linux warns once. Flags are never negative. */
export const INVALID_GUP_ARGS = -1;

/**
 * The flags to go on with, or INVALID_GUP_ARGS.
 * @param gupFlags the caller's; internal bits are refused
 * @param toSet the internal flags of this entry point
 */
export function validGupFlags(
  pages: PageArray | null,
  locked: MmapLocked | null,
  gupFlags: number,
  toSet: number,
): number {
  if ((gupFlags & INTERNAL_GUP_FLAGS) !== 0) return INVALID_GUP_ARGS;
  let flags = gupFlags | toSet;
  if (locked !== null) {
    if (!locked.held) return INVALID_GUP_ARGS;
    flags |= FOLL_UNLOCKABLE;
  }
  // Every caller that wants pages and no pin wants references.
  if (pages !== null && (flags & FOLL_PIN) === 0) flags |= FOLL_GET;
  if ((flags & FOLL_GET) !== 0 && (flags & FOLL_PIN) !== 0) return INVALID_GUP_ARGS;
  if ((flags & FOLL_LONGTERM) !== 0 && (flags & FOLL_PIN) === 0) return INVALID_GUP_ARGS;
  if ((flags & (FOLL_GET | FOLL_PIN)) !== 0 && pages === null) return INVALID_GUP_ARGS;
  if ((flags & FOLL_LONGTERM) !== 0 && (flags & FOLL_PCI_P2PDMA) !== 0) return INVALID_GUP_ARGS;
  return flags;
}
