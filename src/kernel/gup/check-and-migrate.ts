/**
 * Moves pinned folios that may not be pinned for long to where they may.
 * Left out: memory of devices (`migrate_device_coherent_folio`). A large folio moves whole; where there is no other of its
 * size, or where parts of it are unmapped already, it is split and its pages are moved one by one.
 * @see Linux mm/gup.c, `check_and_migrate_movable_pages`, `collect_longterm_unpinnable_folios`,
 * `migrate_longterm_unpinnable_folios`; mm/migrate.c, `migrate_pages_batch`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, ENOMEM } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { folioLock, folioUnlock } from '../mm/fault/folio-lock.ts';
import { migrateFolio } from '../mm/migrate-folio.ts';
import { folioIsolateLru, folioPutbackLru } from '../mm/reclaim/lru.ts';
import { splitFolio } from '../mm/thp/split-folio.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { PageArray } from './foll-flags.ts';
import { unpinUserPages } from './pin.ts';
import { unpinFolios } from './unpin-folio.ts';

/**
 * 0: all `count` pages may stay pinned, and are. -EAGAIN: some could not, all were moved, nothing is pinned: pin them again.
 * -ENOMEM: one could not be moved; nothing is pinned.
 */
export function* checkAndMigrateMovablePages(
  current: TaskStruct,
  pages: PageArray,
  count: number,
): Task<number> {
  const isolated: number[] = [];
  if (!(yield* collectUnpinnable(current, pages, count, isolated))) return 0;
  // Nothing moves while we have a pin on it. The isolation has a reference that keeps each folio.
  yield* unpinUserPages(current, pages, count);
  return yield* migrateIsolated(current, isolated);
}

/** The same for folios with one pin each. */
export function* checkAndMigrateMovableFolios(
  current: TaskStruct,
  folios: PageArray,
  count: number,
): Task<number> {
  const isolated: number[] = [];
  if (!(yield* collectUnpinnable(current, folios, count, isolated))) return 0;
  yield* unpinFolios(current, folios, count);
  return yield* migrateIsolated(current, isolated);
}

/** Takes the folios that must move off their lists, as far as they are on any; false: none must. */
function* collectUnpinnable(
  current: TaskStruct,
  pages: PageArray,
  count: number,
  isolated: number[],
): Task<boolean> {
  const { frames } = current.kernel;
  let collected = false;
  let previous = -1;
  for (let i = 0; i < count; i++) {
    const folio = frames.head(pages[i] as number);
    if (folio === previous) continue;
    previous = folio;
    if (frames.isLongtermPinnable(folio)) continue;
    collected = true;
    yield frames.refPoint(folio);
    // Whoever has it isolated already gives it back before long: the next round finds it.
    if (folioIsolateLru(frames, folio)) isolated.push(folio);
  }
  return collected;
}

/** @returns -EAGAIN when all have moved, else -ENOMEM; every folio is back on a list, or free */
function* migrateIsolated(current: TaskStruct, isolated: number[]): Task<number> {
  const { frames } = current.kernel;
  let failed = false;
  // Splitting one makes the list longer.
  for (let i = 0; i < isolated.length; i++) {
    const folio = isolated[i] as number;
    const moved = yield* migrateOne(current, folio, isolated);
    yield frames.refPoint(folio);
    // What has moved is nobody's any more but ours.
    if (moved) frames.put(folio);
    else folioPutbackLru(frames, folio);
    failed ||= !moved;
  }
  return failed ? -ENOMEM : -EAGAIN;
}

function* migrateOne(current: TaskStruct, folio: number, isolated: number[]): Task<boolean> {
  const { frames } = current.kernel;
  yield frames.refPoint(folio);
  // Nobody else has it any more: it was unmapped meanwhile.
  if (frames.refcount(folio) === 1) return true;
  if (!frames.isLarge(folio)) return (yield* migrateFolio(current, folio)) === 0;
  if (frames.hasFlag(folio, FrameFlag.Hugetlb)) return false;
  const error = frames.deferredSplit.has(folio) ? -ENOMEM : yield* migrateFolio(current, folio);
  if (error !== -ENOMEM) return error === 0;
  if (!(yield* splitIsolated(current, folio, isolated))) return false;
  return (yield* migrateFolio(current, folio)) === 0;
}

/** Its other pages join the list. */
function* splitIsolated(current: TaskStruct, folio: number, isolated: number[]): Task<boolean> {
  yield* folioLock(current, folio);
  const error = yield* splitFolio(current, folio, isolated);
  yield* folioUnlock(current, folio);
  return error === 0;
}
