/**
 * What changes at a frame when a pte starts or stops mapping it. The pte's reference is the caller's affair.
 * Left out: statistics of nodes.
 * @see Linux mm/rmap.c and include/linux/rmap.h
 */
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, type MmStruct } from './mm.ts';
import { folioAddLru } from './reclaim/lru.ts';
import type { VmArea } from './vma.ts';
import { VM_LOCKED, VM_SPECIAL, VMH_DROPPABLE } from './vma-flags.ts';

/** `mm_counter`: which resident counter a mapped frame belongs to. */
export function mmCounter(frames: FrameTable, frame: number): number {
  if (frames.hasFlag(frame, FrameFlag.Anon)) return MM_ANONPAGES;
  return frames.hasFlag(frame, FrameFlag.SwapBacked) ? MM_SHMEMPAGES : MM_FILEPAGES;
}

/** `add_mm_counter`. */
export function addMmCounter(mm: MmStruct, counter: number, pages: number): void {
  mm.rss[counter] = (mm.rss[counter] as number) + pages;
}

/** Of droppable memory nothing goes to swap; of locked memory nothing is looked at by reclaim. */
function newAnonFlags(vma: VmArea): number {
  let flags: number = FrameFlag.Anon | FrameFlag.AnonExclusive;
  if ((vma.flagsHigh & VMH_DROPPABLE) === 0) flags |= FrameFlag.SwapBacked;
  if ((vma.flags & (VM_LOCKED | VM_SPECIAL)) === VM_LOCKED) flags |= FrameFlag.Unevictable;
  return flags;
}

/** A new anonymous page, mapped for the first time, by this VMA only: `folio_add_new_anon_rmap`, RMAP_EXCLUSIVE. */
export function addNewAnonRmap(frames: FrameTable, frame: number, vma: VmArea, page: number): void {
  if (vma.anonVma === null) throw new Error(`anonymous page in ${vma.name}, which has no anon_vma`);
  frames.setFlags(frame, newAnonFlags(vma));
  folioAddLru(frames, frame);
  frames.setMapping(frame, vma.anonVma, vma.indexOf(page));
  frames.addMap(frame, vma.mm);
}

/** `folio_add_file_rmap_pte`: a page of a page cache. */
export function addFileRmap(frames: FrameTable, frame: number, mm: MmStruct): void {
  frames.addMap(frame, mm);
}

/**
 * `folio_try_dup_anon_rmap_pte`: fork maps the page a second time, so it is exclusive no longer. False, and nothing
 * done, when the source may have it pinned: the pin must keep its page.
 * @param mm the child's
 */
export function tryDupAnonRmap(
  frames: FrameTable,
  frame: number,
  needsCopyForDma: boolean,
  mm: MmStruct,
): boolean {
  if (!tryShareAnon(frames, frame, needsCopyForDma)) return false;
  frames.addMap(frame, mm);
  return true;
}

/** Exclusive no longer; false, and nothing done, when the page may be pinned. */
function tryShareAnon(frames: FrameTable, frame: number, pinned: boolean): boolean {
  if (!frames.hasFlag(frame, FrameFlag.AnonExclusive)) return true;
  if (pinned) return false;
  frames.clearFlags(frame, FrameFlag.AnonExclusive);
  return true;
}

/** `folio_remove_rmap_pte`: of a large folio, the first page that nobody maps any more makes it one to split. */
export function removeRmap(frames: FrameTable, frame: number, mm: MmStruct): void {
  frames.removeMap(frame, mm);
  if (!frames.isLarge(frame)) return;
  const { entire, pagesMapped } = frames.large(frame);
  if (entire === 0 && pagesMapped > 0 && frames.mapcount(frame) === 0) deferSplit(frames, frame);
}

/** `deferred_split_folio` of a partially mapped folio. */
function deferSplit(frames: FrameTable, frame: number): void {
  if (frames.hasFlag(frame, FrameFlag.Anon)) frames.deferredSplit.add(frames.head(frame));
}

/** A new huge page of anonymous memory, mapped whole by this VMA only. `page` is its first. */
export function addNewAnonHugeRmap(frames: FrameTable, head: number, vma: VmArea, page: number): void {
  if (vma.anonVma === null) throw new Error(`anonymous page in ${vma.name}, which has no anon_vma`);
  frames.setFlags(head, newAnonFlags(vma));
  folioAddLru(frames, head);
  frames.setMapping(head, vma.anonVma, vma.indexOf(page));
  frames.addEntireMap(head, vma.mm);
}

/** `folio_add_file_rmap_pmd`: a huge page of a page cache, mapped whole. */
export function addFileHugeRmap(frames: FrameTable, head: number, mm: MmStruct): void {
  frames.addEntireMap(head, mm);
}

/** `folio_try_dup_anon_rmap_pmd`: like `tryDupAnonRmap`, of an entry that maps a huge page. */
export function tryDupAnonHugeRmap(
  frames: FrameTable,
  head: number,
  needsCopyForDma: boolean,
  mm: MmStruct,
): boolean {
  if (!tryShareAnon(frames, head, needsCopyForDma)) return false;
  frames.addEntireMap(head, mm);
  return true;
}

/** `folio_remove_rmap_pmd`: pages that other ptes still map make it a folio to split. */
export function removeHugeRmap(frames: FrameTable, head: number, mm: MmStruct): void {
  frames.removeEntireMap(head, mm);
  const { entire, pagesMapped } = frames.large(head);
  if (entire === 0 && pagesMapped > 0 && pagesMapped < 2 ** frames.order(head)) deferSplit(frames, head);
}

/**
 * `folio_add_anon_rmap_ptes`: every page of a huge page that one entry maps gets a pte of its own in the same mm.
 * @param exclusive RMAP_EXCLUSIVE: the entry was
 */
export function addAnonRmapsOfHuge(frames: FrameTable, head: number, mm: MmStruct, exclusive: boolean): void {
  for (let i = 0; i < 2 ** frames.order(head); i++) {
    frames.addMap(head + i, mm);
    if (exclusive) frames.setFlags(head + i, FrameFlag.AnonExclusive);
  }
}

/** `folio_move_anon_rmap`: the page now belongs to this VMA's own anon_vma, as nobody else maps it. */
export function moveAnonRmap(frames: FrameTable, frame: number, vma: VmArea): void {
  if (vma.anonVma !== null) frames.setMapping(frame, vma.anonVma, frames.index(frame));
}
