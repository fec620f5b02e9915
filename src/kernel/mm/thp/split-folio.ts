/**
 * A large folio becomes as many folios of one page. All that maps an anonymous one is replaced by migration entries; if
 * nobody has a reference then but who splits it, nobody can get one, and it is taken apart; then the entries become ptes
 * again, where pages of nothing but zeros give way to the zero page. Pages that nobody maps are free after that. For
 * folios of files see `split-file-folio.ts`.
 * Left out: splitting into folios of more than one page, those in the swap cache (a folio gets its slots only after it
 * was split), statistics.
 * @see Linux mm/huge_memory.c, `__folio_split`, `can_split_folio`, `unmap_folio`, `remap_page`, `__split_unmapped_folio`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EBUSY, EINVAL } from '../../errno.ts';
import { AddressSpace } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { AnonVma } from '../anon-vma.ts';
import { TlbFlushBatch } from '../reclaim/tlb-batch.ts';
import { removeMigrationPtes } from '../remove-migration-ptes.ts';
import { tryToMigrate } from '../try-to-migrate.ts';
import { splitFileFolio } from './split-file-folio.ts';
import { canSplitFolio, isolateTails, unlockOthers } from './split-parts.ts';

/**
 * Splits the folio of `frame`, which is locked and of which the caller has one reference; on success, both are of the
 * folio of `frame` alone. May sleep: no spinlock is held, nor the lock of the folio's anon_vmas.
 * @param list of a folio that is isolated: gets its other pages, isolated as well and with a reference each
 * @returns 0; -EINVAL: a folio of one page; -EBUSY: nothing that can be split, or mapped by nobody; -EAGAIN: somebody else has a reference
 */
export function* splitFolio(current: TaskStruct, frame: number, list: number[] | null = null): Task<number> {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  if (!frames.isLarge(head)) return -EINVAL;
  if (frames.isZeroFrame(head) || frames.hasFlag(head, FrameFlag.Writeback)) return -EBUSY;
  const mapping = frames.mapping(head);
  if (mapping instanceof AddressSpace) return yield* splitFileFolio(current, mapping, head, frame, list);
  if (!(mapping instanceof AnonVma) || !frames.isMapped(head)) return -EBUSY;
  const { rwsem } = mapping;
  yield* rwsem.downWrite(current);
  const result = canSplitFolio(frames, head, 1) ? yield* splitUnmapped(current, head, frame, list) : -EAGAIN;
  yield* rwsem.upWrite(current);
  return result;
}

/** With the lock of the anon_vmas. */
function* splitUnmapped(
  current: TaskStruct,
  head: number,
  frame: number,
  list: number[] | null,
): Task<number> {
  const { frames } = current.kernel;
  const pages = 2 ** frames.order(head);
  const batch = new TlbFlushBatch();
  yield* tryToMigrate(current, head, batch, true);
  yield* batch.flush(current);
  yield frames.refPoint(head);
  // From here to the end of the split nobody else comes by a reference: Linux's frozen count, in one step.
  if (frames.refcount(head) !== 1) {
    yield* removeMigrationPtes(current, head, head, { rmapLocked: true });
    return -EAGAIN;
  }
  frames.splitLarge(head, 1);
  if (list !== null) isolateTails(frames, head, pages, list);
  for (let i = 0; i < pages; i++) {
    yield* removeMigrationPtes(current, head + i, head + i, { rmapLocked: true, useZeroPage: true });
  }
  yield* unlockOthers(current, head, pages, frame);
  return 0;
}
