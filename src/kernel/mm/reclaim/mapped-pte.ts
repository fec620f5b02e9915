/**
 * The entries by which a VMA maps a page or a folio, found from the page: one step of a walk through everybody who maps it.
 * An entry by which a device has a page for itself maps it too. Left out: migration entries.
 * @see Linux mm/page_vma_mapped.c, `page_vma_mapped_walk`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { mappedFrameRead } from '../device-exclusive-entry.ts';
import { entryEnd, pteIndex, type TablePage } from '../page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { folioSpan } from '../rmap-walk.ts';
import { pmdTransHugeLock } from '../thp/huge-pmd.ts';
import type { VmArea } from '../vma.ts';

/** The locked pte table in which `page` maps `frame`, the pte having been read; null, nothing locked, when it does not. */
export function* lockMappedPte(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  frame: number,
): Task<TablePage | null> {
  const { pageTables } = vma.mm.kernel;
  const table = yield* pteOffsetMapLock(current, vma.mm, page);
  if (table === null) return null;
  pageTables.read(table, pteIndex(pageTables, page));
  if (mappedFrameRead(pageTables, table.level) === frame) return table;
  yield* pteUnmapUnlock(current, table);
  return null;
}

/** Called with the lock of `table` held, which has an entry for `page`; of a huge page it is the pmd table. */
export type MappedEntryVisitor = (table: TablePage, page: number) => Task<boolean>;

/**
 * Visits every entry by which a VMA maps the folio or a part of it; `start` as a walk of the rmap gives it. False when a
 * visit said so, which ends it.
 */
export function* forEachMapped(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  folio: number,
  visit: MappedEntryVisitor,
): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const span = folioSpan(vma, start, folio);
  const end = start + span.pages;
  for (let page = start; page < end; ) {
    const next = entryEnd(pageTables.format, page, end, pageTables.lastLevel - 1);
    const huge = span.pages > 1 ? yield* pmdTransHugeLock(current, vma.mm, page) : null;
    let goesOn = true;
    if (huge !== null) {
      if (pageTables.frame(huge.level) === folio) goesOn = yield* visit(huge, page);
      yield* huge.lock.unlock(current);
    } else {
      goesOn = yield* visitPtes(current, vma, page, next, span.frame + page - start, visit);
    }
    if (!goesOn) return false;
    page = next;
  }
  return true;
}

/** Those of one pte table. */
function* visitPtes(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  firstFrame: number,
  visit: MappedEntryVisitor,
): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const table = yield* pteOffsetMapLock(current, vma.mm, start);
  if (table === null) return true;
  let goesOn = true;
  for (let page = start; page < end && goesOn; page++) {
    pageTables.read(table, pteIndex(pageTables, page));
    if (mappedFrameRead(pageTables, table.level) === firstFrame + page - start)
      goesOn = yield* visit(table, page);
  }
  yield* pteUnmapUnlock(current, table);
  return goesOn;
}
