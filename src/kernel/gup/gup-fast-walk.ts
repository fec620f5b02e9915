/**
 * The lockless walk of gup-fast: entries are read one by one while other CPUs change them. A page counts only if, after
 * its reference was taken, the pmd and the pte that led to it are what they were before. Tables stay in memory because
 * interrupts are off: whoever takes one out waits for that, by an RCU grace period or by interrupts of its own.
 * Each read of an entry is a point, and so is each change of a count.
 * @see Linux mm/gup.c, `gup_fast_pgd_range` … `gup_fast_pte_range`, `gup_fast_pmd_leaf`, `try_grab_folio_fast`
 */
import type { Task } from '../../base/task.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN, type PageArray } from './foll-flags.ts';
import { FastPosition } from './gup-fast-position.ts';

/**
 * Takes pages from `start` to `end` until one cannot be had, into the first slots of `pages`. Interrupts must be off.
 * @returns how many were taken
 */
export function* gupFastWalk(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  end: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  const at = new FastPosition(current, mm);
  let page = start;
  while (page < end) {
    if (!at.isInTable(page)) at.restart();
    do yield at.table.readEntry;
    while (at.descend(page));
    if (!at.isPermitted(gupFlags)) break;
    const count = at.select(page, end);
    let taken: number;
    do {
      yield at.refPoint();
      taken = at.tryGet(count);
    } while (taken < 0);
    if (taken === 0) break;
    if ((gupFlags & FOLL_PIN) !== 0) yield at.refPoint();
    if (!at.toPins(count, gupFlags)) break;
    if (at.isPte) yield at.upper.readEntry;
    let good = at.isUpperSame();
    if (good) {
      yield at.table.readEntry;
      good = at.isSame() && at.mayGive(gupFlags);
    }
    if (!good) {
      yield at.refPoint();
      at.drop(count, gupFlags);
      break;
    }
    at.give(pages, page - start, count);
    page += count;
  }
  return page - start;
}
