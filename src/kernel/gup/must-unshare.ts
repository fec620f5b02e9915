/**
 * When a page must become this mm's alone before it is pinned.
 * @see Linux mm/internal.h, `gup_must_unshare`
 */
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import type { VmArea } from '../mm/vma.ts';
import { FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE } from './foll-flags.ts';

/**
 * A read-only pin of an anonymous page that others may share would go on seeing the old page once the owner writes.
 * References (FOLL_GET) accept that, and a write pin has broken the sharing by its fault. The zero page is nobody's.
 * @param vma null: not known, and so it may be a private mapping
 */
export function gupMustUnshare(
  frames: FrameTable,
  vma: VmArea | null,
  gupFlags: number,
  frame: number,
): boolean {
  if ((gupFlags & (FOLL_WRITE | FOLL_PIN)) !== FOLL_PIN) return false;
  if (frames.hasFlag(frame, FrameFlag.Anon)) return !frames.hasFlag(frame, FrameFlag.AnonExclusive);
  if ((gupFlags & FOLL_LONGTERM) === 0) return false;
  return vma === null || vma.cow;
}
