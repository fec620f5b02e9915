/** What GUP hands out: which pages, with which references, for which flags; and what it refuses to do. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EINTR, EINVAL } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';
import {
  FOLL_ANON,
  FOLL_DUMP,
  FOLL_FORCE,
  FOLL_GET,
  FOLL_HONOR_NUMA_FAULT,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_NOWAIT,
  FOLL_TOUCH,
  FOLL_WRITE,
  type PageArray,
} from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPageVmaRemote } from '../../../src/kernel/gup/get-user-page-vma-remote.ts';
import { getUserPages, pinUserPages } from '../../../src/kernel/gup/get-user-pages.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import {
  putUserPage,
  unpinUserPage,
  unpinUserPages,
  unpinUserPagesDirtyLock,
} from '../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { MMF_HAS_PINNED, type MmStruct } from '../../../src/kernel/mm/mm.ts';
import { MAP_GROWSDOWN, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, MAP_SHARED, PAGE, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const FIRST = Number(BASE / PAGE);

function setUp() {
  const world = new World();
  const target = world.process('target');
  const caller = world.process('caller');
  return { world, target, caller, mm: target.mm as MmStruct };
}

/** Runs `path` with the target's mmap_lock held for reading. */
function locked<T>(world: World, caller: TaskStruct, mm: MmStruct, path: Task<T>): T {
  function* inside(): Task<T> {
    yield* mmapReadLock(caller, mm);
    const result = yield* path;
    yield* mmapReadUnlock(caller, mm);
    return result;
  }
  return world.run(caller, inside());
}

describe('which pages', () => {
  it('gives the frames that are mapped, over two VMAs', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    world.map(target, 2, 2, PROT_READ);
    world.store(target, BASE, [1]);
    world.store(target, BASE + PAGE, [2]);
    const pages: number[] = [];
    expect(locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST, 4, 0, pages, null))).toBe(4);
    expect(pages).toEqual([0n, 1n, 2n, 3n].map((page) => world.frameAt(target, BASE + page * PAGE)));
    expect(pages.slice(2)).toEqual([world.kernel.frames.zeroFrame, world.kernel.frames.zeroFrame]);
  });

  it('stops at a hole with the pages before it, and says -EFAULT when there are none', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    world.map(target, 3, 1, RW);
    const get = (first: number) =>
      locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST + first, 4, 0, [], null));
    expect([get(0), get(2), get(3)]).toEqual([2, -EFAULT, 1]);
  });

  it('only faults in when no pages are wanted', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 3, RW);
    const call = getUserPagesRemote(caller, mm, FIRST, 3, FOLL_WRITE, null, null);
    expect(locked(world, caller, mm, call)).toBe(3);
    expect(world.state(target, BASE + 2n * PAGE)).toBe('Xw');
    expect(world.kernel.frames.refcount(world.frameAt(target, BASE))).toBe(1);
  });

  it('gives 0 for 0 pages without looking at the address', () => {
    const { world, caller, mm } = setUp();
    expect(locked(world, caller, mm, getUserPagesRemote(caller, mm, 12345, 0, 0, [], null))).toBe(0);
  });

  it.each([
    ['just above user space', 0x7_ffff_ffff],
    ['a non-canonical address', 0x8_0000_0000],
    ['the kernel half', 0xf_8000_0000_0000],
  ])('finds nothing at %s', (_name, page) => {
    const { world, caller, mm } = setUp();
    expect(locked(world, caller, mm, getUserPagesRemote(caller, mm, page, 1, 0, [], null))).toBe(-EFAULT);
  });

  it('never grows a stack (as recorded)', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 16, 2, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    const below = getUserPagesRemote(caller, mm, FIRST + 15, 1, FOLL_FORCE, [], null);
    expect(locked(world, caller, mm, below)).toBe(-EFAULT);
    expect(mm.vmas.find(FIRST)?.start).toBe(FIRST + 16);
  });
});

