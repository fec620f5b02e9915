/**
 * Pins that last: memory that must stay movable is left first, or the pin fails and nothing stays pinned. mm/gup.c,
 * `__gup_longterm_locked`; mm/page_alloc.c, `__rmqueue`.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { auditKernel } from '../../../src/check/mm-invariants.ts';
import { EFAULT, ENOMEM } from '../../../src/kernel/errno.ts';
import { AddressSpace } from '../../../src/kernel/frame/address-space.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPages, pinUserPages } from '../../../src/kernel/gup/get-user-pages.ts';
import { pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import { pinUserPagesUnlocked } from '../../../src/kernel/gup/get-user-pages-unlocked.ts';
import { putUserPage, unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import { migrateFolio } from '../../../src/kernel/mm/migrate-folio.ts';
import { MAP_FIXED } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { PmdKind } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { folioIsolateLru, folioPutbackLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { BASE, MAP_SHARED, PAGE, World } from '../support/world.ts';
import { expectQuiet, FIRST, locked, mmOf, RW, slots } from './support.ts';

const MOVABLE: Partial<KernelConfig> = { movablePages: 512 };
const CMA: Partial<KernelConfig> = { cmaPages: 3072 };

function setUp(kernel: Partial<KernelConfig>, pages = 3) {
  const world = new World(1, undefined, kernel);
  const target = world.process('target');
  world.map(target, 0, pages, RW);
  const { frames } = world.kernel;
  const fill = (page: number) => world.store(target, BASE + BigInt(page) * PAGE, [page + 1]);
  const frameOf = (page: number) => world.frameAt(target, BASE + BigInt(page) * PAGE);
  const zones = (count = pages) => Array.from({ length: count }, (_, page) => frames.zoneOf(frameOf(page)));
  return { world, target, mm: mmOf(target), frames, fill, frameOf, zones };
}

type Scene = ReturnType<typeof setUp>;

const LONG = FOLL_LONGTERM | FOLL_WRITE;

/** pin_user_pages with FOLL_LONGTERM of the first pages, under mmap_lock. */
function pin({ world, target, mm }: Scene, pages: number[], flags = LONG): number {
  return locked(world, target, mm, pinUserPages(target, FIRST, pages.length, flags, pages));
}

describe('where memory comes from', () => {
  it('pages of programs from the movable part first, page tables and copies of the kernel never', () => {
    const scene = setUp(MOVABLE);
    for (const page of [0, 1, 2]) scene.fill(page);
    expect(scene.zones()).toEqual(['movable', 'movable', 'movable']);
    const tables = scene.frames.foliosInUse().filter((frame) => scene.frames.mapping(frame) === null);
    expect(tables.map((frame) => scene.frames.zoneOf(frame))).toEqual(tables.map(() => 'normal'));
  });

  it('from CMA while more of it is free than of the rest, and when nothing else is left', () => {
    const most = setUp({ cmaPages: 3072 });
    most.fill(0);
    expect(most.zones(1)).toEqual(['cma']);
    const few = setUp({ cmaPages: 16 });
    few.fill(0);
    expect(few.zones(1)).toEqual(['normal']);
    while (few.frames.allocate() !== -1);
    few.fill(1);
    expect(few.zones(2)).toEqual(['normal', 'cma']);
  });

  it('gives each part its own frames back', () => {
    const scene = setUp({ movablePages: 4, cmaPages: 4 }, 16);
    const free = scene.frames.freeFrames;
    for (let page = 0; page < 16; page++) scene.fill(page);
    expect(scene.zones().filter((zone) => zone === 'movable')).toHaveLength(4);
    scene.world.run(scene.target, sysMunmap(scene.target, BASE, 16n * PAGE));
    expect(scene.frames.freeFrames).toBe(free);
  });
});

const PARTS = [
  ['ZONE_MOVABLE', MOVABLE],
  ['CMA', CMA],
] as const;

