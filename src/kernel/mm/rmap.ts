/**
 * What changes at a frame when a pte starts or stops mapping it. The pte's reference is the caller's affair.
 * Left out: folios of more than one frame, the large-folio map counts, statistics of nodes.
 * @see Linux mm/rmap.c and include/linux/rmap.h
 */
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, type MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';

/** `mm_counter`: which resident counter a mapped frame belongs to. */
export function mmCounter(frames: FrameTable, frame: number): number {
  if (frames.hasFlag(frame, FrameFlag.Anon)) return MM_ANONPAGES;
  return frames.hasFlag(frame, FrameFlag.SwapBacked) ? MM_SHMEMPAGES : MM_FILEPAGES;
}

/** `add_mm_counter`. */
export function addMmCounter(mm: MmStruct, counter: number, pages: number): void {
  mm.rss[counter] = (mm.rss[counter] as number) + pages;
}

/** A new anonymous page, mapped for the first time, by this VMA only: `folio_add_new_anon_rmap`, RMAP_EXCLUSIVE. */
export function addNewAnonRmap(frames: FrameTable, frame: number, vma: VmArea, page: number): void {
  if (vma.anonVma === null) throw new Error(`anonymous page in ${vma.name}, which has no anon_vma`);
  frames.setFlags(frame, FrameFlag.Anon | FrameFlag.AnonExclusive | FrameFlag.SwapBacked | FrameFlag.Lru);
  frames.setMapping(frame, vma.anonVma, vma.indexOf(page));
  frames.addMap(frame);
}

/** `folio_add_file_rmap_pte`: a page of a page cache. */
export function addFileRmap(frames: FrameTable, frame: number): void {
  frames.addMap(frame);
}

/**
 * `folio_try_dup_anon_rmap_pte`: fork maps the page a second time, so it is exclusive no longer. False, and nothing
 * done, when the source may have it pinned: the pin must keep its page.
 */
export function tryDupAnonRmap(frames: FrameTable, frame: number, needsCopyForDma: boolean): boolean {
  if (frames.hasFlag(frame, FrameFlag.AnonExclusive)) {
    if (needsCopyForDma) return false;
    frames.clearFlags(frame, FrameFlag.AnonExclusive);
  }
  frames.addMap(frame);
  return true;
}

/** `folio_remove_rmap_pte`. */
export function removeRmap(frames: FrameTable, frame: number): void {
  frames.removeMap(frame);
}

/** `folio_move_anon_rmap`: the page now belongs to this VMA's own anon_vma, as nobody else maps it. */
export function moveAnonRmap(frames: FrameTable, frame: number, vma: VmArea): void {
  if (vma.anonVma !== null) frames.setMapping(frame, vma.anonVma, frames.index(frame));
}
