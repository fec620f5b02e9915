/**
 * What each design does with its locks, counted from the points that a transfer really passes: what it takes and how often, what
 * it does itself and what it leaves to today's code, by whom it is held up.
 */
import { describe, expect, it } from 'vitest';
import { type SchedPoint, StepCost, type Task } from '../../../../src/base/task.ts';
import { EFAULT } from '../../../../src/kernel/errno.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { getUserPagesRemote } from '../../../../src/kernel/gup/get-user-pages-remote.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { MAP_GROWSDOWN, MAP_HUGETLB, MAP_PRIVATE } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import type { VmArea } from '../../../../src/kernel/mm/vma.ts';
import { vmaStartWrite } from '../../../../src/kernel/mm/vma-lock.ts';
import type { DesignName } from '../../../../src/kernel/remote/design-names.ts';
import { DESIGNS, designNamed } from '../../../../src/kernel/remote/designs/registry.ts';
import {
  getLockedRemotePage,
  lockRemotePage,
  pinRemotePages,
  unlockRemotePage,
} from '../../../../src/kernel/remote/remote-lock.ts';
import { addressOf, BASE_PAGE, mmOf } from '../../mm/process-world.ts';
import { MISSING, UffdWorld } from '../../mm/userfaultfd/uffd-world.ts';
import { DesignWorld, HUGE_AT, logged, RW } from './support.ts';
import { TurnsWorld } from './turns.ts';

