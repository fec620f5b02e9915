/**
 * What gup-fast asks of the folio behind an entry, and what it leaves behind there: which frame of a large folio says whether it is
 * exclusive, marks, and what fork has to know of a pin.
 */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { FOLL_GET, FOLL_PIN, FOLL_REMOTE, FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPagesFast, pinUserPagesFast } from '../../../src/kernel/gup/get-user-pages-fast.ts';
import { gupFast } from '../../../src/kernel/gup/gup-fast.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { DeviceFile, type DeviceFill } from '../../../src/kernel/mm/device-file.ts';
import { MADV_DONTFORK } from '../../../src/kernel/mm/madvise/advice.ts';
import { fput } from '../../../src/kernel/mm/mapped-file.ts';
import { MAP_FIXED, MAP_SHARED, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { advise, bytes } from '../mm/madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../mm/process-world.ts';
import { FIRST, HUGE, hugeFrame, hugeScene, RW } from '../mm/thp/support.ts';

/** A huge page that is mapped, and how many of its pages from `page` on gup-fast takes; they are given back. */
function huge() {
  const scene = hugeScene();
  const { world, task } = scene;
  world.store(task, FIRST, 7);
  const { frames } = world.kernel;
  const taken = (page: number, count: number, flags: number): number => {
    const pages: number[] = [];
    const got = world.run(task, gupFast(task, mmOf(task), BASE_PAGE + page, count, flags, pages));
    if ((flags & FOLL_PIN) !== 0) world.run(task, unpinUserPages(task, pages, got));
    else for (const frame of pages) frames.put(frame);
    return got;
  };
  const readOnly = (): void => {
    expect(world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), PROT_READ))).toBe(0);
  };
  return { scene, world, task, taken, readOnly };
}

describe('a pin for reading of a huge page that is read-only', () => {
  it('is had for any of its pages, as the first one says for all that it is exclusive', () => {
    const { world, taken, readOnly } = huge();
    readOnly();
    expect([taken(FIRST, 1, FOLL_PIN), taken(FIRST + 3, 4, FOLL_PIN)]).toEqual([1, 4]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is not had when a child shares it; a reference is', () => {
    const { world, task, taken } = huge();
    world.fork(task);
    expect([taken(FIRST + 3, 4, FOLL_PIN), taken(FIRST + 3, 4, FOLL_GET)]).toEqual([0, 4]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['the first page', FIRST, FIRST + 3],
    ['a later page', FIRST + 3, FIRST],
  ])('is had for %s alone, when ptes map it and a child has all the others', (_, own, shared) => {
    const { world, task, taken, readOnly } = huge();
    expect(advise(world, task, own, 1, MADV_DONTFORK)).toBe('ok');
    world.fork(task);
    readOnly();
    const { frames } = world.kernel;
    const [mine, other] = [own, shared].map((page) => world.pte(task, page).frame) as [number, number];
    expect(frames.head(mine)).toBe(frames.head(other));
    expect([taken(own, 1, FOLL_PIN), taken(shared, 1, FOLL_PIN)]).toEqual([1, 0]);
    expect(taken(shared, 1, FOLL_GET)).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('what gup-fast leaves behind', () => {
  it.each([
    ['a small page', 0, FOLL_GET],
    ['a small page', 0, FOLL_PIN | FOLL_WRITE],
    ['a page of a huge one', FIRST + 9, FOLL_GET],
  ])('marks the folio of %s referenced', (_, page, flags) => {
    const { scene, world, task, taken } = huge();
    const { frames } = world.kernel;
    world.map(task, 0, 1, RW);
    world.store(task, 0, 1);
    const head = page === 0 ? world.pte(task, 0).frame : hugeFrame(scene, FIRST);
    frames.clearFlags(head, FrameFlag.Referenced);
    expect(taken(page, 1, flags)).toBe(1);
    expect(frames.hasFlag(head, FrameFlag.Referenced)).toBe(true);
  });

  it('a pin tells fork, which copies the page for the child at once', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 2, RW);
    for (const page of [0, 1]) world.store(task, page, 7);
    const pages: number[] = [];
    expect(world.run(task, pinUserPagesFast(task, BASE_PAGE, 1, FOLL_WRITE, pages))).toBe(1);
    const child = world.fork(task);
    expect([world.page(task, 0), world.page(task, 1)]).toEqual(['Xwd', 'Ad2']);
    expect(world.pte(task, 0).frame).toBe(pages[0]);
    expect([world.pte(child, 0).frame === pages[0], world.load(child, 0)]).toEqual([false, 7]);
    world.run(task, unpinUserPages(task, pages, 1));
    expect(world.inconsistencies()).toEqual([]);
  });

  it('pages of the slow path are touched, too', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 1, RW, MAP_SHARED);
    const pages: number[] = [];
    expect(world.run(task, getUserPagesFast(task, BASE_PAGE, 1, 0, pages))).toBe(1);
    const { frames } = world.kernel;
    expect(frames.hasFlag(pages[0] as number, FrameFlag.Referenced)).toBe(true);
    frames.put(pages[0] as number);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('memory of a device', () => {
  it.each(['remap', 'fault', 'mixed'] as readonly DeviceFill[])(
    'has no page that could be counted, and is left alone (%s)',
    (fill) => {
      const world = new ProcessWorld();
      const task = world.process();
      const device = new DeviceFile(world.kernel, { pages: 1, fill, access: true, noncached: false });
      const at = addressOf(0);
      expect(world.run(task, sysMmap(task, at, 4096n, RW, MAP_SHARED | MAP_FIXED, device, 0n))).toBe(at);
      expect(world.store(task, 0, 5)).toBe(null);
      expect(world.pte(task, 0).flags & EntryFlag.Special).toBe(EntryFlag.Special);
      for (const flags of [FOLL_GET, FOLL_PIN | FOLL_WRITE, FOLL_GET | FOLL_REMOTE | FOLL_WRITE])
        expect(world.run(task, gupFast(task, mmOf(task), BASE_PAGE, 1, flags, []))).toBe(0);
      expect(world.load(task, 0)).toBe(5);
      world.run(task, fput(world.kernel.frames, device));
      expect(world.inconsistencies()).toEqual([]);
    },
  );
});
