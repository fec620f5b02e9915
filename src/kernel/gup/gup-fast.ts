/**
 * gup-fast: pages of an address space taken with interrupts off and without any lock. Linux walks the tables of the
 * running mm only; here the mm is given, whose users the caller has a reference to, so that proposals to use it on
 * another mm can be tried.
 * Fork makes pages shared that are exclusive, one after another, without clearing their entries: what was pinned while
 * it did is given back.
 * @see Linux mm/gup.c, `gup_fast`
 */
import type { Task } from '../../base/task.ts';
import { localIrqRestore, localIrqSave } from '../lock/irq.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN, type PageArray } from './foll-flags.ts';
import { FastPosition } from './gup-fast-position.ts';
import { gupFastWalk } from './gup-fast-walk.ts';

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
  if ((gupFlags & FOLL_PIN) !== 0) return yield* pinFast(current, mm, startPage, count, gupFlags, pages);
  localIrqSave(current);
  const taken = yield* gupFastWalk(
    new FastPosition(current, mm),
    startPage,
    startPage + count,
    gupFlags,
    pages,
  );
  localIrqRestore(current);
  return taken;
}

function* pinFast(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  const sequence = yield* mm.writeProtectSeq.tryBegin();
  if (sequence === null) return 0;
  localIrqSave(current);
  const taken = yield* gupFastWalk(
    new FastPosition(current, mm),
    startPage,
    startPage + count,
    gupFlags,
    pages,
  );
  localIrqRestore(current);
  if (!(yield* mm.writeProtectSeq.retry(sequence))) return taken;
  const { frames } = current.kernel;
  for (let i = 0; i < taken; i++) {
    const frame = pages[i] as number;
    yield frames.refPoint(frame);
    frames.unpin(frame);
  }
  return 0;
}