/** Takes and releases by kind of object: counted atomics on lines that other CPUs use. */
function atomics(log: readonly SchedPoint[]): Record<string, number> {
  const counts: Record<string, number> = { mmap_lock: 0, vma: 0, ptl: 0 };
  for (const { object, cost } of log) {
    const kind = object.name.startsWith('mmap_lock')
      ? 'mmap_lock'
      : object.name.startsWith('vma ')
        ? 'vma'
        : object.name.startsWith('ptl')
          ? 'ptl'
          : null;
    if (kind !== null && cost === StepCost.AtomicUpdate) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

function readLogged(world: DesignWorld, page: number, pages: number): { log: SchedPoint[]; moved: number } {
  const log: SchedPoint[] = [];
  const buffer = new Uint8Array(pages * 4096);
  const moved = world.run(world.reader, logged(world.transfer(page, buffer), log));
  return { log, moved };
}

describe('atomic updates of shared lines in a read of present pages', () => {
  // A page table's lock costs one when it is free: its release is a plain store.
  it.each([
    ['v0', 1, { mmap_lock: 2, vma: 0, ptl: 1 }],
    ['v1', 1, { mmap_lock: 0, vma: 2, ptl: 1 }],
    ['v2', 1, { mmap_lock: 0, vma: 2, ptl: 1 }],
    ['v3', 1, { mmap_lock: 0, vma: 2, ptl: 1 }],
    ['v4', 1, { mmap_lock: 0, vma: 2, ptl: 1 }],
    ['v5', 1, { mmap_lock: 0, vma: 2, ptl: 0 }],
    ['v6', 1, { mmap_lock: 0, vma: 0, ptl: 0 }],
    ['v0', 4, { mmap_lock: 2, vma: 0, ptl: 4 }],
    ['v1', 4, { mmap_lock: 0, vma: 8, ptl: 4 }],
    ['v2', 4, { mmap_lock: 2, vma: 0, ptl: 4 }],
    ['v3', 4, { mmap_lock: 0, vma: 2, ptl: 4 }],
    ['v4', 4, { mmap_lock: 0, vma: 2, ptl: 4 }],
    ['v5', 4, { mmap_lock: 0, vma: 2, ptl: 0 }],
    ['v6', 4, { mmap_lock: 0, vma: 0, ptl: 0 }],
  ] as const)('%s, %i pages', (design, pages, expected) => {
    const world = new DesignWorld(design);
    world.map(world.target, 0, 4, RW);
    world.fill(0, 4);
    const { log, moved } = readLogged(world, 0, pages);
    expect(moved).toBe(pages * 4096);
    expect(atomics(log)).toEqual(expected);
  });
});

describe('during the walk', () => {
  it.each([
    ['v1', false],
    ['v2', true],
    ['v3', false],
    ['v4', false],
    ['v5', true],
    ['v6', true],
  ] as const)('of %s interrupts are off: %s', (design, off) => {
    const world = new DesignWorld(design);
    world.map(world.target, 0, 1, RW);
    world.fill(0, 1);
    const seen = new Set<boolean>();
    const path = world.transfer(0, new Uint8Array(8));
    const watched = (function* (): Task<number> {
      for (;;) {
        const step = path.next();
        if (step.done) return step.value;
        if (/^(ptl |pte@|pt@|PTE)/i.test(step.value.object.name)) {
          seen.add((world.reader.processor?.interruptsDisabled ?? 0) > 0);
        }
        yield step.value;
      }
    })();
    expect(world.run(world.reader, watched)).toBe(8);
    expect([...seen]).toEqual([off]);
    expect(world.reader.processor?.interruptsDisabled ?? 0).toBe(0);
  });
});

/** What was left to mmap_lock and why, for a transfer of 8 bytes that must be whole. */
function expectFallbacks(
  world: DesignWorld,
  page: number,
  gupFlags: number,
  offset: number,
  expected: object,
): void {
  const buffer = new Uint8Array(8).fill(5);
  expect(world.run(world.reader, world.transfer(page, buffer, gupFlags, offset))).toBe(8);
  expect(world.fallbacks).toEqual(expected);
  expect(world.leftovers()).toEqual([]);
}

type Expected = Partial<Record<DesignName, string>>;

describe.each([
  [
    'a page that was never touched',
    0,
    0,
    0,
    { v1: 'absent page', v2: 'absent page', v3: 'absent page', v5: 'absent page', v6: 'absent page' },
  ],
  ['a zero page', 1, 0, 0, { v5: 'lockless walk stopped', v6: 'lockless walk stopped' }],
  ['a write to a present page', 2, FOLL_WRITE, 0, { v1: 'write', v2: 'write', v3: 'write', v6: 'write' }],
  [
    'a read over two VMAs',
    3,
    0,
    4092,
    { v3: 'several VMAs', v4: 'several VMAs', v5: 'several VMAs', v6: 'several VMAs' },
  ],
  ['memory without VM_READ, forced', 4, FOLL_FORCE, 0, { v5: 'absent page', v6: 'absent page' }],
  [
    'a huge page of a pool',
    HUGE_AT,
    0,
    0,
    { v1: 'hugetlb', v2: 'hugetlb', v3: 'hugetlb', v5: 'hugetlb', v6: 'hugetlb' },
  ],
  [
    'an address just below a stack',
    1196,
    0,
    0,
    Object.fromEntries(['v1', 'v2', 'v3', 'v4', 'v5', 'v6'].map((name) => [name, 'hole or stack growth'])),
  ],
] as readonly (readonly [string, number, number, number, Expected])[])(
  '%s',
  (_, page, gupFlags, offset, expected) => {
    it.each(['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const)('under %s', (design) => {
      const world = new DesignWorld(design);
      const { target } = world;
      world.map(target, 0, 4, RW);
      world.load(target, 1);
      world.fill(2, 2);
      world.map(target, 4, 1, RW);
      world.fill(4, 1);
      expect(world.run(target, sysMprotect(target, addressOf(4), 4096n, 0))).toBe(0);
      world.map(target, HUGE_AT, 512, RW, MAP_PRIVATE | MAP_HUGETLB);
      world.store(target, HUGE_AT, 1);
      world.map(target, 1200, 2, RW, MAP_PRIVATE | MAP_GROWSDOWN);
      // Page 4 is forced where it is read over the border.
      const flags = offset === 0 ? gupFlags : gupFlags | FOLL_FORCE;
      const reason = expected[design];
      expectFallbacks(world, page, flags, offset, reason === undefined ? {} : { [reason]: 1 });
    });
  },
);

describe('GUP alone', () => {
  it('does not make a stack grow', () => {
    const world = new DesignWorld('v4');
    const { target, reader } = world;
    world.map(target, 1200, 2, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    const mm = mmOf(target);
    const path = (function* (): Task<number> {
      yield* mm.mmapLock.downRead(reader);
      const got = yield* getUserPagesRemote(reader, mm, BASE_PAGE + 1196, 1, 0, [0], null);
      yield* mm.mmapLock.upRead(reader);
      return got;
    })();
    expect(world.run(reader, path)).toBe(-EFAULT);
  });
});

describe('without VMA locks in the kernel', () => {
  it.each(['v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const)('%s is today', (design) => {
    const world = new DesignWorld(design, { kernel: { perVmaLocks: false } });
    world.map(world.target, 0, 1, RW);
    world.fill(0, 1);
    expect(world.read(0, 1)).toEqual([4096, 1]);
    expect(world.fallbacks).toEqual({ 'no VMA locks': 1 });
  });
});

/** A thread of the target that holds mmap_lock for writing, and one VMA if it is given. */
function* holding(world: TurnsWorld, vma: VmArea | null): Task<void> {
  const { writer } = world;
  const mm = mmOf(writer);
  yield* mmapWriteLock(writer, mm);
  if (vma !== null) yield* vmaStartWrite(writer, mm, vma);
  yield* mmapWriteUnlock(writer, mm);
}

describe('a writer that holds mmap_lock', () => {
  const begin = (design: DesignName, writeLocked: boolean): TurnsWorld => {
    const world = new TurnsWorld(design);
    world.map(world.target, 0, 1, RW);
    world.fill(0, 1);
    const vma = writeLocked ? (mmOf(world.target).vmas.lookup(BASE_PAGE) as VmArea) : null;
    world.director.start(world.writer, holding(world, vma));
    world.director.until(world.writer, 'vma_end_write_all');
    world.director.start(world.reader, world.transfer(0, new Uint8Array(8)));
    return world;
  };

  it.each([
    ['v0', true],
    ['v1', false],
    ['v2', false],
    ['v3', false],
    ['v4', false],
    ['v5', false],
    // It has no other lock than that one to ask.
    ['v6', true],
  ] as const)('but not the VMA holds up %s: %s', (design, blocked) => {
    const world = begin(design, false);
    const { director, reader, writer } = world;
    if (blocked) expect(director.block(reader)).toBe('down_read_killable');
    else expect(director.finish(reader)).toBe(8);
    expect(world.fallbacks).toEqual(design === 'v6' ? { 'a writer holds mmap_lock': 1 } : {});
    director.finishAll(writer, reader);
    expect(reader.result).toBe(8);
  });

  it.each(['v1', 'v2', 'v3', 'v4', 'v5'] as const)(
    'and the VMA holds up %s, which waits without the lock of the VMA',
    (design) => {
      const world = begin(design, true);
      const { director, reader, writer } = world;
      expect(director.block(reader)).toBe('down_read_killable');
      expect(world.fallbacks).toEqual({ 'VMA write-locked': 1 });
      expect(mmOf(world.target).vmas.lookup(BASE_PAGE)?.readers).toEqual([]);
      director.finishAll(writer, reader);
      expect(reader.result).toBe(8);
      expect(world.leftovers()).toEqual([]);
    },
  );
});

describe('v4', () => {
  it('goes on under mmap_lock from the page whose fault lets the lock of the VMA go', () => {
    const world = new TurnsWorld('v4');
    const { director, reader, writer, target } = world;
    world.map(target, 0, 2, RW);
    // No page of its own yet, so no anon_vma: the first write needs mmap_lock for a moment, and only tries it.
    director.start(writer, holding(world, null));
    director.until(writer, 'vma_end_write_all');
    const buffer = new Uint8Array(2 * 4096).fill(6);
    director.start(reader, world.transfer(0, buffer, FOLL_WRITE));
    expect(director.block(reader)).toBe('down_read_killable');
    expect(world.fallbacks).toEqual({ 'lock lost in a fault': 1 });
    director.finishAll(writer, reader);
    expect(reader.result).toBe(2 * 4096);
    expect([world.load(target, 0), world.load(target, 1, 4095)]).toEqual([6, 6]);
    expect(world.leftovers()).toEqual([]);
  });

  it('pins under the lock of the VMA, and waits for it to be found again under mmap_lock', () => {
    const world = new TurnsWorld('v4');
    const { director, reader, writer, target } = world;
    world.map(target, 0, 2, RW);
    director.start(writer, holding(world, null));
    director.until(writer, 'vma_end_write_all');
    const pages = [0, 0];
    director.start(reader, pinRemotePages(reader, mmOf(target), BASE_PAGE, 2, FOLL_WRITE, pages));
    expect(director.block(reader)).toBe('down_read_killable');
    director.finishAll(writer, reader);
    expect(world.fallbacks).toEqual({ 'lock lost in a fault': 1 });
    expect(reader.result).toBe(2);
    world.run(reader, unpinUserPages(reader, pages, 2));
    expect(world.leftovers()).toEqual([]);
  });

  it.each([
    ['v0', 'mmap_lock'],
    ['v3', 'mmap_lock'],
    ['v4', 'the VMA'],
  ] as const)('as %s, one page is locked for other paths by %s', (design, by) => {
    const world = new DesignWorld(design);
    const { reader, target } = world;
    world.map(target, 0, 1, RW);
    world.fill(0, 1);
    const mm = mmOf(target);
    const out: { pages: [number]; vma: VmArea | null } = { pages: [0], vma: null };
    const path = (function* (): Task<readonly unknown[]> {
      const lock = yield* lockRemotePage(reader, mm, BASE_PAGE);
      const got = yield* getLockedRemotePage(reader, lock, BASE_PAGE, 0, out);
      const held = [mm.mmapLock.isReadBy(reader), lock.vma !== null];
      world.kernel.frames.put(out.pages[0]);
      yield* unlockRemotePage(reader, lock);
      return [got, ...held];
    })();
    expect(world.run(reader, path)).toEqual([0, by === 'mmap_lock', by === 'the VMA']);
    expect(out.vma?.start).toBe(BASE_PAGE);
    expect(world.leftovers()).toEqual([]);
  });
});

describe('a page that waits for userfaultfd', () => {
  it.each(DESIGNS.filter(({ wrong }) => wrong === undefined))(
    'gives a short count under $name, and a pin waits for it without any lock',
    ({ name, accessRemoteVm }) => {
      const world = new UffdWorld({ cpus: 2, kernel: { lockdep: true } });
      const { owner } = world;
      world.kernel.remoteAccess = designNamed(name);
      const reader = world.process('reader', 1);
      world.map(owner, 0, 2, RW);
      world.store(owner, 0, 3);
      world.register(0, 2, MISSING);
      const mm = mmOf(owner);
      const buffer = new Uint8Array(2 * 4096);
      const transfer = { mm, page: BASE_PAGE, offset: 0, buffer, length: buffer.length, gupFlags: 0 };
      expect(world.run(reader, accessRemoteVm(reader, transfer))).toBe(4096);
      expect(world.event()).toBe('-');

      const pages = [0, 0];
      const pin = world.begin(reader, pinRemotePages(reader, mm, BASE_PAGE, 2, 0, pages));
      expect(pin.ended).toBe(false);
      expect([mm.mmapLock.isLocked(), mm.vmas.lookup(BASE_PAGE)?.refcount]).toEqual([false, 1]);
      expect(world.event()).toBe('1 0');
      expect(world.copy(1, 7).error).toBe(0);
      world.settle();
      expect(pin.result).toBe(2);
      world.run(reader, unpinUserPages(reader, pages, 2));
      expect(buffer[0]).toBe(3);
      const lost = world.kernel.remoteCounters.fallbacks('lock lost in a fault');
      expect(lost).toBe(name === 'v4' ? 1 : 0);
      world.expectConsistent();
    },
  );
});

describe('what a design says of itself', () => {
  it('is there for each, by name', () => {
    expect(DESIGNS.map(({ name }) => name).join(' ')).toBe('v0 v1 v2 v3 v4 v5 v6 n1 n2 n3 n4');
    for (const { name, wrong, title } of DESIGNS) {
      expect(title).not.toBe('');
      expect(wrong !== undefined).toBe(name.startsWith('n'));
    }
  });
});