it('stops for a fatal signal of the caller: with the pages before it, or -EINTR', () => {
  const { world, target, caller, mm } = setUp();
  world.map(target, 0, 3, RW);
  for (const page of [0n, 1n, 2n]) world.store(target, BASE + page * PAGE, [1]);
  const pages: number[] = [];
  const kill = () => caller.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
  function* killedInTheMiddle(): Task<number> {
    const path = getUserPagesRemote(caller, mm, FIRST, 3, 0, pages, null);
    for (let step = path.next(); ; step = path.next()) {
      if (step.done === true) return step.value;
      // The first page is in, and the second one is on its way.
      if (pages.length === 1) kill();
      yield step.value;
    }
  }
  expect(locked(world, caller, mm, killedInTheMiddle())).toBe(2);
  const late = getUserPagesRemote(caller, mm, FIRST, 3, 0, [], null);
  expect(locked(world, caller, mm, late)).toBe(-EINTR);
});

describe('flags', () => {
  const make = {
    untouched: (world: World, target: TaskStruct) => void world.map(target, 0, 1, RW),
    written: (world: World, target: TaskStruct) => {
      world.map(target, 0, 1, RW);
      world.store(target, BASE, [1]);
    },
    zero: (world: World, target: TaskStruct) => {
      world.map(target, 0, 1, RW);
      world.load(target, BASE, 1);
    },
    shared: (world: World, target: TaskStruct) => void world.map(target, 0, 1, RW, MAP_SHARED),
    none: (world: World, target: TaskStruct) => void world.map(target, 0, 1, PROT_NONE),
    noneWritten: (world: World, target: TaskStruct) => {
      make.written(world, target);
      world.protect(target, BASE, 1, PROT_NONE);
    },
  };
  it.each([
    // mm/gup.c: faultin_page, check_vma_flags, no_page_table, follow_page_pte
    ['NOFAULT needs no fault', 'written', FOLL_NOFAULT, 1, 0],
    ['NOFAULT, absent', 'untouched', FOLL_NOFAULT, -EFAULT, 0],
    ['NOFAULT, write to the zero page', 'zero', FOLL_NOFAULT | FOLL_WRITE, -EFAULT, 0],
    ['ANON, anonymous', 'untouched', FOLL_ANON, 1, 1],
    ['ANON, shared', 'shared', FOLL_ANON, -EFAULT, 0],
    ['DUMP, a hole of anonymous memory', 'untouched', FOLL_DUMP, -EFAULT, 0],
    ['DUMP, the zero page', 'zero', FOLL_DUMP, -EFAULT, 0],
    ['DUMP, written', 'written', FOLL_DUMP, 1, 0],
    ['DUMP, shared memory is faulted in', 'shared', FOLL_DUMP, 1, 1],
    ['PROT_NONE without FORCE', 'noneWritten', 0, -EFAULT, 0],
    ['PROT_NONE with FORCE', 'noneWritten', FOLL_FORCE, 1, 0],
    ['PROT_NONE is no NUMA hint', 'noneWritten', FOLL_FORCE | FOLL_HONOR_NUMA_FAULT, 1, 0],
    ['PROT_NONE, forced, untouched', 'none', FOLL_FORCE, 1, 1],
    ['LONGTERM without a pin', 'written', FOLL_LONGTERM, -EINVAL, 0],
    ['an internal flag', 'written', FOLL_TOUCH, -EINVAL, 0],
  ] as const)('%s', (_name, kind, flags, result, faults) => {
    const { world, target, caller, mm } = setUp();
    make[kind](world, target);
    const before = caller.minFlt;
    expect(locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST, 1, flags, [], null))).toBe(result);
    expect(caller.minFlt - before).toBe(faults);
  });

  it('TOUCH marks pages accessed, and dirty on write when the entry is clean; a plain pin does neither', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [1]);
    const { frames, pageTables } = world.kernel;
    const frame = world.frameAt(target, BASE);
    expect(pageTables.flags(pageTables.lastLevel) & EntryFlag.Dirty).not.toBe(0);
    frames.clearFlags(frame, FrameFlag.Referenced | FrameFlag.Dirty);
    world.run(target, pinned(target, []));
    expect(frames.hasFlag(frame, FrameFlag.Referenced)).toBe(false);
    locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST, 1, FOLL_WRITE, [], null));
    expect(frames.hasFlag(frame, FrameFlag.Referenced)).toBe(true);
    // The entry is dirty already: the page will be when the entry goes.
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(false);
  });
});

