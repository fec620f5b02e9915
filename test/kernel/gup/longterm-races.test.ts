/** A lasting pin beside a thread that takes the page away while it is to be moved. mm/gup.c, mm/migrate.c. */
import { describe, expect, it } from 'vitest';
import type { SchedPoint, Task } from '../../../src/base/task.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { pinUserPagesUnlocked } from '../../../src/kernel/gup/get-user-pages-unlocked.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { MADV_DONTNEED } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { addressOf, BASE_PAGE, ProcessWorld } from '../mm/process-world.ts';
import { logged } from '../remote/designs/support.ts';
import { Director } from '../support/director.ts';

const RW = 3;

function scene() {
  const director = new Director();
  const world = new ProcessWorld({
    cpus: 2,
    policy: director.policy,
    kernel: { movablePages: 512, lockdep: true },
  });
  director.loop = world.system.loop;
  const pinner = world.process('pinner', 0);
  const thread = world.thread(pinner, 'thread', 1);
  world.map(pinner, 0, 1, RW);
  world.store(pinner, 0, 7);
  const { frame } = world.pte(pinner, 0);
  const pages = [-1];
  const log: SchedPoint[] = [];
  const pin = (): Task<number> =>
    logged(pinUserPagesUnlocked(pinner, BASE_PAGE, 1, pages, FOLL_LONGTERM | FOLL_WRITE), log);
  return { director, world, pinner, thread, frame, pages, log, pin };
}

/** How often a page was copied. */
const copies = (log: readonly SchedPoint[]): number =>
  log.filter(({ operation }) => operation === 'copy_user_highpage').length;

describe('a page that is given back while a lasting pin is about to move it', () => {
  it('is not moved, as it is nobody’s any more: a new one is pinned', () => {
    const { director, world, pinner, thread, frame, pages, log, pin } = scene();
    const { frames } = world.kernel;
    director.start(pinner, pin());
    // Off its list and unpinned: one reference is the pte's, one the pinner's.
    director.untilPoint(pinner, () => frames.refcount(frame) === 2 && frames.pinsReleased === 1);
    director.start(thread, sysMadvise(thread, addressOf(0), 4096n, MADV_DONTNEED));
    expect(director.finish(thread)).toBe(0);
    expect(frames.refcount(frame)).toBe(1);
    log.length = 0;
    expect(director.finish(pinner)).toBe(1);
    expect(copies(log)).toBe(0);
    expect([frames.refcount(frame), frames.zoneOf(pages[0] as number)]).toEqual([0, 'normal']);
    expect(world.load(pinner, 0)).toBe(0);
    world.run(pinner, unpinUserPages(pinner, pages, 1));
    expect(world.inconsistencies()).toEqual([]);
    expect(world.kernel.lockdep?.reports).toEqual([]);
  });

  it('is copied otherwise', () => {
    const { director, world, pinner, pages, log, pin } = scene();
    director.start(pinner, pin());
    expect(director.finish(pinner)).toBe(1);
    expect(copies(log)).toBe(1);
    expect(world.load(pinner, 0)).toBe(7);
    world.run(pinner, unpinUserPages(pinner, pages, 1));
    expect(world.inconsistencies()).toEqual([]);
  });
});