describe.each(PARTS)('FOLL_LONGTERM out of %s', (_name, config) => {
  it('moves the pages, keeps their bytes, and pins them where they are now', () => {
    const scene = setUp(config);
    for (const page of [0, 1, 2]) scene.fill(page);
    const before = [0, 1, 2].map(scene.frameOf);
    const free = scene.frames.freeFrames;
    const pages = slots(3);
    expect(pin(scene, pages)).toBe(3);
    expect(scene.zones()).toEqual(['normal', 'normal', 'normal']);
    expect(pages).toEqual([0, 1, 2].map(scene.frameOf));
    expect(pages.some((frame) => before.includes(frame))).toBe(false);
    expect([0n, 1n, 2n].map((page) => scene.world.load(scene.target, BASE + page * PAGE, 1)[0])).toEqual([
      1, 2, 3,
    ]);
    expect(pages.map((frame) => scene.frames.refcount(frame))).toEqual(
      pages.map(() => 1 + GUP_PIN_COUNTING_BIAS),
    );
    expect(scene.frames.freeFrames).toBe(free);
    scene.world.run(scene.target, unpinUserPages(scene.target, pages, 3));
    expect(scene.frames.pinsAcquired).toBe(scene.frames.pinsReleased);
    expectQuiet(scene.world, scene.mm);
  });

  it('lets pages that come in during the call begin where they may stay', () => {
    const scene = setUp(config);
    expect(pin(scene, slots(3))).toBe(3);
    expect(scene.zones()).toEqual(['normal', 'normal', 'normal']);
    // Nothing had to be unpinned to be moved.
    expect([scene.frames.pinsAcquired, scene.frames.pinsReleased]).toEqual([3, 0]);
    expect(scene.target.memallocPin).toBe(false);
  });

  it('is short where a hole ends it, and moves what there is before', () => {
    const scene = setUp(config);
    for (const page of [0, 1, 2]) scene.fill(page);
    const pages = slots(5);
    expect(pin(scene, pages)).toBe(3);
    expect(scene.zones()).toEqual(['normal', 'normal', 'normal']);
    expect(pages.slice(3)).toEqual([-1, -1]);
  });
});

describe.each(PARTS)('a page of %s that cannot move', (_name, config) => {
  it('fails with -ENOMEM, nothing pinned, where somebody else has a reference', () => {
    const scene = setUp(config);
    for (const page of [0, 1, 2]) scene.fill(page);
    const got = slots(1);
    const { world, target, mm } = scene;
    expect(locked(world, target, mm, getUserPages(target, FIRST + 1, 1, 0, got))).toBe(1);
    expect(pin(scene, slots(3))).toBe(-ENOMEM);
    // Those that could move have moved; the one that is held stays where it was, and nothing is pinned.
    expect(scene.frameOf(1)).toBe(got[0]);
    expect([0, 1, 2].map((page) => scene.frames.refcount(scene.frameOf(page)))).toEqual([1, 2, 1]);
    expect(scene.frames.pinsAcquired).toBe(scene.frames.pinsReleased);
    expect(target.memallocPin).toBe(false);
    world.run(target, putUserPage(target, got[0] as number));
    expect(pin(scene, slots(3))).toBe(3);
    expectQuiet(world, mm);
  });

  it('fails where a short pin is on it, which need not move', () => {
    const scene = setUp(config);
    scene.fill(0);
    const short = slots(1);
    expect(pin(scene, short, FOLL_WRITE)).toBe(1);
    expect(scene.frames.zoneOf(short[0] as number)).not.toBe('normal');
    expect(pin(scene, slots(1))).toBe(-ENOMEM);
    expect(scene.frames.refcount(short[0] as number)).toBe(1 + GUP_PIN_COUNTING_BIAS);
    scene.world.run(scene.target, unpinUserPages(scene.target, short, 1));
    expect(pin(scene, slots(1))).toBe(1);
  });

  it('fails with -ENOMEM where there is nowhere to move them', () => {
    const scene = setUp(config);
    scene.fill(0);
    while (scene.frames.allocate() !== -1);
    expect(pin(scene, slots(1))).toBe(-ENOMEM);
    expect(scene.frames.refcount(scene.frameOf(0))).toBe(1);
  });
});

