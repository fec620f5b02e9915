/**
 * The end of a migration: every migration entry becomes a pte again, of the folio that took the old one's place or, after a
 * split and where nothing could be moved, of the same.
 * Left out: migration entries of a whole pmd, NUMA hints, device memory.
 * @see Linux mm/migrate.c, `remove_migration_ptes`, `remove_migration_pte`, `try_to_map_unused_to_zeropage`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { AnonVma } from './anon-vma.ts';
import { endsRun, foldRun } from './contiguous-ptes.ts';
import { migrationFlagsRead, migrationFrameRead } from './migration-entry.ts';
import { MM_ANONPAGES } from './mm.ts';
import { entryEnd, isWholeHugePage, pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from './page-table-alloc.ts';
import { addFileRmap, addMmCounter } from './rmap.ts';
import { folioSpan, type RmapVisitor, rmapWalk, rmapWalkLocked } from './rmap-walk.ts';
import { restoreHugePmd, type WholeMapping } from './thp/restore-huge-pmd.ts';
import type { VmArea } from './vma.ts';
import { VM_LOCKED } from './vma-flags.ts';
import { vmaPageProtection } from './vma-protection.ts';

const PAGE_BYTES = 4096;

export interface RemoveMigrationOptions {
  /** RMP_LOCKED: the lock of the folio's anon_vmas is held for writing. */
  readonly rmapLocked?: boolean;
  /** RMP_USE_SHARED_ZEROPAGE: a page of zeros gives way to the zero page. */
  readonly useZeroPage?: boolean;
  /** Where one entry mapped all of it, and is to again. */
  readonly wholes?: readonly WholeMapping[];
}

/**
 * Entries of `from`, which is locked, become ptes of `to`, which has as many pages, is locked, and is where the rmap looks:
 * mapping and index are set. Each pte gets a reference of its own.
 */
export function* removeMigrationPtes(
  current: TaskStruct,
  from: number,
  to: number,
  { rmapLocked = false, useZeroPage = false, wholes = [] }: RemoveMigrationOptions = {},
): Task<void> {
  const zero = useZeroPage && isUnused(current, to);
  const visit: RmapVisitor = function* (vma, page) {
    yield* restoreSpan(current, vma, page, from, to, zero, wholes);
    return true;
  };
  const mapping = current.kernel.frames.mapping(to);
  if (!(mapping instanceof AnonVma)) return yield* rmapWalk(current, to, visit);
  // Nothing need map the page yet for there to be entries.
  const { rwsem } = mapping;
  if (!rmapLocked) yield* rwsem.downRead(current);
  yield* rmapWalkLocked(current, to, visit);
  if (!rmapLocked) yield* rwsem.upRead(current);
}

/** Is a page of one frame full of zeros? With memory tags it never gives way: whose tags would be shared? */
function isUnused({ kernel }: TaskStruct, frame: number): boolean {
  const { frames, machine, pageTags } = kernel;
  if (frames.isLarge(frame) || pageTags?.isTagged(frames.zeroFrame) === true) return false;
  if (frames.hasFlag(frame, FrameFlag.HwPoison | FrameFlag.Unevictable)) return false;
  const words = new BigUint64Array(PAGE_BYTES / 8);
  machine.memory.readBytes(frame, 0, new Uint8Array(words.buffer));
  return words.every((word) => word === 0n);
}

function* restoreSpan(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  from: number,
  to: number,
  zero: boolean,
  wholes: readonly WholeMapping[],
): Task<void> {
  const { pageTables } = vma.mm.kernel;
  const span = folioSpan(vma, start, to);
  const end = start + span.pages;
  for (let page = start; page < end; ) {
    const next = entryEnd(pageTables.format, page, end, pageTables.lastLevel - 1);
    const whole = wholes.some((mapping) => mapping.mm === vma.mm && mapping.page === page);
    const all = whole && isWholeHugePage(pageTables, page, next);
    const restored = all && (yield* restoreHugePmd(current, vma, page, from, to));
    const table = restored ? null : yield* pteOffsetMapLock(current, vma.mm, page);
    if (table !== null) {
      yield* restoreTable(current, vma, table, page, next, {
        from,
        to,
        frame: span.frame + page - start,
        zero,
      });
      yield* pteUnmapUnlock(current, table);
    }
    page = next;
  }
}

/** What the entries of one table are to become. */
interface Restored {
  readonly from: number;
  readonly to: number;
  /** Of the first page. */
  readonly frame: number;
  readonly zero: boolean;
}

/** Pages [start, end) have their entries in `table`, which is locked. */
function* restoreTable(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
  end: number,
  { from, to, frame, zero }: Restored,
): Task<void> {
  const { pageTables } = vma.mm.kernel;
  for (let page = start; page < end; page++) {
    const own = frame + page - start;
    pageTables.read(table, pteIndex(pageTables, page));
    if (migrationFrameRead(pageTables, table.level) !== own - to + from) continue;
    if (zero && (vma.flags & VM_LOCKED) === 0) yield* mapZeroPage(vma, table, page);
    else yield* restorePte(current, vma, table, page, own);
  }
}

/** The entry was read last, and the table is locked. */
function* mapZeroPage(vma: VmArea, table: TablePage, page: number): Task<void> {
  const { frames, pageTables } = vma.mm.kernel;
  const kept = migrationFlagsRead(pageTables, table.level) & (EntryFlag.UffdWp | EntryFlag.SoftDirty);
  const flags = vmaPageProtection(vma) | EntryFlag.Special | kept;
  yield table.setEntry;
  pageTables.setLeaf(table, pteIndex(pageTables, page), frames.zeroFrame, flags);
  addMmCounter(vma.mm, MM_ANONPAGES, -1);
}

function* restorePte(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  frame: number,
): Task<void> {
  const { mm } = vma;
  const { arch, frames, pageTables } = mm.kernel;
  const was = migrationFlagsRead(pageTables, table.level);
  const anonymous = frames.hasFlag(frame, FrameFlag.Anon);
  yield frames.refPoint(frame);
  frames.get(frame);
  let flags = vmaPageProtection(vma) | (was & EntryFlag.SoftDirty);
  if ((was & EntryFlag.Young) === 0) flags &= ~EntryFlag.Young;
  if (frames.hasFlag(frame, FrameFlag.Dirty)) flags |= was & EntryFlag.Dirty;
  if ((was & EntryFlag.Write) !== 0) flags |= arch.writableFlags(vma.flags, vma.flagsHigh);
  else flags |= was & EntryFlag.UffdWp;
  if (anonymous) {
    if ((was & EntryFlag.SwapExclusive) !== 0) frames.setFlags(frame, FrameFlag.AnonExclusive);
    frames.addMap(frame, mm);
  } else addFileRmap(frames, frame, mm);
  yield table.setEntry;
  pageTables.setLeaf(table, pteIndex(pageTables, page), frame, flags);
  if (endsRun(mm.kernel, page, frame)) yield* foldRun(current, mm, table, page, frame);
}
