/**
 * Going through the lists of pages: the tail of an inactive list is reclaimed or gets a second chance; when inactive
 * pages are few, those that were active for longest become inactive.
 * Left out: proportions by how much each kind was refaulted (file pages first, then anonymous ones), cgroups, nodes.
 * @see Linux mm/vmscan.c, `shrink_inactive_list`, `shrink_active_list`, `inactive_is_low`, `shrink_lruvec`
 */
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { LruList } from '../../frame/lru-lists.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import { VM_EXEC, VM_LOCKED } from '../vma-flags.ts';
import { folioIsolateLru, folioPutbackLru } from './lru.ts';
import { folioReferenced } from './referenced.ts';
import type { ScanControl } from './scan-control.ts';
import { shrinkFolio } from './shrink-folio.ts';

/** Pages that are taken off a list at a time (`SWAP_CLUSTER_MAX`). */
const SWAP_CLUSTER_MAX = 32;

/** What `isolate` took. */
interface Isolated {
  readonly folios: number[];
  /** In all. */
  pages: number;
}

/** Folios of `count` pages, or a few more, from the tail of a list. @see `isolate_lru_folios` */
function* isolate(current: TaskStruct, list: LruList, count: number): Task<Isolated> {
  const { frames } = current.kernel;
  const isolated: Isolated = { folios: [], pages: 0 };
  while (isolated.pages < count) {
    const folio = frames.lru.tail(list);
    if (folio === -1) break;
    yield frames.refPoint(folio);
    // Others may have changed the list in between.
    if (frames.lru.listOf(folio) !== list || !folioIsolateLru(frames, folio)) continue;
    isolated.folios.push(folio);
    isolated.pages += 2 ** frames.order(folio);
  }
  return isolated;
}

/** Looks at up to `count` pages of an inactive list. @see `shrink_inactive_list` */
export function* shrinkInactiveList(
  current: TaskStruct,
  list: LruList,
  count: number,
  scan: ScanControl,
): Task<void> {
  for (let left = count; left > 0 && scan.reclaimed < scan.wanted; ) {
    const { folios, pages } = yield* isolate(current, list, Math.min(left, SWAP_CLUSTER_MAX));
    if (pages === 0) break;
    for (const folio of folios) yield* shrinkFolio(current, folio, scan);
    yield* scan.finish(current);
    left -= pages;
  }
}

/** Are there too few inactive pages beside the active ones? @see `inactive_is_low` */
export function inactiveIsLow(inactive: number, active: number): boolean {
  const gigabytes = Math.floor((inactive + active) / 2 ** 18);
  const ratio = gigabytes > 0 ? Math.floor(Math.sqrt(10 * gigabytes)) : 1;
  return inactive * ratio < active;
}

/** Up to `count` pages become inactive, used or not, and look unused from now on. @see `shrink_active_list` */
export function* shrinkActiveList(current: TaskStruct, list: LruList, count: number): Task<void> {
  const { frames } = current.kernel;
  for (let left = count; left > 0; ) {
    const { folios, pages } = yield* isolate(current, list, Math.min(left, SWAP_CLUSTER_MAX));
    if (pages === 0) return;
    for (const folio of folios) {
      if (!(yield* staysActive(current, folio))) frames.clearFlags(folio, FrameFlag.Active);
      folioPutbackLru(frames, folio);
    }
    left -= pages;
  }
}

/** Programs in use stay active. */
function* staysActive(current: TaskStruct, folio: number): Task<boolean> {
  const { frames } = current.kernel;
  if (!(yield* folioTrylock(current, folio))) return false;
  const { ptes, flags } = yield* folioReferenced(current, folio);
  yield* folioUnlock(current, folio);
  if ((flags & VM_LOCKED) !== 0) return false;
  return ptes > 0 && (flags & VM_EXEC) !== 0 && !frames.hasFlag(folio, FrameFlag.SwapBacked);
}