describe.each(PARTS)('other pages of %s', (_name, config) => {
  it('moves a page of shared memory in its file, for all that map it', () => {
    const scene = setUp(config);
    const { world, target } = scene;
    const shared = world.map(target, 16, 1, RW, MAP_SHARED);
    world.store(target, shared, [9]);
    const child = world.fork(target, 'child');
    expect(world.load(child, shared, 1)).toEqual([9]);
    const pages = slots(1);
    const path = pinUserPages(target, FIRST + 16, 1, LONG, pages);
    expect(locked(world, target, scene.mm, path)).toBe(1);
    expect(scene.frames.zoneOf(pages[0] as number)).toBe('normal');
    world.store(target, shared, [10]);
    expect(world.load(child, shared, 1)).toEqual([10]);
    expect(world.frameAt(child, shared)).toBe(pages[0]);
  });

  it('waits for a page that somebody has off its list, and goes on when it is back', () => {
    const scene = setUp(config);
    scene.fill(0);
    const { frames, world, target, mm } = scene;
    const frame = scene.frameOf(0);
    expect(folioIsolateLru(frames, frame)).toBe(true);
    function* withHelp(): Task<number> {
      const path = pinUserPages(target, FIRST, 1, LONG, slots(1));
      let steps = 0;
      for (let step = path.next(); ; step = path.next()) {
        if (step.done === true) return step.value;
        if (++steps === 200) folioPutbackLru(frames, frame);
        yield step.value;
      }
    }
    expect(locked(world, target, mm, withHelp())).toBe(1);
    expect(frames.zoneOf(scene.frameOf(0))).toBe('normal');
  });
});

describe.each(PARTS)('huge pages of %s', (_name, config) => {
  it('move whole, and one entry maps each again', () => {
    const scene = hugeScene(config);
    const { world, target, frames } = scene;
    expect(scene.zone()).toBe(config === CMA ? 'cma' : 'movable');
    const pages = slots(4);
    expect(scene.pin(pages)).toBe(4);
    expect([scene.kind(), scene.zone()]).toEqual([PmdKind.Huge, 'normal']);
    expect(pages).toEqual([4, 5, 6, 7].map((i) => scene.head() + i));
    expect([frames.refcount(scene.head()), frames.maybeDmaPinned(scene.head())]).toEqual([5, true]);
    expect(scene.loaded()).toEqual([7, 8]);
    world.store(target, scene.at + 5n * PAGE, [9]);
    expect(scene.loaded()).toEqual([9, 8]);
    world.run(target, unpinUserPages(target, pages, 4));
    expect(auditKernel(world.kernel, world.system.tlbView)).toEqual([]);
    expectQuiet(world, mmOf(target));
  });

  it('are split where no other of their size is free, and each of their pages moves', () => {
    const scene = hugeScene(config);
    const { world, target, frames } = scene;
    const all: number[] = [];
    for (let frame = frames.allocate(); frame !== -1; frame = frames.allocate()) all.push(frame);
    for (const frame of all) if (frame % 2 === 0) frames.put(frame);
    const pages = slots(4);
    expect(scene.pin(pages)).toBe(4);
    expect(pages.map((frame) => frames.zoneOf(frame))).toEqual(pages.map(() => 'normal'));
    expect(pages.map((frame) => frames.isLarge(frame))).toEqual([false, false, false, false]);
    expect(scene.loaded()).toEqual([7, 8]);
    expectQuiet(world, mmOf(target));
  });

  it('move when fork shares them, and both map them whole', () => {
    const scene = hugeScene(config);
    const { world, target } = scene;
    const child = world.fork(target, 'child');
    const file = scene.head();
    function* move(): Task<number> {
      expect(folioIsolateLru(scene.frames, file)).toBe(true);
      const error = yield* migrateFolio(target, file);
      scene.frames.put(file);
      return error;
    }
    expect(world.run(target, move())).toBe(0);
    expect([scene.kind(), scene.kind(child)]).toEqual([PmdKind.Huge, PmdKind.Huge]);
    expect(scene.head()).not.toBe(file);
    expect(scene.head(child)).toBe(scene.head());
    expect(world.load(child, scene.at + 5n * PAGE, 1)).toEqual([7]);
    expect(auditKernel(world.kernel, world.system.tlbView)).toEqual([]);
  });

  it('stay where they are, mapped as they were, while somebody else holds them', () => {
    const scene = hugeScene(config);
    const { world, frames } = scene;
    const head = scene.head();
    frames.get(head);
    const pages = slots(4);
    expect(scene.pin(pages)).toBe(-ENOMEM);
    expect([scene.kind(), scene.head(), frames.refcount(head)]).toEqual([PmdKind.Huge, head, 2]);
    expect(frames.deferredSplit.size).toBe(0);
    frames.put(head);
    expect(scene.loaded()).toEqual([7, 8]);
    expect(auditKernel(world.kernel, world.system.tlbView)).toEqual([]);
  });
});

