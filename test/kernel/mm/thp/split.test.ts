/**
 * From one pmd to a table of ptes and what becomes of the parts: unmapping, mprotect, fork with pins, GUP.
 * @see Linux mm/huge_memory.c, `__split_huge_pmd_locked`, `zap_huge_pmd`, `change_huge_pmd`, `copy_huge_pmd`
 */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import type { Task } from '../../../../src/base/task.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { FOLL_FORCE, FOLL_SPLIT_PMD, FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { getUserPages, pinUserPages } from '../../../../src/kernel/gup/get-user-pages.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { MADV_COLLAPSE, MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { PROT_NONE, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { PmdKind, pteIndex } from '../../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../../src/kernel/mm/page-table-alloc.ts';
import { SEGV_ACCERR } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { architectureName, PROCESSORS } from '../../../support/architecture.ts';
import { advise, bytes, pages } from '../madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf, type ProcessWorld } from '../process-world.ts';
import {
  expectNothingLeft,
  expectSound,
  FIRST,
  HUGE,
  type HugeScene,
  hugeFrame,
  hugeScene,
  pmdKindAt,
  RW,
} from './support.ts';

/** A huge page with its page numbers in its first bytes where a test looks. */
function written(options: Parameters<typeof hugeScene>[0] = {}): HugeScene {
  const scene = hugeScene(options);
  for (const page of [0, 5, 17, 511]) scene.world.store(scene.task, FIRST + page, page % 251);
  return scene;
}

function expectContents(world: ProcessWorld, task: TaskStruct, at: readonly number[]): void {
  for (const page of at) expect(world.load(task, FIRST + page)).toBe(page % 251);
}

/** EntryFlag bits of a pte, Cont included. */
function pteFlags({ world, task }: HugeScene, page: number): number {
  const { pageTables } = world.kernel;
  const table = pageTables.lookup(rootTable(mmOf(task)), BASE_PAGE + page, pageTables.lastLevel);
  if (table === null) return 0;
  pageTables.read(table, pteIndex(pageTables, BASE_PAGE + page));
  return pageTables.flags(table.level);
}

describe('taking away a part of a huge page', () => {
  it.each([
    [
      'munmap',
      (world: ProcessWorld, task: TaskStruct) =>
        world.run(task, sysMunmap(task, addressOf(FIRST + 16), bytes(2))),
    ],
    [
      'DONTNEED',
      (world: ProcessWorld, task: TaskStruct) => advise(world, task, FIRST + 16, 2, MADV_DONTNEED),
    ],
  ])('%s splits the pmd; the folio stays one, waiting to be split when memory is short', (_, take) => {
    const scene = written();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    take(world, task);
    expect(pages(task)).toEqual([`${FIRST}+16 PXH`, `${FIRST + 18}+494 PXH`]);
    const { frames } = world.kernel;
    expect([...frames.deferredSplit]).toEqual([head]);
    expect(frames.refcount(head)).toBe(510);
    expect(mmOf(task).residentPages).toBe(510);
    expectContents(world, task, [0, 5, 511]);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('all of it, at once, frees page and table', () => {
    const scene = written();
    const { world, task } = scene;
    const before = mmOf(task).pgtablesBytes;
    world.run(task, sysMunmap(task, addressOf(FIRST), bytes(HUGE)));
    expect(pages(task)).toEqual([]);
    expect(mmOf(task).pgtablesBytes).toBeLessThan(before);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('of the huge zero page leaves small zero pages', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    world.load(task, FIRST);
    advise(world, task, FIRST + 3, 1, MADV_DONTNEED);
    expect(pages(task)).toEqual([`${FIRST}+3 PZ`, `${FIRST + 4}+508 PZ`]);
    world.store(task, FIRST + 9, 1);
    expect(world.page(task, FIRST + 9)).toBe('Xwd');
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('mprotect', () => {
  it('of all of it keeps it whole, and back to writable without a fault', () => {
    const scene = written();
    const { world, task } = scene;
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), PROT_READ));
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Huge);
    expect(world.store(task, FIRST, 1)).toMatchObject({ code: SEGV_ACCERR });
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), RW));
    const before = task.minFlt;
    expect(world.store(task, FIRST + 17, 17)).toBeNull();
    expect(task.minFlt - before).toBe(0);
    expectContents(world, task, [0, 5, 17, 511]);
    expectSound(scene);
  });

  it('PROT_NONE hides all of it and keeps its contents', () => {
    const scene = written();
    const { world, task } = scene;
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), PROT_NONE));
    expect(world.load(task, FIRST)).toMatchObject({ code: SEGV_ACCERR });
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), RW));
    expectContents(world, task, [0, 5, 17, 511]);
    expectSound(scene);
  });

  it('of a part splits the pmd at the VMA’s boundary and keeps exclusivity page by page', () => {
    const scene = written();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    world.run(task, sysMprotect(task, addressOf(FIRST + 5), bytes(1), PROT_READ));
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Table);
    expect([4, 5, 6].map((page) => world.page(task, FIRST + page))).toEqual(['Xwd', 'Xd', 'Xwd']);
    expect(world.kernel.frames.folioMapcount(head)).toBe(512);
    expectContents(world, task, [0, 5, 17, 511]);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe.runIf(architectureName === 'arm64')('contiguous ptes of a split huge page', () => {
  it('stand in runs of 16, but for the one in which an entry differs', () => {
    const scene = written();
    const { world, task } = scene;
    advise(world, task, FIRST + 37, 1, MADV_DONTNEED);
    const cont = (page: number) => (pteFlags(scene, FIRST + page) & EntryFlag.Cont) !== 0;
    expect([0, 15, 16, 31, 32, 36, 47, 48, 511].map(cont)).toEqual([
      true,
      true,
      true,
      true,
      false,
      false,
      false,
      true,
      true,
    ]);
    expectSound(scene);
  });
});

/** With mmap_lock held for reading: what `body` gives. */
function* locked<T>(task: TaskStruct, body: Task<T>): Task<T> {
  yield* mmapReadLock(task, mmOf(task));
  const result = yield* body;
  yield* mmapReadUnlock(task, mmOf(task));
  return result;
}

describe.each(PROCESSORS)('on processor %j', (processor) => {
  it('a split goes through an invalid entry and a flush, whoever has the huge translation cached', () => {
    const scene = hugeScene({ cpus: 2, processor });
    const { world, task } = scene;
    const second = world.thread(task, 'second', 1);
    for (const each of [task, second]) expect(world.store(each, FIRST + 20, 20)).toBeNull();
    advise(world, task, FIRST + 40, 1, MADV_DONTNEED);
    expect(world.store(second, FIRST + 40, 40)).toBeNull();
    expect([world.load(task, FIRST + 20), world.load(task, FIRST + 40)]).toEqual([20, 40]);
    expectSound(scene);
  });

  it('so does a collapse', () => {
    const scene = hugeScene({ cpus: 2, processor, memoryBytes: 0x400_0000 });
    const { world, task } = scene;
    const second = world.thread(task, 'second', 1);
    world.store(task, FIRST + 20, 20);
    advise(world, task, FIRST + 40, 1, MADV_DONTNEED);
    for (const each of [task, second]) expect(world.load(each, FIRST + 20)).toBe(20);
    expect(advise(world, task, FIRST, HUGE, MADV_COLLAPSE)).toBe('ok');
    expect(world.store(second, FIRST + 40, 40)).toBeNull();
    expect([world.load(task, FIRST + 20), world.load(task, FIRST + 40)]).toEqual([20, 40]);
    expectSound(scene);
  });
});

describe('GUP', () => {
  it('takes every page of one pmd in one go, each with a reference on the folio', () => {
    const scene = written();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const { frames } = world.kernel;
    const got: number[] = [];
    const get = getUserPages(task, BASE_PAGE + FIRST + 500, 12, FOLL_WRITE, got);
    expect(world.run(task, locked(task, get))).toBe(12);
    expect(got).toEqual(Array.from({ length: 12 }, (_, i) => head + 500 + i));
    expect(frames.refcount(head)).toBe(13);
    for (const frame of got) frames.put(frame);
    expectSound(scene);
  });

  it('with FOLL_SPLIT_PMD splits it first', () => {
    const scene = written();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const got: number[] = [];
    const get = getUserPages(task, BASE_PAGE + FIRST + 5, 1, FOLL_SPLIT_PMD, got);
    expect(world.run(task, locked(task, get))).toBe(1);
    expect([got, pmdKindAt(scene, FIRST)]).toEqual([[head + 5], PmdKind.Table]);
    world.kernel.frames.put(head + 5);
    expectSound(scene);
  });

  it('forced, writes to a read-only huge page that is exclusive, without making it writable', () => {
    const scene = written();
    const { world, task } = scene;
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), PROT_READ));
    const head = hugeFrame(scene, FIRST);
    const got: number[] = [];
    const get = getUserPages(task, BASE_PAGE + FIRST + 5, 1, FOLL_WRITE | FOLL_FORCE, got);
    expect(world.run(task, locked(task, get))).toBe(1);
    expect(got).toEqual([head + 5]);
    world.kernel.frames.put(head + 5);
    expect(world.store(task, FIRST, 1)).toMatchObject({ code: SEGV_ACCERR });
    expectSound(scene);
  });
});

