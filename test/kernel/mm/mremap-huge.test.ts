/** mremap of transparent huge pages and of the tables above them. @see Linux mm/mremap.c, mm/huge_memory.c `move_huge_pmd` */
import { describe, expect, it } from 'vitest';
import { describeStale, staleTranslations } from '../../../src/check/stale-translation.ts';
import { MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../src/kernel/mm/mremap-operation.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { PmdKind } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { SEGV_MAPERR } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad } from '../../../src/userland/calls/access.ts';
import { architecture } from '../../support/architecture.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld, type ProcessWorldOptions } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const TO = MREMAP_MAYMOVE | MREMAP_FIXED;
const HUGE = 512;
/** BASE_PAGE is eight pages below the end of a pte table, and this is where the next one begins. */
const FIRST = 8;
const GIB = 512 * HUGE;

function worldWithHugePage(options: ProcessWorldOptions = {}) {
  const world = new ProcessWorld({ memoryBytes: 0x200_0000, ...options });
  const task = world.process();
  world.map(task, FIRST, 2 * HUGE, RW);
  const advice = sysMadvise(task, addressOf(FIRST), BigInt(2 * HUGE) << 12n, MADV_HUGEPAGE);
  expect(world.run(task, advice)).toBe(0);
  expect(world.store(task, FIRST + 3, 7)).toBeNull();
  expect(kindAt(world, task, FIRST)).toBe(PmdKind.Huge);
  return { world, task };
}

/** No CPU holds what the page tables do not say. */
function expectFresh(world: ProcessWorld): void {
  const view = architecture.createTlbView(world.kernel.arch);
  expect(staleTranslations(world.kernel, view).flatMap(describeStale)).toEqual([]);
}

/** Everything is given back when the processes go. */
function expectNothingLeft(world: ProcessWorld, ...tasks: readonly TaskStruct[]): void {
  for (const task of tasks) world.run(task, doExit(task, 0));
  // A CPU keeps the last root table until it loads another.
  const roots = world.kernel.activeMm.filter(({ mm }) => mm !== null && mm.pgd >= 0).length;
  const { frames, committedPages } = world.kernel;
  const hugeZero = frames.freeFrames < frames.frameCount - HUGE ? HUGE : 0;
  expect([frames.freeFrames + roots + 2 + hugeZero, committedPages]).toEqual([frames.frameCount, 0]);
}

function kindAt(world: ProcessWorld, task: TaskStruct, page: number): PmdKind {
  return world.kernel.pageTables.pmdKind(rootTable(mmOf(task)), BASE_PAGE + page);
}

function move(
  world: ProcessWorld,
  task: TaskStruct,
  from: number,
  pages: number,
  to: number,
  flags = TO,
): void {
  const bytes = BigInt(pages) << 12n;
  const call = sysMremap(task, addressOf(from), bytes, bytes, flags, addressOf(to));
  expect(world.run(task, call)).toBe(addressOf(to));
}

describe('a transparent huge page that mremap moves', () => {
  it.each([
    ['to an aligned place', FIRST, HUGE, FIRST + 4 * HUGE],
    ['under another pmd table', FIRST, HUGE, FIRST + GIB],
    ['with the table put by for the next one', FIRST, 2 * HUGE, FIRST + GIB],
  ] as const)('stays one: %s', (_where, from, pages, to) => {
    const { world, task } = worldWithHugePage();
    move(world, task, from, pages, to);
    expect([kindAt(world, task, from), kindAt(world, task, to)]).toEqual([PmdKind.None, PmdKind.Huge]);
    expect([world.load(task, to + 3), world.load(task, to + 4)]).toEqual([7, 0]);
    expect(world.load(task, from + 3)).toMatchObject({ code: SEGV_MAPERR });
    expect(mmOf(task).residentPages).toBe(HUGE);
    expectFresh(world);
    expect(world.run(task, sysMunmap(task, addressOf(to), BigInt(pages) << 12n))).toBe(0);
    expectFresh(world);
    expect(mmOf(task).residentPages).toBe(0);
    expectNothingLeft(world, task);
  });

  it.each([
    ['to a place that is not', FIRST, HUGE, FIRST + 4 * HUGE + 5],
    ['a part of it', FIRST, 100, FIRST + 4 * HUGE],
    ['its end', FIRST + 2, HUGE - 2, FIRST + 4 * HUGE + 2],
  ] as const)('is split to go page by page: %s', (_what, from, pages, to) => {
    const { world, task } = worldWithHugePage();
    move(world, task, from, pages, to);
    expect(kindAt(world, task, to)).toBe(PmdKind.Table);
    expect(world.load(task, to + FIRST + 3 - from)).toBe(7);
    expect(mmOf(task).residentPages).toBe(HUGE);
    expectFresh(world);
    move(world, task, to, pages, FIRST + 8 * HUGE);
    expect(world.load(task, FIRST + 8 * HUGE + FIRST + 3 - from)).toBe(7);
    expectFresh(world);
    expectNothingLeft(world, task);
  });
});

