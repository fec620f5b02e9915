/** What mremap does to pages, tables and TLBs; and who may come in between. @see Linux mm/mremap.c, `move_page_tables` */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { PointKind, SchedPoint, SharedObject, type Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../src/kernel/mm/mremap-operation.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { SEGV_MAPERR } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { architecture, PROCESSORS } from '../../support/architecture.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const TO = MREMAP_MAYMOVE | MREMAP_FIXED;
const KEEP = TO | MREMAP_DONTUNMAP;
/** BASE_PAGE is eight pages below the end of a pte table. */
const TABLE = 512;
const NEXT_TABLE = 8;

function remap(task: TaskStruct, from: number, old: number, pages: number, flags = 0, to = 0) {
  const bytes = (count: number): bigint => BigInt(count) << 12n;
  return sysMremap(task, addressOf(from), bytes(old), bytes(pages), flags, addressOf(to));
}

function move(
  world: ProcessWorld,
  task: TaskStruct,
  from: number,
  pages: number,
  to: number,
  flags = TO,
): void {
  expect(world.run(task, remap(task, from, pages, pages, flags, to))).toBe(addressOf(to));
}

function pages(world: ProcessWorld, task: TaskStruct, from: number, count: number): string {
  return Array.from({ length: count }, (_, i) => world.page(task, from + i)).join(' ');
}

describe.each(PROCESSORS)('pages that mremap moves, on %o', (processor) => {
  it('are the same pages at the new place, and gone from the old', () => {
    const world = new ProcessWorld({ processor });
    const task = world.process();
    world.map(task, 0, 4, RW);
    world.load(task, 0);
    world.store(task, 1, 7);
    const { frame } = world.pte(task, 1);
    move(world, task, 0, 4, 20);
    expect(pages(world, task, 20, 4)).toBe('Z Xwd - -');
    expect([world.pte(task, 21).frame, world.load(task, 21)]).toEqual([frame, 7]);
    expect(world.load(task, 1)).toMatchObject({ code: SEGV_MAPERR });
    expect([mmOf(task).residentPages, task.minFlt]).toEqual([1, 2]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('keep what mprotect and fork made of their ptes', () => {
    const world = new ProcessWorld({ processor });
    const task = world.process();
    world.map(task, 0, 3, RW);
    world.store(task, 0, 1);
    world.store(task, 1, 2);
    const child = world.fork(task);
    world.store(task, 0, 3);
    move(world, task, 0, 3, 30);
    expect(pages(world, task, 30, 3)).toBe('Xwd Ad2 -');
    world.store(task, 31, 4);
    expect([world.load(child, 1), world.load(task, 31), world.load(task, 30)]).toEqual([2, 4, 3]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('are not there twice after DONTUNMAP: the old range is empty and faults anew', () => {
    const world = new ProcessWorld({ processor });
    const task = world.process();
    world.map(task, 0, 2, RW);
    world.store(task, 0, 5);
    move(world, task, 0, 2, 20, KEEP);
    expect(pages(world, task, 0, 2)).toBe('- -');
    expect([world.load(task, 0), world.load(task, 20)]).toEqual([0, 5]);
    expect(mmOf(task).vmas.lookup(BASE_PAGE)?.anonVma).toBeNull();
    world.store(task, 0, 6);
    expect([world.load(task, 0), world.load(task, 20)]).toEqual([6, 5]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('of shared memory are the object’s, wherever it is mapped, and old length 0 brings none along', () => {
    const world = new ProcessWorld({ processor });
    const task = world.process();
    world.map(task, 0, 4, RW, MAP_SHARED);
    world.store(task, 1, 5);
    expect(world.run(task, remap(task, 1, 0, 2, TO, 20))).toBe(addressOf(20));
    expect([world.page(task, 1), world.page(task, 20)]).toEqual(['Fwd', '-']);
    expect(world.load(task, 20)).toBe(5);
    expect(world.pte(task, 20).frame).toBe(world.pte(task, 1).frame);
    expect(world.page(task, 1)).toBe('Fwd2');
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('tables that mremap moves', () => {
  const tableOf = (world: ProcessWorld, task: TaskStruct, page: number) => {
    const { pageTables } = world.kernel;
    return pageTables.lookup(rootTable(mmOf(task)), BASE_PAGE + page, pageTables.lastLevel);
  };

  it.each([
    ['that are wholly in the range', NEXT_TABLE, TABLE, 4 * TABLE, true],
    ['that hold nothing else below the range', NEXT_TABLE + 100, TABLE, 4 * TABLE, true],
    ['but not when source and target lie otherwise in theirs', NEXT_TABLE, TABLE, 4 * TABLE + 1, false],
    ['but not when the range ends before them', NEXT_TABLE + 100, TABLE - 101, 4 * TABLE, false],
  ] as const)('go as a whole: %s', (_what, from, count, shift, whole) => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, from, count, RW);
    world.store(task, from + 3, 5);
    const table = tableOf(world, task, from + 3);
    const tables = mmOf(task).pgtablesBytes;
    move(world, task, from, count, from + shift);
    expect(tableOf(world, task, from + shift + 3) === table).toBe(whole);
    expect(world.load(task, from + shift + 3)).toBe(5);
    if (whole) expect(mmOf(task).pgtablesBytes).toBe(tables);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('stay where another VMA uses them as well', () => {
    const world = new ProcessWorld();
    const task = world.process();
    const from = NEXT_TABLE + 100;
    world.map(task, NEXT_TABLE, 1, PROT_READ);
    world.load(task, NEXT_TABLE);
    world.map(task, from, TABLE, RW);
    world.store(task, from, 5);
    const table = tableOf(world, task, from);
    move(world, task, from, TABLE, from + 4 * TABLE);
    expect(tableOf(world, task, NEXT_TABLE)).toBe(table);
    expect([world.load(task, NEXT_TABLE), world.load(task, from + 4 * TABLE)]).toEqual([0, 5]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('are given back, and pages moved back, when there is no memory for the new ones', () => {
    const world = new ProcessWorld({ memoryBytes: 0x40_0000 });
    const task = world.process();
    const { frames } = world.kernel;
    world.map(task, 0, 16, RW);
    for (const page of [0, 9]) world.store(task, page, page + 1);
    // The table of the first eight pages moves, that of the others would have to be a new one.
    const taken: number[] = [];
    while (frames.freeFrames > 0) taken.push(frames.allocate());
    const committed = world.kernel.committedPages;
    expect(world.run(task, remap(task, 0, 16, 20, TO, 5 * TABLE))).toBe(-12n);
    for (const frame of taken) frames.put(frame);
    expect([world.load(task, 0), world.load(task, 9)]).toEqual([1, 10]);
    expect(mmOf(task).vmas.lookup(BASE_PAGE + 5 * TABLE)).toBeNull();
    expect(world.kernel.committedPages).toBe(committed);
    expect(world.inconsistencies()).toEqual([]);
  });
});

/** One process with two threads, on three CPUs. */
function threads(policy?: Policy) {
  const world = new ProcessWorld({ cpus: 3, ...(policy === undefined ? {} : { policy }) });
  const one = world.process('one', 0);
  return { world, one, two: world.thread(one, 'two', 1), three: world.thread(one, 'three', 2) };
}

const nextInstruction = new SchedPoint(PointKind.Read, new SharedObject('program'), 'next instruction');

/** Stores 2, 3, … at an address; the code of the signal that ends it, 0 when none does. */
function* storeUntilRefused(task: TaskStruct, address: bigint, stored: number[]): Task<number> {
  for (let value = 2; value < 60; value++) {
    yield nextInstruction;
    const signal = yield* userStore(task, address, Uint8Array.of(value));
    if (signal !== null) return signal.code;
    stored.push(value);
  }
  return 0;
}

/** Frames that some CPU would still let user space reach though they are free. */
function freeFramesInTlbs(world: ProcessWorld, task: TaskStruct): number[] {
  const { kernel } = world;
  const context = mmOf(task).context;
  const view = architecture.createTlbView(kernel.arch);
  const found: number[] = [];
  for (const { id } of kernel.machine.cpus) {
    for (const cached of view.cachedTranslations(id, context === null ? [] : [context])) {
      const reachable = cached.trusted && (cached.flags & EntryFlag.User) !== 0;
      if (reachable && kernel.frames.refcount(cached.frame) === 0) found.push(cached.frame);
    }
  }
  return found;
}

describe('threads beside mremap, on 200 schedules', () => {
  const seeds = Array.from({ length: 200 }, (_, seed) => seed);

  it('a thread that has the page in its TLB does not read it at the old place any more', () => {
    const { world, one, two } = threads();
    world.map(one, 0, 2, RW);
    world.store(two, 0, 5);
    move(world, one, 0, 2, 20);
    expect(world.load(two, 0)).toMatchObject({ code: SEGV_MAPERR });
    expect(world.load(two, 20)).toBe(5);
  });

  it.each([
    ['pte by pte', 0, 4, 20],
    ['a table at once', NEXT_TABLE, TABLE, 4 * TABLE + NEXT_TABLE],
  ] as const)('a store at the old place goes to the page or is refused: %s', (_how, from, count, to) => {
    const seen = new Set<unknown>();
    for (const seed of seeds) {
      const { world, one, two } = threads(new RandomPolicy(seed));
      world.map(one, from, count, RW);
      world.store(two, from, 1);
      const { loop } = world.system;
      const stored: number[] = [];
      loop.start(one, remap(one, from, count, count, TO, to));
      loop.start(two, storeUntilRefused(two, addressOf(from), stored));
      loop.run();
      seen.add(two.result);
      expect([one.result, world.load(one, to)]).toEqual([addressOf(to), stored.at(-1) ?? 1]);
      expect(world.inconsistencies()).toEqual([]);
    }
    expect(seen).toContain(SEGV_MAPERR);
  });

  it('no CPU can reach a page at the old place that was freed at the new one', () => {
    for (const seed of seeds) {
      const { world, one, two, three } = threads(new RandomPolicy(seed));
      world.map(one, 0, 2, RW);
      world.store(two, 0, 1);
      const { loop } = world.system;
      loop.start(one, remap(one, 0, 2, 2, TO, 20));
      loop.start(two, userLoad(two, addressOf(0), new Uint8Array(1)));
      loop.start(three, sysMunmap(three, addressOf(20), 0x2000n));
      loop.run({
        afterStep: () => {
          expect(freeFramesInTlbs(world, one)).toEqual([]);
          return true;
        },
      });
      expect(world.inconsistencies()).toEqual([]);
    }
  });

  it('a fault in the old range left by DONTUNMAP gives a page of its own', () => {
    for (const seed of seeds) {
      const { world, one, two } = threads(new RandomPolicy(seed));
      world.map(one, 0, 1, RW);
      world.store(two, 0, 1);
      const { loop } = world.system;
      loop.start(one, remap(one, 0, 1, 1, KEEP, 20));
      loop.start(two, userStore(two, addressOf(0), Uint8Array.of(2)));
      loop.run();
      const [old, moved] = [world.load(one, 0), world.load(one, 20)];
      expect([`0 2`, `2 1`]).toContain(`${old} ${moved}`);
      expect(world.kernel.frames.hasFlag(world.pte(one, 20).frame, FrameFlag.AnonExclusive)).toBe(true);
      expect(world.inconsistencies()).toEqual([]);
    }
  });
});