describe('a pin', () => {
  it('for reading unshares the page first: only that one is copied', () => {
    const scene = written();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const child = world.fork(task);
    const got: number[] = [];
    expect(world.run(task, locked(task, pinUserPages(task, BASE_PAGE + FIRST + 5, 2, 0, got)))).toBe(2);
    expect(got.map((frame) => frame === head + 5 || frame === head + 6)).toEqual([false, false]);
    expect(pages(task)).toEqual([`${FIRST}+5 PHm2`, `${FIRST + 5}+2 PX`, `${FIRST + 7}+505 PHm2`]);
    expect(world.page(task, FIRST + 5)).toBe('X');
    world.run(task, unpinUserPages(task, got, 2));
    expectSound(scene);
    expectNothingLeft(scene, child);
  });

  it('keeps its page when the process forks: the pmd is split and every page of the folio copied', () => {
    const scene = written();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const got: number[] = [];
    const pin = pinUserPages(task, BASE_PAGE + FIRST + 5, 1, FOLL_WRITE, got);
    expect(world.run(task, locked(task, pin))).toBe(1);
    expect(world.kernel.frames.maybeDmaPinned(head)).toBe(true);
    const child = world.fork(task);
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect(pages(child)).toEqual([`${FIRST}+512 PX`]);
    expect(world.pte(task, FIRST + 5).frame).toBe(head + 5);
    expectContents(world, child, [0, 5, 17, 511]);
    expect(world.kernel.frames.hasFlag(head + 5, FrameFlag.AnonExclusive)).toBe(true);
    world.run(task, unpinUserPages(task, got, 1));
    expectSound(scene);
    expectNothingLeft(scene, child);
  });
});
