/**
 * gup-fast: pages of an address space taken with interrupts off and without any lock. Linux walks the tables of the
 * running mm only; here the mm is given, whose users the caller has a reference to, so that proposals to use it on
 * another mm can be tried.
 * Fork makes pages shared that are exclusive, one after another, without clearing their entries: what was pinned while
 * it did is given back.
 * @see Linux mm/gup.c, `gup_fast`
 */
import type { SchedPoint, Task } from '../../base/task.ts';
import { localIrqRestore, localIrqSave } from '../lock/irq.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN, type PageArray } from './foll-flags.ts';
import { FastWalk } from './gup-fast-walk.ts';
import { checkPinnedPages } from './pin.ts';

/**
 * References, or pins with FOLL_PIN, on pages from `startPage` on, as far as they can be had at once.
 * @param startPage without tag bits; startPage + count must not lie beyond user space
 * @param gupFlags with FOLL_GET or FOLL_PIN; FOLL_REMOTE: the thread's protection keys do not count
 * @returns how many pages, from 0 to `count`; never an error
 */
export function* gupFast(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  // Until Linux 5.11 nobody looked at what fork does.
  const watch = (gupFlags & FOLL_PIN) !== 0 && !current.kernel.bugs.gupFastFork;
  const sequence = watch ? yield* mm.writeProtectSeq.tryBegin() : 0;
  if (sequence === null || count === 0) return 0;
  const walk = new FastWalk(current, mm, gupFlags, pages);
  localIrqSave(current);
  const end = startPage + count;
  for (let point = walk.begin(startPage, end) as SchedPoint | null; point !== null; point = walk.next())
    yield point;
  localIrqRestore(current);
  if (!watch) return told(current, mm, startPage, walk.taken, gupFlags, pages);
  if (!(yield* mm.writeProtectSeq.retry(sequence))) {
    checkPinnedPages(current, pages, walk.taken);
    return told(current, mm, startPage, walk.taken, gupFlags, pages);
  }
  const { frames } = current.kernel;
  for (let i = 0; i < walk.taken; i++) {
    const frame = pages[i] as number;
    yield frames.refPoint(frame);
    frames.unpin(frame);
  }
  return 0;
}

/** `taken`, with whoever watches told of the pages. */
function told(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  taken: number,
  gupFlags: number,
  pages: PageArray,
): number {
  const { watcher } = current.kernel;
  if (watcher === null) return taken;
  for (let i = 0; i < taken; i++) {
    watcher.grabbed(current, mm, null, startPage + i, pages[i] as number, gupFlags);
  }
  return taken;
}
