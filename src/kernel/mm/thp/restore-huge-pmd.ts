/**
 * A huge page that one entry mapped and that was moved whole is mapped by one entry again: the table of migration entries that
 * stood for it meanwhile is put by. Linux has one migration entry for the pmd, and never a table.
 * @see Linux mm/huge_memory.c, `remove_migration_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { migrationFlagsRead, migrationFrameRead } from '../migration-entry.ts';
import type { MmStruct } from '../mm.ts';
import { hugePages, type TablePage } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import { vmaPageProtection } from '../vma-protection.ts';
import { depositTable, pmdIndex, pmdLock } from './huge-pmd.ts';
import { pmdpCollapseFlush } from './pmdp-collapse-flush.ts';
import { tableBelow } from './retract-page-tables.ts';

/** Where a folio was mapped by one entry; the first page. */
export interface WholeMapping {
  readonly mm: MmStruct;
  readonly page: number;
}

/**
 * `start` is the first page of what was one huge page of `from`, and is all in the VMA; `to` is locked. False, and nothing
 * done: not all of it is as it was, so that each pte is for itself.
 */
export function* restoreHugePmd(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  from: number,
  to: number,
): Task<boolean> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const pmds = yield* pmdLock(current, mm, start);
  if (pmds === null) return false;
  const table = tableBelow(pageTables, pmds, start);
  let restored = false;
  if (table !== null) {
    yield* table.lock.lock(current, SINGLE_DEPTH_NESTING);
    const was = commonFlags(table, mm, from);
    restored = was !== null;
    if (was !== null) yield* install(current, vma, pmds, table, start, to, was);
    yield* table.lock.unlock(current);
  }
  yield* pmds.lock.unlock(current);
  return restored;
}

/** What all migration entries of the table say, if they are all of `from`; null: they differ. */
function commonFlags(table: TablePage, { kernel: { pageTables } }: MmStruct, from: number): number | null {
  let common: number | null = null;
  for (let i = 0; i < hugePages(pageTables); i++) {
    pageTables.read(table, i);
    if (migrationFrameRead(pageTables, table.level) !== from + i) return null;
    const flags = migrationFlagsRead(pageTables, table.level);
    if (common !== null && flags !== common) return null;
    common = flags;
  }
  return common;
}

/** With both locks. No CPU has anything of the table but the entry above it, which goes first. */
function* install(
  current: TaskStruct,
  vma: VmArea,
  pmds: TablePage,
  table: TablePage,
  start: number,
  to: number,
  was: number,
): Task<void> {
  const { mm } = vma;
  const { arch, frames, pageTables } = mm.kernel;
  yield frames.refPoint(to);
  frames.get(to);
  let flags = vmaPageProtection(vma) | (was & EntryFlag.SoftDirty);
  if ((was & EntryFlag.Young) === 0) flags &= ~EntryFlag.Young;
  if (frames.hasFlag(to, FrameFlag.Dirty)) flags |= was & EntryFlag.Dirty;
  if ((was & EntryFlag.Write) !== 0) flags |= arch.writableFlags(vma.flags, vma.flagsHigh);
  else flags |= was & EntryFlag.UffdWp;
  if ((was & EntryFlag.SwapExclusive) !== 0) frames.setFlags(to, FrameFlag.AnonExclusive);
  frames.addEntireMap(to, mm);
  yield* pmdpCollapseFlush(current, vma, pmds, start);
  yield table.setEntry;
  for (let i = 0; i < hugePages(pageTables); i++) pageTables.write(table, i, 0, 0);
  depositTable(pmds, table);
  yield pmds.setEntry;
  pageTables.setLeaf(pmds, pmdIndex(pageTables, start), to, flags);
}
