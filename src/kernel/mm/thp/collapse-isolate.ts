/**
 * The second look at the ptes of a table that is to become a huge page: nobody can reach it any more. Every page is locked
 * and taken off its list of reclaim, so that neither reclaim nor a split gets at it; a reference that no pte explains
 * ends it all.
 * @see Linux mm/khugepaged.c, `__collapse_huge_page_isolate`, `release_pte_pages`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import { hugePages, pteIndex, type TablePage } from '../page-table.ts';
import { folioIsolateLru, folioPutbackLru } from '../reclaim/lru.ts';
import type { VmArea } from '../vma.ts';
import type { CollapseControl, ScanResult } from './collapse-control.ts';
import { expectedReferences, judgePte } from './collapse-scan.ts';

/** First frames of the folios that were locked and isolated. */
export type IsolatedFolios = Set<number>;

/** Fills `isolated`; when the result is not 'succeed', nothing is isolated any more. Needs the table's lock. */
export function* isolatePages(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
  control: CollapseControl,
  isolated: IsolatedFolios,
): Task<ScanResult> {
  const { pageTables } = current.kernel;
  control.restart();
  let result: ScanResult | null = null;
  for (let page = start; page < start + hugePages(pageTables) && result === null; page++) {
    result = yield* isolatePte(current, vma, table, page, control, isolated);
  }
  if (result === null && control.isKhugepaged && control.referenced === 0) result = 'lack-referenced-page';
  if (result === null) return 'succeed';
  yield* releaseFolios(current, isolated);
  return result;
}

function* isolatePte(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  control: CollapseControl,
  isolated: IsolatedFolios,
): Task<ScanResult | null> {
  const { frames, pageTables } = current.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  if ((flags & EntryFlag.Swap) !== 0) return 'pte-non-present';
  const frame = pageTables.frame(table.level);
  const verdict = judgePte(vma, flags, frame, control);
  if (verdict !== 'page') return verdict === 'none' ? null : verdict;
  const folio = frames.head(frame);
  if (isolated.has(folio)) return null;
  if (!(yield* folioTrylock(current, folio))) return 'page-lock';
  const explained = frames.refcount(folio) === expectedReferences(frames, folio);
  if (explained && folioIsolateLru(frames, folio)) {
    isolated.add(folio);
    return null;
  }
  yield* folioUnlock(current, folio);
  return explained ? 'del-page-lru' : 'page-count';
}

/** Unlocked, and back to their lists. */
export function* releaseFolios(current: TaskStruct, isolated: IsolatedFolios): Task<void> {
  const { frames } = current.kernel;
  for (const folio of isolated) {
    yield* folioUnlock(current, folio);
    folioPutbackLru(frames, folio);
  }
  isolated.clear();
}
