/**
 * Making room for an allocation: round by round over more of the lists, until enough pages are free or everything was
 * looked at. Before giving up, pages that were locked in memory once and are no longer come back to the lists.
 * Left out: slab caches, waiting for write-back or for kswapd, oom_score.
 * @see Linux mm/vmscan.c, `do_try_to_free_pages`, `shrink_node`, `check_move_unevictable_folios`
 */
import type { Task } from '../../../base/task.ts';
import { LruList } from '../../frame/lru-lists.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import { deferredSplitScan } from '../thp/deferred-split.ts';
import { VM_LOCKED } from '../vma-flags.ts';
import { folioIsolateLru, folioPutbackLru, munlockFolio } from './lru.ts';
import { folioReferenced } from './referenced.ts';
import { ScanControl } from './scan-control.ts';
import { inactiveIsLow, shrinkActiveList, shrinkInactiveList } from './shrink-lists.ts';

/** The first round looks at 1/2^12 of each list, the last one at all. */
const DEF_PRIORITY = 12;
/** A round reclaims at least this many pages if it can (`SWAP_CLUSTER_MAX`). */
const SWAP_CLUSTER_MAX = 32;

/** Inactive and active list of one kind. */
type Pair = readonly [inactive: LruList, active: LruList];
const FILE: Pair = [LruList.InactiveFile, LruList.ActiveFile];
const ANON: Pair = [LruList.InactiveAnon, LruList.ActiveAnon];

/** What an allocation learns. */
export interface ReclaimOutcome {
  /** Pages that were freed. */
  readonly reclaimed: number;
  /** Some could not be had only because others were at them: trying again may help. */
  readonly contended: boolean;
}

/** Frees about `wanted` pages, or at least tries. May sleep; no spinlock is held, nor the lock of any folio or rmap. */
export function* tryToFreePages(current: TaskStruct, wanted: number): Task<ReclaimOutcome> {
  const scan = new ScanControl(Math.max(wanted, SWAP_CLUSTER_MAX), false);
  for (let priority = DEF_PRIORITY; priority >= 0 && scan.reclaimed < scan.wanted; priority--) {
    // Costs nothing but the split, which is why it comes first here. Linux's shrinkers come after the lists.
    scan.reclaimed += yield* deferredSplitScan(current);
    yield* shrinkPair(current, FILE, priority, scan);
    yield* shrinkPair(current, ANON, priority, scan);
    if (current.fatalSignalPending()) break;
  }
  if (scan.reclaimed === 0 && (yield* rescueUnevictable(current))) yield* shrinkPair(current, ANON, 0, scan);
  return { reclaimed: scan.reclaimed, contended: scan.contended };
}

/** One round over a pair of lists. @see `shrink_lruvec` */
function* shrinkPair(current: TaskStruct, pair: Pair, priority: number, scan: ScanControl): Task<void> {
  const [inactive, active] = pair;
  const { lru } = current.kernel.frames;
  const share = (list: LruList): number => scanCount(lru.pages(list), priority);
  if (inactiveIsLow(lru.pages(inactive), lru.pages(active))) {
    yield* shrinkActiveList(current, active, share(active));
  }
  yield* shrinkInactiveList(current, inactive, share(inactive), scan);
}

/** Of a short list a whole cluster is looked at, so that little memory does not take many rounds. */
function scanCount(pages: number, priority: number): number {
  return Math.max(Math.floor(pages / 2 ** priority), Math.min(pages, SWAP_CLUSTER_MAX));
}

/** Pages whose last locking mapping has gone. False: none. */
function* rescueUnevictable(current: TaskStruct): Task<boolean> {
  const { frames } = current.kernel;
  let rescued = false;
  for (const folio of frames.lru.folios(LruList.Unevictable)) {
    yield frames.refPoint(folio);
    if (frames.lru.listOf(folio) !== LruList.Unevictable || !folioIsolateLru(frames, folio)) continue;
    rescued = (yield* rescue(current, folio)) || rescued;
    folioPutbackLru(frames, folio);
  }
  return rescued;
}

function* rescue(current: TaskStruct, folio: number): Task<boolean> {
  const { frames } = current.kernel;
  if (!(yield* folioTrylock(current, folio))) return false;
  munlockFolio(frames, folio);
  const { flags } = yield* folioReferenced(current, folio);
  yield* folioUnlock(current, folio);
  return (flags & VM_LOCKED) === 0;
}