/** A huge page of anonymous memory with 7 and 8 in its pages 5 and 6. */
function hugeScene(config: Partial<KernelConfig>) {
  const world = new World(1, undefined, config === CMA ? { cmaPages: 2560 } : { movablePages: 1024 });
  const target = world.process('target');
  world.map(target, 0, 1024, RW);
  world.run(target, sysMadvise(target, BASE, 1024n * PAGE, MADV_HUGEPAGE));
  const first = 512 - (FIRST % 512 || 512);
  const at = BASE + BigInt(first) * PAGE;
  world.store(target, at + 5n * PAGE, [7]);
  world.store(target, at + 6n * PAGE, [8]);
  const { frames, pageTables } = world.kernel;
  const kind = (task = target) => pageTables.pmdKind(rootTable(mmOf(task)), FIRST + first);
  const head = (task = target) => {
    kind(task);
    return pageTables.frame(pageTables.lastLevel - 1);
  };
  return {
    world,
    target,
    frames,
    at,
    kind,
    head,
    zone: () => frames.zoneOf(head()),
    loaded: () => [5n, 6n].map((page) => world.load(target, at + page * PAGE, 1)[0]),
    pin: (pages: number[]) =>
      locked(world, target, mmOf(target), pinUserPages(target, FIRST + first + 4, 4, LONG, pages)),
  };
}

describe('mmap_lock', () => {
  it.each([
    ['NULL: held all the time', null, true],
    ['held: not dropped for moving', { held: true }, true],
  ] as const)('locked %s', (_name, lock, held) => {
    const scene = setUp(MOVABLE);
    const { world, target, mm } = scene;
    scene.fill(0);
    const path = pinUserPagesRemote(target, mm, FIRST, 1, LONG, slots(1), lock);
    expect(locked(world, target, mm, path)).toBe(1);
    expect(lock?.held ?? true).toBe(held);
  });

  it('is taken again for each round of pin_user_pages_unlocked', () => {
    const scene = setUp(MOVABLE);
    const { world, target, mm } = scene;
    scene.fill(0);
    const operations: string[] = [];
    function* watched(): Task<number> {
      const path = pinUserPagesUnlocked(target, FIRST, 1, slots(1), LONG);
      for (let step = path.next(); ; step = path.next()) {
        if (step.done === true) return step.value;
        if (step.value.object === mm.mmapLock) operations.push(step.value.operation);
        yield step.value;
      }
    }
    expect(world.run(target, watched())).toBe(1);
    expect(operations.filter((operation) => operation.includes('down'))).toHaveLength(2);
    expectQuiet(world, mm);
  });
});

describe('what need not move', () => {
  it('the zero page: a private mapping gets a page of its own first', () => {
    const scene = setUp(MOVABLE);
    const { world, target, frames } = scene;
    world.load(target, BASE, 1);
    expect(world.state(target, BASE)).toBe('Z');
    const pages = slots(1);
    expect(pin(scene, pages, FOLL_LONGTERM)).toBe(1);
    expect([world.state(target, BASE), pages[0] === frames.zeroFrame]).toEqual(['X', false]);
    expect(frames.zoneOf(pages[0] as number)).toBe('normal');
  });

  it('memory that is not movable', () => {
    const scene = setUp({});
    scene.fill(0);
    const before = scene.frameOf(0);
    expect(pin(scene, slots(1))).toBe(1);
    expect(scene.frameOf(0)).toBe(before);
  });
});

describe('files whose dirty pages are tracked (vma_needs_dirty_tracking)', () => {
  it.each([
    ['a file of a disk, for writing', false, LONG, -EFAULT],
    ['the same, for reading', false, FOLL_LONGTERM, 1],
    ['the same, a short pin for writing', false, FOLL_WRITE, 1],
    ['tmpfs, for writing', true, LONG, 1],
  ] as const)('%s', (_name, shmem, flags, result) => {
    const scene = setUp({});
    const { world, target, mm } = scene;
    const file = shmem ? memfdCreate(world.kernel, 'f') : diskFile();
    file.mapping.sizeBytes = 4096;
    const path = sysMmap(target, BASE, PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0n);
    expect(world.run(target, path as Task<unknown>)).toBe(BASE);
    expect(locked(world, target, mm, pinUserPages(target, FIRST, 1, flags, slots(1)))).toBe(result);
  });
});

/** Pages that a file system would write back. */
function diskFile(): MappedFile {
  const mapping = new AddressSpace('i_pages disk', 4096, false);
  return new MappedFile({ name: 'disk', mapping, readable: true, writable: true, kind: '/disk' });
}