describe('a transparent huge page that others know', () => {
  it('leaves room for another one with DONTUNMAP', () => {
    const { world, task } = worldWithHugePage();
    move(world, task, FIRST, 2 * HUGE, FIRST + 4 * HUGE, TO | MREMAP_DONTUNMAP);
    expect(kindAt(world, task, FIRST)).toBe(PmdKind.None);
    expect(world.store(task, FIRST + 3, 9)).toBeNull();
    expect(kindAt(world, task, FIRST)).toBe(PmdKind.Huge);
    expect([world.load(task, FIRST + 3), world.load(task, FIRST + 4 * HUGE + 3)]).toEqual([9, 7]);
    expectFresh(world);
    expectNothingLeft(world, task);
  });

  it('of a forked process moves in one of the two', () => {
    const { world, task } = worldWithHugePage();
    const child = world.fork(task);
    move(world, task, FIRST, HUGE, FIRST + 4 * HUGE);
    world.store(task, FIRST + 4 * HUGE + 3, 8);
    expect([world.load(child, FIRST + 3), world.load(task, FIRST + 4 * HUGE + 3)]).toEqual([7, 8]);
    expectFresh(world);
    expectNothingLeft(world, task, child);
  });

  it('is no longer read at the old place by a thread that has it in its TLB, on 60 schedules', () => {
    for (let seed = 0; seed < 60; seed++) {
      const { world, task } = worldWithHugePage({ cpus: 2, policy: new RandomPolicy(seed) });
      const thread = world.thread(task, 'thread', 1);
      expect(world.load(thread, FIRST + 3)).toBe(7);
      const { loop } = world.system;
      const bytes = BigInt(HUGE) << 12n;
      const to = addressOf(FIRST + 4 * HUGE);
      loop.start(task, sysMremap(task, addressOf(FIRST), bytes, bytes, TO, to));
      loop.start(thread, userLoad(thread, addressOf(FIRST + 9), new Uint8Array(1)));
      loop.run();
      expect(world.load(thread, FIRST + 3)).toMatchObject({ code: SEGV_MAPERR });
      expectFresh(world);
    }
  });
});

describe('a table of pmds', () => {
  it('moves as a whole where a whole one is moved, with huge pages and tables in it', () => {
    const world = new ProcessWorld({ memoryBytes: 0x200_0000 });
    const task = world.process();
    const { pageTables } = world.kernel;
    const start = GIB - (BASE_PAGE % GIB);
    world.map(task, start, GIB + HUGE, RW, MAP_PRIVATE | MAP_NORESERVE);
    world.store(task, start + 5 * HUGE, 8);
    expect(world.run(task, sysMadvise(task, addressOf(start), BigInt(GIB) << 12n, MADV_HUGEPAGE))).toBe(0);
    world.store(task, start + 3, 7);
    const tableAt = (page: number) =>
      pageTables.lookup(rootTable(mmOf(task)), BASE_PAGE + page, pageTables.lastLevel - 1)?.frame;
    const frame = tableAt(start);
    const to = start + 4 * GIB;
    move(world, task, start, GIB, to);
    expect([tableAt(start), tableAt(to)]).toEqual([undefined, frame]);
    expect([kindAt(world, task, to), kindAt(world, task, to + 5 * HUGE)]).toEqual([
      PmdKind.Huge,
      PmdKind.Table,
    ]);
    expect([world.load(task, to + 3), world.load(task, to + 5 * HUGE)]).toEqual([7, 8]);
    expect(world.load(task, start + 3)).toMatchObject({ code: SEGV_MAPERR });
    expectFresh(world);
    expectNothingLeft(world, task);
  });
});