/** `pin_user_pages` of the caller's own page, under its own lock. */
function* pinned(task: TaskStruct, pages: PageArray): Task<number> {
  yield* mmapReadLock(task, task.mm as MmStruct);
  const result = yield* pinUserPages(task, FIRST, 1, 0, pages);
  yield* mmapReadUnlock(task, task.mm as MmStruct);
  return result;
}

describe('bad arguments', () => {
  it('give -EINVAL from get_* and 0 from the slow pin_* (mm/gup.c)', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    const call = (path: Task<number>) => locked(world, caller, mm, path);
    expect(call(getUserPagesRemote(caller, mm, FIRST, 1, FOLL_TOUCH, [], null))).toBe(-EINVAL);
    expect(call(pinUserPagesRemote(caller, mm, FIRST, 1, FOLL_TOUCH, [], null))).toBe(0);
    expect(call(pinUserPagesRemote(caller, mm, FIRST, 1, FOLL_GET, [], null))).toBe(0);
    expect(call(getUserPagesRemote(caller, mm, FIRST, 1, 0, [], { held: false }))).toBe(-EINVAL);
    expect(call(getUserPages(caller, FIRST, 1, FOLL_LONGTERM, []))).toBe(-EINVAL);
    expect(call(pinUserPages(caller, FIRST, 1, FOLL_TOUCH, []))).toBe(0);
    const out = { pages: [0] as [number], vma: null };
    expect(call(getUserPageVmaRemote(caller, mm, FIRST, FOLL_NOWAIT, out))).toBe(-EINVAL);
  });
});

describe('references', () => {
  it('a GET is one reference, a pin 1024 (include/linux/mm.h, GUP_PIN_COUNTING_BIAS), a pinned zero page nothing', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    world.store(target, BASE, [1]);
    const { frames } = world.kernel;
    const frame = world.frameAt(target, BASE);
    const zeroBefore = frames.refcount(frames.zeroFrame);
    const got: number[] = [];
    const pins: number[] = [];
    locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST, 1, 0, got, null));
    expect(frames.refcount(frame)).toBe(2);
    expect(frames.maybeDmaPinned(frame)).toBe(false);
    expect(mm.flagBits & MMF_HAS_PINNED).toBe(0);
    locked(world, caller, mm, pinUserPagesRemote(caller, mm, FIRST, 2, 0, pins, null));
    expect(frames.refcount(frame)).toBe(2 + GUP_PIN_COUNTING_BIAS);
    expect(frames.maybeDmaPinned(frame)).toBe(true);
    expect(frames.refcount(frames.zeroFrame)).toBe(zeroBefore);
    world.run(caller, putUserPage(caller, frame));
    for (const pin of pins) world.run(caller, unpinUserPage(caller, pin));
    expect(frames.refcount(frame)).toBe(1);
    // A hint that is never taken back.
    expect(mm.flagBits & MMF_HAS_PINNED).not.toBe(0);
  });

  it('unpinning with make_dirty dirties the page; the zero page stays clean', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    world.store(target, BASE, [1]);
    const { frames } = world.kernel;
    const frame = world.frameAt(target, BASE);
    frames.clearFlags(frame, FrameFlag.Dirty);
    const pins: number[] = [];
    locked(world, caller, mm, pinUserPagesRemote(caller, mm, FIRST, 2, 0, pins, null));
    world.run(caller, unpinUserPagesDirtyLock(caller, pins, 2, true));
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(true);
    expect(frames.hasFlag(frames.zeroFrame, FrameFlag.Dirty)).toBe(false);
  });
});

