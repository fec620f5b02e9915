/**
 * Folios coming to the lists of reclaim, leaving them, and moving between them. Each function is one step.
 * A page of locked memory (mlock) is put away as unevictable when reclaim, or the fault that made it, finds it locked.
 * @see Linux mm/swap.c, `folio_add_lru_vma`, `folio_deactivate`, `folio_mark_lazyfree`; mm/vmscan.c, `folio_isolate_lru`,
 * `folio_putback_lru`; mm/mlock.c
 */
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import { LruList } from '../../frame/lru-lists.ts';

const { Active, Anon, Lru, Referenced, SwapBacked, SwapCache, Unevictable } = FrameFlag;

/** The list for a folio with these flags. @see include/linux/mm_inline.h, `folio_lru_list` */
export function folioLruList(flags: number): LruList {
  if ((flags & Unevictable) !== 0) return LruList.Unevictable;
  if ((flags & SwapBacked) !== 0) return (flags & Active) !== 0 ? LruList.ActiveAnon : LruList.InactiveAnon;
  return (flags & Active) !== 0 ? LruList.ActiveFile : LruList.InactiveFile;
}

/** To the head of the list that its flags name (`folio_add_lru`). */
export function folioAddLru(frames: FrameTable, folio: number): void {
  frames.lru.add(folio, folioLruList(frames.flags(folio)), 2 ** frames.order(folio));
  frames.setFlags(folio, Lru);
}

/** Off its list, whoever holds it. */
function takeOff(frames: FrameTable, folio: number): void {
  frames.lru.remove(folio, 2 ** frames.order(folio));
  frames.clearFlags(folio, Lru);
}

/**
 * Off its list, with a reference for the caller; false when it is on none, or being freed. As long as somebody has it,
 * nobody else takes it.
 */
export function folioIsolateLru(frames: FrameTable, folio: number): boolean {
  if (!frames.hasFlag(folio, Lru) || !frames.tryGet(folio)) return false;
  takeOff(frames, folio);
  return true;
}

/** Back to a list; the reference of `folioIsolateLru` goes, maybe as the last one. */
export function folioPutbackLru(frames: FrameTable, folio: number): void {
  folioAddLru(frames, folio);
  frames.put(folio);
}

/** Takes it off its list, changes flags, and puts it at the head of the list that they name. Nothing when isolated. */
function move(frames: FrameTable, folio: number, set: number, clear: number): void {
  if (!frames.hasFlag(folio, Lru)) return;
  takeOff(frames, folio);
  frames.clearFlags(folio, clear);
  frames.setFlags(folio, set);
  folioAddLru(frames, folio);
}

/** Not in use, its owner says: to the inactive list, without a second chance (MADV_COLD). */
export function folioDeactivate(frames: FrameTable, folio: number): void {
  if (!frames.hasFlag(folio, Unevictable)) move(frames, folio, 0, Active | Referenced);
}

/**
 * Its data may be dropped while nobody writes to it again (MADV_FREE): no longer for swap, first in line to go.
 * Not for folios that have a copy in swap.
 */
export function folioMarkLazyfree(frames: FrameTable, folio: number): void {
  const wanted = Anon | SwapBacked;
  if ((frames.flags(folio) & (wanted | SwapCache | Unevictable)) !== wanted) return;
  move(frames, folio, 0, Active | Referenced | SwapBacked);
}

/**
 * Somebody used it. Inactive: the first time it is marked, the second time it goes to the active list, unmarked; there it is
 * only marked. What must stay where it is (unevictable) is on no list that this could mean something to.
 * @see Linux mm/swap.c, `folio_mark_accessed`
 */
export function folioMarkAccessed(frames: FrameTable, folio: number): void {
  const flags = frames.flags(folio);
  if ((flags & Referenced) === 0) frames.setFlags(folio, Referenced);
  else if ((flags & (Unevictable | Active)) === 0) activate(frames, folio, flags);
}

/** One that is not on a list yet, or isolated, comes to the active one later. */
function activate(frames: FrameTable, folio: number, flags: number): void {
  if ((flags & Lru) !== 0) move(frames, folio, Active, Referenced);
  else {
    frames.setFlags(folio, Active);
    frames.clearFlags(folio, Referenced);
  }
}

/** Its memory is locked: off the lists that reclaim looks at (`mlock_folio`). */
export function mlockFolio(frames: FrameTable, folio: number): void {
  if (frames.hasFlag(folio, Lru)) move(frames, folio, Unevictable, Active);
  else frames.setFlags(folio, Unevictable);
}

/** Its memory is locked no longer (`munlock_folio`). Where another mapping still locks it, reclaim finds that out. */
export function munlockFolio(frames: FrameTable, folio: number): void {
  if (!frames.hasFlag(folio, Unevictable)) return;
  if (frames.hasFlag(folio, Lru)) move(frames, folio, 0, Unevictable);
  else frames.clearFlags(folio, Unevictable);
}
