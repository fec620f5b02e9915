/** What gup-fast takes and what it leaves to the slow path, with nobody else about. */
import { describe, expect, it } from 'vitest';
import { EFAULT, EINVAL, EOVERFLOW } from '../../../src/kernel/errno.ts';
import {
  FOLL_ANON,
  FOLL_GET,
  FOLL_LONGTERM,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_WRITE,
} from '../../../src/kernel/gup/foll-flags.ts';
import {
  getUserPagesFast,
  getUserPagesFastOnly,
  pinUserPagesFast,
} from '../../../src/kernel/gup/get-user-pages-fast.ts';
import { gupFast } from '../../../src/kernel/gup/gup-fast.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { advise } from '../mm/madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../mm/process-world.ts';
import { swapOut, swapWorld } from '../mm/swap-world.ts';

const RW = PROT_READ | PROT_WRITE;

interface Scene {
  readonly world: ProcessWorld;
  readonly task: TaskStruct;
}

/** One page, made as each row says. */
const PAGES: Readonly<Record<string, (scene: Scene) => void>> = {
  'an anonymous page': ({ world, task }) => {
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
  },
  'a page of shared memory': ({ world, task }) => {
    world.map(task, 0, 1, RW, MAP_SHARED);
    world.store(task, 0, 7);
  },
  'a page that is read-only now': ({ world, task }) => {
    PAGES['an anonymous page']?.({ world, task });
    world.run(task, sysMprotect(task, addressOf(0), 4096n, PROT_READ));
  },
  'a page that a child shares': ({ world, task }) => {
    PAGES['an anonymous page']?.({ world, task });
    world.fork(task);
  },
  'the zero page': ({ world, task }) => {
    world.map(task, 0, 1, RW);
    world.load(task, 0);
  },
  'a page without access': ({ world, task }) => {
    PAGES['an anonymous page']?.({ world, task });
    world.run(task, sysMprotect(task, addressOf(0), 4096n, PROT_NONE));
  },
  'a page in swap': ({ world, task }) => {
    PAGES['an anonymous page']?.({ world, task });
    expect(swapOut(world, task, 0)).toBe(true);
  },
  'a page never touched': ({ world, task }) => world.map(task, 0, 1, RW),
  'no mapping': () => {},
};
const USES = {
  get: FOLL_GET,
  'get to write': FOLL_GET | FOLL_WRITE,
  pin: FOLL_PIN,
  'pin to write': FOLL_PIN | FOLL_WRITE,
  'pin for long': FOLL_PIN | FOLL_LONGTERM,
} as const;

describe('gup-fast by itself', () => {
  it.each([
    ['an anonymous page', ['get', 'get to write', 'pin', 'pin to write', 'pin for long']],
    // A lasting read pin could be of a private mapping, for all that the entry says; a writable entry is none.
    ['a page of shared memory', ['get', 'get to write', 'pin', 'pin to write', 'pin for long']],
    ['a page that is read-only now', ['get', 'pin', 'pin for long']],
    ['a page that a child shares', ['get']],
    ['the zero page', []],
    ['a page without access', []],
    ['a page in swap', []],
    ['a page never touched', []],
    ['no mapping', []],
  ])('takes %s for: %j', (page, expected) => {
    const taken: string[] = [];
    for (const [use, flags] of Object.entries(USES)) {
      const world = swapWorld();
      const task = world.process();
      PAGES[page]?.({ world, task });
      const { frames } = world.kernel;
      const { frame } = world.pte(task, 0);
      const before = frame < 0 ? 0 : frames.refcount(frame);
      const pages: number[] = [];
      const got = world.run(task, gupFast(task, mmOf(task), BASE_PAGE, 1, flags, pages));
      if (got === 1) {
        taken.push(use);
        expect(pages).toEqual([frame]);
        expect(frames.maybeDmaPinned(frame)).toBe((flags & FOLL_PIN) !== 0);
        if ((flags & FOLL_PIN) !== 0) world.run(task, unpinUserPages(task, pages, 1));
        else frames.put(frame);
      }
      if (frame >= 0) expect(frames.refcount(frame)).toBe(before);
      expect(world.kernel.machine.cpu(0).interruptsDisabled).toBe(0);
      expect(world.inconsistencies()).toEqual([]);
    }
    expect(taken).toEqual(expected);
  });
});

