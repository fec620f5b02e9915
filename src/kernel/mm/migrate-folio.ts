/**
 * Moving a folio to other frames: all that maps it is replaced by migration entries, the data is copied, the cache
 * it is in (a file's, or that of swap) gets the new frame, and the entries become ptes of that. Somebody who has a
 * reference, or a pin, keeps the page where it is.
 * Left out: huge pages of a pool, moving many folios at a time. One entry that maps all of a huge page is a table of migration
 * entries meanwhile.
 * @see Linux mm/migrate.c, `migrate_pages`, `migrate_folio_unmap`, `migrate_folio_move`, `__folio_migrate_mapping`,
 * `folio_migrate_flags`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, ENOMEM } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { allocUserFolio } from './alloc-folio.ts';
import { AnonVma } from './anon-vma.ts';
import { folioLock, folioSetLocked, folioUnlock } from './fault/folio-lock.ts';
import { copyUserPage } from './fault/page-copy.ts';
import { folioAddLru } from './reclaim/lru.ts';
import { TlbFlushBatch } from './reclaim/tlb-batch.ts';
import { removeMigrationPtes } from './remove-migration-ptes.ts';
import { swapAreaOf } from './swap-cache.ts';
import type { WholeMapping } from './thp/restore-huge-pmd.ts';
import { tryToMigrate } from './try-to-migrate.ts';

/** Who has a passing reference may be gone at the next attempt (`NR_MAX_MIGRATE_PAGES_RETRY`). */
const MIGRATE_TRIES = 10;

const { Active, Anon, Dirty, Referenced, SwapBacked, SwapCache, Unevictable, Uptodate } = FrameFlag;
/** Flags that say something about the data, not about the frame. */
const MOVED_FLAGS = Active | Anon | Dirty | Referenced | SwapBacked | SwapCache | Unevictable | Uptodate;
/** They say in which counter a page is: who zaps a migration entry asks the old frame as long as there are any. */
const COUNTED_BY = Anon | SwapBacked;

/**
 * Moves an isolated folio, which nobody has locked for long. 0: the caller's reference is the last one of the old frame,
 * which is nobody's any more; -EAGAIN, or -ENOMEM (no folio of its size): it stays what it was, isolated.
 */
export function* migrateFolio(current: TaskStruct, from: number): Task<number> {
  const { frames } = current.kernel;
  const to = yield* allocUserFolio(current, null, frames.order(from), false);
  if (to === NO_FRAME) return -ENOMEM;
  let result = -EAGAIN;
  for (let tries = 0; tries < MIGRATE_TRIES && result === -EAGAIN; tries++) {
    yield* folioLock(current, from);
    folioSetLocked(current, to);
    result = yield* moveLocked(current, from, to);
    yield* folioUnlock(current, to);
    yield* folioUnlock(current, from);
  }
  if (result === 0) frames.clearFlags(from, COUNTED_BY);
  yield frames.refPoint(to);
  frames.put(to);
  return result;
}

/** With both locked. */
function* moveLocked(current: TaskStruct, from: number, to: number): Task<number> {
  const { frames } = current.kernel;
  const wasMapped = frames.isMapped(from);
  const wholes: WholeMapping[] = [];
  const partial = frames.deferredSplit.has(from);
  if (wasMapped) {
    const batch = new TlbFlushBatch();
    yield* tryToMigrate(current, from, batch, false, wholes);
    yield* batch.flush(current);
  }
  const moved = !frames.isMapped(from) && (yield* moveData(current, from, to));
  if (moved) folioAddLru(frames, to);
  if (wasMapped) yield* restorePtes(current, from, moved ? to : from, wholes);
  // Its entries went one by one; all of them are back.
  if (!moved && !partial) frames.deferredSplit.delete(from);
  return moved ? 0 : -EAGAIN;
}

/** The lock of the anon_vmas is taken here, as the rmap asks nobody about a page that is not mapped yet. */
function* restorePtes(
  current: TaskStruct,
  from: number,
  to: number,
  wholes: readonly WholeMapping[],
): Task<void> {
  const mapping = current.kernel.frames.mapping(to);
  if (!(mapping instanceof AnonVma)) {
    yield* removeMigrationPtes(current, from, to, { wholes });
    return;
  }
  yield* mapping.rwsem.downRead(current);
  yield* removeMigrationPtes(current, from, to, { rmapLocked: true, wholes });
  yield* mapping.rwsem.upRead(current);
}

/** False when somebody else has a reference. The last look and the change are one step: Linux's frozen count. */
function* moveData(current: TaskStruct, from: number, to: number): Task<boolean> {
  const { frames } = current.kernel;
  if (!onlyExpected(current, from) || isSecret(current, from)) return false;
  const pages = 2 ** frames.order(from);
  for (let i = 0; i < pages; i++) yield* copyUserPage(current.kernel, from + i, to + i);
  yield frames.refPoint(from);
  if (!onlyExpected(current, from)) return false;
  const mapping = frames.mapping(from);
  const index = frames.index(from);
  const flags = frames.flags(from) & MOVED_FLAGS;
  if ((flags & SwapCache) !== 0) moveSwapCache(current, from, to);
  if (mapping instanceof AddressSpace) {
    mapping.remove(frames, index);
    frames.get(to);
    if (pages === 1) mapping.add(frames, index, to);
    else mapping.addLarge(frames, index, to);
  } else {
    frames.setMapping(to, mapping, index);
    frames.setMapping(from, null, 0);
  }
  frames.clearFlags(from, MOVED_FLAGS & ~COUNTED_BY);
  frames.setFlags(to, flags);
  return true;
}

/** The kernel could not copy it. @see Linux mm/secretmem.c, `secretmem_migrate_folio` */
function isSecret({ kernel: { frames } }: TaskStruct, folio: number): boolean {
  const mapping = frames.mapping(folio);
  return mapping instanceof AddressSpace && mapping.secret !== null;
}

/** The caller's reference, and those of the caches. @see `folio_expected_ref_count` */
function onlyExpected({ kernel: { frames } }: TaskStruct, folio: number): boolean {
  const cached = frames.mapping(folio) instanceof AddressSpace ? 2 ** frames.order(folio) : 0;
  const swapped = frames.hasFlag(folio, SwapCache) ? 1 : 0;
  return frames.refcount(folio) === 1 + cached + swapped;
}

function moveSwapCache({ kernel }: TaskStruct, from: number, to: number): void {
  const swap = swapAreaOf(kernel);
  const slot = swap.slotOf(from);
  // The slot must not be free between the two.
  swap.duplicate(slot);
  swap.removeFromCache(from);
  kernel.frames.get(to);
  swap.addToCache(slot, to);
  swap.free(slot);
  kernel.frames.put(from);
}
