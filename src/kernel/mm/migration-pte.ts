/**
 * Migration entries as walkers meet them: a fault waits, fork copies them, zap drops them, mprotect takes the right to
 * write. All but the first need the table's lock.
 * @see Linux mm/migrate.c, `migration_entry_wait`; mm/memory.c, `copy_nonpresent_pte`, `zap_nonpresent_ptes`;
 * mm/mprotect.c, `change_pte_range`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { PointKind, SchedPoint, StepCost, type Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE } from './change-flags.ts';
import { migrationFlagsRead, migrationFrameRead, packMigration } from './migration-entry.ts';
import type { MmStruct } from './mm.ts';
import { pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from './page-table-alloc.ts';
import { addMmCounter, mmCounter } from './rmap.ts';
import type { VmArea } from './vma.ts';
import { VM_UFFD_WP } from './vma-flags.ts';

/**
 * Waits until the folio of the entry of `page` is unlocked; not at all when there is no such entry any more. Without a
 * reference, which would keep the folio from being moved.
 */
export function* migrationEntryWait(current: TaskStruct, mm: MmStruct, page: number): Task<void> {
  const { frames, pageTables } = mm.kernel;
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return;
  pageTables.read(table, pteIndex(pageTables, page));
  const frame = migrationFrameRead(pageTables, table.level);
  yield* pteUnmapUnlock(current, table);
  if (frame === -1) return;
  const { object } = frames.refPoint(frame);
  const unlocked = (): boolean => !frames.hasFlag(frame, FrameFlag.Locked);
  yield new SchedPoint(PointKind.Wait, object, 'migration_entry_wait', StepCost.ContextSwitch, unlocked);
}

/** @param keepCows a private copy stays. True when the entry of `frame`, read last, has gone */
export function* zapMigrationPte(
  mm: MmStruct,
  table: TablePage,
  index: number,
  frame: number,
  keepCows: boolean,
): Task<boolean> {
  const { frames, pageTables } = mm.kernel;
  if (keepCows && frames.hasFlag(frame, FrameFlag.Anon)) return false;
  addMmCounter(mm, mmCounter(frames, frame), -1);
  yield table.setEntry;
  pageTables.write(table, index, 0, 0);
  return true;
}

/** fork: read-only in both where writes copy, and exclusive in neither. */
export function* copyMigrationPte(
  child: VmArea,
  source: TablePage,
  target: TablePage,
  index: number,
  frame: number,
): Task<void> {
  const { frames, pageTables } = child.mm.kernel;
  pageTables.read(source, index);
  const flags = migrationFlagsRead(pageTables, source.level);
  const shared = child.cow ? flags & ~(EntryFlag.Write | EntryFlag.SwapExclusive) : flags;
  addMmCounter(child.mm, mmCounter(frames, frame), 1);
  const entry: Halves = { hi: 0, lo: 0 };
  if (shared !== flags) {
    packMigration(pageTables, frame, shared, entry);
    yield source.setEntry;
    pageTables.write(source, index, entry.hi, entry.lo);
  }
  const copied = (child.flags & VM_UFFD_WP) === 0 ? shared & ~EntryFlag.UffdWp : shared;
  packMigration(pageTables, frame, copied, entry);
  yield target.setEntry;
  pageTables.write(target, index, entry.hi, entry.lo);
}

/** mprotect, of the entry of `frame` that was read last. True when it has changed. @param changeFlags MM_CP_* */
export function* changeMigrationPte(
  vma: VmArea,
  table: TablePage,
  index: number,
  frame: number,
  changeFlags: number,
): Task<boolean> {
  const { frames, pageTables } = vma.mm.kernel;
  const flags = migrationFlagsRead(pageTables, table.level);
  let wanted = flags;
  // Whether it may be written is found out by the next fault.
  if ((flags & EntryFlag.Write) !== 0) {
    const lost = frames.hasFlag(frame, FrameFlag.Anon) ? 0 : EntryFlag.SwapExclusive;
    wanted &= ~(EntryFlag.Write | EntryFlag.UffdWp | lost);
  }
  if ((changeFlags & MM_CP_UFFD_WP) !== 0) wanted |= EntryFlag.UffdWp;
  else if ((changeFlags & MM_CP_UFFD_WP_RESOLVE) !== 0) wanted &= ~EntryFlag.UffdWp;
  if (wanted === flags) return false;
  const entry: Halves = { hi: 0, lo: 0 };
  packMigration(pageTables, frame, wanted, entry);
  yield table.setEntry;
  pageTables.write(table, index, entry.hi, entry.lo);
  return true;
}