describe('gup-fast of several pages', () => {
  it('stops at the first page that it cannot have and keeps those before', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 16, RW);
    // The arena crosses from one table to the next at page 8.
    for (let page = 0; page < 12; page++) if (page !== 10) world.store(task, page, page);
    const pages: number[] = [];
    const mm = mmOf(task);
    expect(world.run(task, gupFast(task, mm, BASE_PAGE, 16, FOLL_GET, pages))).toBe(10);
    expect(pages).toEqual(Array.from({ length: 10 }, (_, page) => world.pte(task, page).frame));
    for (const frame of pages) world.kernel.frames.put(frame);
    expect(world.run(task, gupFast(task, mm, BASE_PAGE, 0, FOLL_GET, pages))).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['get', FOLL_GET],
    ['pin', FOLL_PIN | FOLL_WRITE],
  ])('takes pages of a huge page in one step, by %s', (_, flags) => {
    const world = new ProcessWorld({ memoryBytes: 0x200_0000 });
    const task = world.process();
    world.map(task, 8, 512, RW, MAP_PRIVATE);
    advise(world, task, 8, 512, MADV_HUGEPAGE);
    world.store(task, 8, 1);
    const { frames } = world.kernel;
    const pages: number[] = [];
    const steps = world.system.loop.steps;
    expect(world.run(task, gupFast(task, mmOf(task), BASE_PAGE + 8 + 3, 100, flags, pages))).toBe(100);
    expect(world.system.loop.steps - steps).toBeLessThan(12);
    const head = frames.head(pages[0] as number);
    expect(pages).toEqual(Array.from({ length: 100 }, (_, i) => head + 3 + i));
    expect([frames.refcount(head), frames.maybeDmaPinned(head)]).toEqual([101, (flags & FOLL_PIN) !== 0]);
    for (const frame of pages) (flags & FOLL_PIN) !== 0 ? frames.unpin(frame) : frames.put(frame);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('the entries around it', () => {
  const scene = (): Scene => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 4, RW);
    for (const page of [0, 1]) world.store(task, page, 1);
    return { world, task };
  };

  it('the slow path brings what the fast one could not have', () => {
    const { world, task } = scene();
    const pages: number[] = [];
    expect(world.run(task, getUserPagesFastOnly(task, BASE_PAGE, 4, 0, pages))).toBe(2);
    for (const frame of pages) world.kernel.frames.put(frame);
    const all: number[] = [];
    expect(world.run(task, getUserPagesFast(task, BASE_PAGE, 4, FOLL_WRITE, all))).toBe(4);
    expect(all).toEqual([0, 1, 2, 3].map((page) => world.pte(task, page).frame));
    for (const frame of all) world.kernel.frames.put(frame);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('an error of the slow path is hidden behind pages of the fast one, and told when there are none', () => {
    const { world, task } = scene();
    world.run(task, sysMprotect(task, addressOf(2), 8192n, PROT_NONE));
    const pages: number[] = [];
    expect(world.run(task, pinUserPagesFast(task, BASE_PAGE, 4, FOLL_WRITE, pages))).toBe(2);
    world.run(task, unpinUserPages(task, pages, 2));
    expect(world.run(task, pinUserPagesFast(task, BASE_PAGE + 2, 2, FOLL_WRITE, []))).toBe(-EFAULT);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['a flag of GUP itself', getUserPagesFast, 0, FOLL_REMOTE, -EINVAL],
    ['a flag that has no meaning here', getUserPagesFast, 0, FOLL_ANON, -EINVAL],
    ['FOLL_GET of a pin', pinUserPagesFast, 0, FOLL_GET, -EINVAL],
    ['FOLL_LONGTERM without a pin', getUserPagesFastOnly, 0, FOLL_LONGTERM, -EINVAL],
    ['the last pages of all', getUserPagesFast, 2 ** 52 - 1 - BASE_PAGE, 0, -EOVERFLOW],
    ['pages beyond user space', pinUserPagesFast, 2 ** 51 - BASE_PAGE, 0, -EFAULT],
  ])('%s is refused', (_what, entry, page, flags, errno) => {
    const { world, task } = scene();
    expect(world.run(task, entry(task, BASE_PAGE + page, 1, flags, []))).toBe(errno);
  });
});