describe('what references keep', () => {
  it('a referenced page outlives its mapping, and is free with its last reference', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [42]);
    const pages: number[] = [];
    locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST, 1, 0, pages, null));
    const [frame] = pages as [number];
    expect(world.run(target, sysMunmap(target, BASE, PAGE))).toBe(0);
    const bytes = new Uint8Array(1);
    world.system.machine.memory.readBytes(frame, 0, bytes);
    expect([bytes[0], world.kernel.frames.refcount(frame)]).toEqual([42, 1]);
    world.run(caller, putUserPage(caller, frame));
    expect(world.kernel.frames.refcount(frame)).toBe(0);
  });

  it('a pinned page stays with the parent over fork, the child gets a copy', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [7]);
    const pins: number[] = [];
    locked(world, caller, mm, pinUserPagesRemote(caller, mm, FIRST, 1, FOLL_WRITE, pins, null));
    const child = world.fork(target, 'child');
    expect(world.frameAt(target, BASE)).toBe(pins[0]);
    expect(world.frameAt(child, BASE)).not.toBe(pins[0]);
    expect(world.load(child, BASE, 1)).toEqual([7]);
    world.run(caller, unpinUserPages(caller, pins, 1));
  });
});

const pageIndex = fc.integer({ min: 0, max: 5 });
const prot = fc.constantFrom(0, 1, 2, 3);
const step = fc.oneof(
  fc.record({ kind: fc.constant('map' as const), at: pageIndex, prot }),
  fc.record({ kind: fc.constant('unmap' as const), at: pageIndex }),
  fc.record({ kind: fc.constant('protect' as const), at: pageIndex, prot }),
  fc.record({ kind: fc.constant('fork' as const), at: pageIndex }),
  fc.record({
    kind: fc.constantFrom('get' as const, 'pin' as const),
    at: pageIndex,
    count: fc.integer({ min: 1, max: 4 }),
    flags: fc.constantFrom(0, FOLL_WRITE, FOLL_FORCE, FOLL_FORCE | FOLL_WRITE, FOLL_NOFAULT, FOLL_ANON),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Access = Extract<Step, { count: number }>;

/** A target under random changes, with what GUP handed out so far: the weight of our references by frame. */
class Sequence {
  readonly setting = setUp();
  readonly held = new Map<number, number>();
  children = 0;

  apply(s: Step): void {
    const { world, target } = this.setting;
    const address = BASE + BigInt(s.at) * PAGE;
    if (s.kind === 'map') world.map(target, s.at, 2, s.prot);
    else if (s.kind === 'unmap') world.run(target, sysMunmap(target, address, PAGE));
    else if (s.kind === 'protect') world.tryProtect(target, address, 1, s.prot);
    else if (s.kind === 'fork') world.fork(target, `child ${++this.children}`);
    else this.access(s);
  }

  access({ kind, at, count, flags }: Access): void {
    const { world, caller, mm } = this.setting;
    const call = kind === 'get' ? getUserPagesRemote : pinUserPagesRemote;
    const pages = new Array<number>(count).fill(-1);
    const got = Math.max(
      0,
      locked(world, caller, mm, call(caller, mm, FIRST + at, count, flags, pages, null)),
    );
    expect(pages.slice(got).every((frame) => frame === -1)).toBe(true);
    for (const frame of pages.slice(0, got)) {
      if (kind === 'pin') this.expectPinnable(frame);
      this.held.set(frame, (this.held.get(frame) ?? 0) + (kind === 'pin' ? GUP_PIN_COUNTING_BIAS : 1));
    }
  }

  expectPinnable(frame: number): void {
    const { frames } = this.setting.world.kernel;
    if (frames.hasFlag(frame, FrameFlag.Anon))
      expect(frames.hasFlag(frame, FrameFlag.AnonExclusive)).toBe(true);
  }

  expectBalanced(): void {
    const { frames } = this.setting.world.kernel;
    for (const [frame, weight] of this.held) {
      if (!frames.isZeroFrame(frame)) expect(frames.refcount(frame)).toBe(frames.mapcount(frame) + weight);
    }
  }
}

it('any sequence of accesses takes as many references as it returns pages, and pins only exclusive anonymous pages', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const sequence = new Sequence();
      for (const s of steps) sequence.apply(s);
      sequence.expectBalanced();
    }),
    { numRuns: 150, seed: 5 },
  );
});
