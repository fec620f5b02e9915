/**
 * Reclaiming a page because its owner says so: MADV_PAGEOUT.
 * @see Linux mm/vmscan.c, `reclaim_pages`, `reclaim_folio_list`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { ScanControl } from './scan-control.ts';
import { shrinkFolio } from './shrink-folio.ts';

/**
 * Reclaims a folio that was isolated (`folioIsolateLru`), whether or not it was used lately, or puts it back to its list;
 * the caller's reference goes. No page table is locked. True when it is free now.
 */
export function* pageoutFolio(current: TaskStruct, folio: number): Task<boolean> {
  const scan = new ScanControl(1, true);
  yield* shrinkFolio(current, folio, scan);
  yield* scan.finish(current);
  return scan.reclaimed > 0;
}
