/**
 * The lockless walk of gup-fast: entries are read one by one while other CPUs change them. A page counts only if, after
 * its reference was taken, the pmd and the pte that led to it are what they were before. Tables stay in memory because
 * interrupts are off: whoever takes one out waits for that, by an RCU grace period or by interrupts of its own.
 * Each read of an entry is a point, and so is each change of a count.
 * @see Linux mm/gup.c, `gup_fast_pgd_range` … `gup_fast_pte_range`, `gup_fast_pmd_leaf`, `try_grab_folio_fast`
 */
import type { Task } from '../../base/task.ts';
import { FOLL_PIN, type PageArray } from './foll-flags.ts';
import type { FastPosition } from './gup-fast-position.ts';

/**
 * Takes pages from `start` to `end` until one cannot be had, into the first slots of `pages`. Interrupts must be off.
 * @param at new; afterwards it says what stopped the walk
 * @returns how many were taken
 */
export function* gupFastWalk(
  at: FastPosition,
  start: number,
  end: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  let page = start;
  while (page < end) {
    if (!at.isInTable(page)) at.restart();
    do yield at.table.readEntry;
    while (at.descend(page));
    if (!at.isPermitted(gupFlags)) break;
    const count = at.select(page, end);
    if (!(yield* grabLeaf(at, count, gupFlags))) break;
    at.give(pages, page - start, count);
    page += count;
  }
  return page - start;
}

/** References or pins on `count` pages of a leaf; false, and nothing held, when they cannot be had. */
function* grabLeaf(at: FastPosition, count: number, gupFlags: number): Task<boolean> {
  let taken: number;
  do {
    yield at.refPoint();
    taken = at.tryGet(count);
  } while (taken < 0);
  if (taken === 0) return false;
  if ((gupFlags & FOLL_PIN) !== 0) {
    yield at.refPoint();
    if (!at.toPins(count, gupFlags)) return false;
  }
  if (at.isPte) yield at.upper.readEntry;
  if (at.isUpperSame()) {
    yield at.table.readEntry;
    if (at.isSame() && at.mayGive(gupFlags)) return true;
  }
  yield at.refPoint();
  at.drop(count, gupFlags);
  return false;
}
