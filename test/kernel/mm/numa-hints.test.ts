/**
 * Entries that NUMA balancing has marked: which are, what faults, GUP, fork, mprotect and huge pages make of them.
 * mm/mprotect.c, `change_pte_range`; mm/memory.c, `do_numa_page`; include/linux/mm.h, `gup_can_follow_protnone`.
 */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { auditKernel } from '../../../src/check/mm-invariants.ts';
import { EFAULT } from '../../../src/kernel/errno.ts';
import * as foll from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPages, pinUserPages } from '../../../src/kernel/gup/get-user-pages.ts';
import { gupFast } from '../../../src/kernel/gup/gup-fast.ts';
import { putUserPage, unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { FAULT_FLAG_VMA_LOCK } from '../../../src/kernel/mm/fault/fault-flags.ts';
import { handleMmFault } from '../../../src/kernel/mm/fault/handle-mm-fault.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_NONE, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { PmdKind } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { taskNumaWork } from '../../../src/kernel/mm/task-numa-work.ts';
import { vmaEndRead } from '../../../src/kernel/mm/vma-lock.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { FIRST, locked, mmOf, RW, slots } from '../gup/support.ts';
import { BASE, MAP_SHARED, PAGE, World } from '../support/world.ts';

const HUGE = 512;

/** `pages` pages, each with its number plus one in the first byte. */
function setUp(pages = 2, flags?: number) {
  const world = new World(1, undefined, { lockdep: true });
  const target = world.process('target');
  world.map(target, 0, pages, RW, ...(flags === undefined ? [] : [flags]));
  for (let page = 0; page < pages; page++) world.store(target, BASE + BigInt(page) * PAGE, [page + 1]);
  const { numaEvents, pageTables, frames } = world.kernel;
  const mark = (count = pages, task = target) => world.run(task, taskNumaWork(task, FIRST, FIRST + count));
  const flagsOf = (page: number, task: TaskStruct = target): number => {
    pageTables.lookupPte(rootTable(mmOf(task)), FIRST + page);
    return pageTables.flags(pageTables.lastLevel);
  };
  const isMarked = (page: number, task = target) => (flagsOf(page, task) & EntryFlag.Protnone) !== 0;
  const isWritable = (page: number, task = target) => (flagsOf(page, task) & EntryFlag.Write) !== 0;
  const audit = () => auditKernel(world.kernel, world.system.tlbView);
  return {
    world,
    target,
    mm: mmOf(target),
    frames,
    pageTables,
    numaEvents,
    mark,
    isMarked,
    isWritable,
    audit,
  };
}

describe('the scan of NUMA balancing', () => {
  it('marks what is there, once', () => {
    const scene = setUp();
    scene.world.map(scene.target, 2, 1, RW);
    expect([scene.mark(3), scene.mark(3)]).toEqual([2, 0]);
    expect([scene.isMarked(0), scene.isMarked(1)]).toEqual([true, true]);
    expect(scene.numaEvents).toEqual({ pteUpdates: 2, hintFaults: 0 });
    expect(scene.audit()).toEqual([]);
  });

  it('leaves the zero page, pinned pages and those that fork shares alone', () => {
    const scene = setUp(3);
    const { world, target, mm } = scene;
    world.map(target, 3, 1, RW);
    world.load(target, BASE + 3n * PAGE, 1);
    const pages = slots(1);
    locked(world, target, mm, pinUserPages(target, FIRST, 1, foll.FOLL_WRITE, pages));
    expect(scene.mark(4)).toBe(2);
    expect([0, 1, 2, 3].map((page) => scene.isMarked(page))).toEqual([false, true, true, false]);
    world.run(target, unpinUserPages(target, pages, 1));
    for (const page of [1n, 2n]) world.load(target, BASE + page * PAGE, 1);
    const child = world.fork(target, 'child');
    expect(scene.mark(4)).toBe(0);
    expect(scene.mark(4, child)).toBe(0);
    expect(scene.audit()).toEqual([]);
  });

  it('leaves memory alone that nobody may access anyway', () => {
    const scene = setUp();
    scene.world.protect(scene.target, BASE, 2, PROT_NONE);
    expect(scene.mark()).toBe(0);
  });

  it('marks shared memory, which is written with the rights of its VMA again', () => {
    const scene = setUp(1, MAP_SHARED);
    expect(scene.mark()).toBe(1);
    scene.world.store(scene.target, BASE, [9]);
    expect(scene.isWritable(0)).toBe(true);
    expect(scene.numaEvents.hintFaults).toBe(1);
  });
});

describe('an access to a marked page', () => {
  it.each(['load', 'store'] as const)('is a fault, once, that makes it writable at once: %s', (access) => {
    const scene = setUp();
    const { world, target } = scene;
    scene.mark();
    const before = target.minFlt;
    if (access === 'load') expect(world.load(target, BASE, 1)).toEqual([1]);
    else world.store(target, BASE, [7]);
    world.load(target, BASE, 1);
    world.store(target, BASE, [8]);
    expect(target.minFlt - before).toBe(1);
    expect(scene.numaEvents).toEqual({ pteUpdates: 2, hintFaults: 1 });
    expect([scene.isMarked(0), scene.isWritable(0), scene.isMarked(1)]).toEqual([false, true, true]);
    expect(scene.audit()).toEqual([]);
  });

  it('is handled under the lock of the VMA, which stays held', () => {
    const scene = setUp();
    const { world, target, mm } = scene;
    scene.mark();
    const result = world.run(
      target,
      (function* () {
        const vma = yield* lockVmaUnderRcu(target, mm, FIRST);
        if (vma === null) return -1;
        const fault = yield* handleMmFault(target, vma, FIRST, FAULT_FLAG_VMA_LOCK);
        yield* vmaEndRead(target, vma);
        return fault;
      })(),
    );
    expect(result).toBe(0);
    expect(scene.isMarked(0)).toBe(false);
  });

  it('after fork: the mark is copied, and the write copies the page', () => {
    const scene = setUp(1);
    const { world, target } = scene;
    scene.mark();
    const child = world.fork(target, 'child');
    expect([scene.isMarked(0), scene.isMarked(0, child)]).toEqual([true, true]);
    world.store(child, BASE, [9]);
    expect([world.load(target, BASE, 1), world.load(child, BASE, 1)]).toEqual([[1], [9]]);
    expect(scene.audit()).toEqual([]);
  });

  it('is none any more after mprotect', () => {
    const scene = setUp(1);
    const { world, target } = scene;
    scene.mark();
    world.protect(target, BASE, 1, PROT_READ);
    expect([scene.isMarked(0), scene.isWritable(0)]).toEqual([false, false]);
    expect(world.load(target, BASE, 1)).toEqual([1]);
    expect(scene.numaEvents.hintFaults).toBe(0);
    expect(scene.audit()).toEqual([]);
  });
});

describe('GUP and a marked page', () => {
  it.each([
    ['a read follows it', 0, 1, 0],
    ['a write faults', foll.FOLL_WRITE, 1, 1],
    ['FOLL_HONOR_NUMA_FAULT faults', foll.FOLL_HONOR_NUMA_FAULT, 1, 1],
    ['with FOLL_NOFAULT it fails', foll.FOLL_HONOR_NUMA_FAULT | foll.FOLL_NOFAULT, -EFAULT, 0],
    ['a read with FOLL_NOFAULT follows it', foll.FOLL_NOFAULT, 1, 0],
  ])('%s', (_, flags, result, faults) => {
    const scene = setUp(1);
    const { world, target, mm, frames } = scene;
    scene.mark();
    const pages = slots(1);
    expect(locked(world, target, mm, getUserPages(target, FIRST, 1, flags, pages))).toBe(result);
    expect(scene.numaEvents.hintFaults).toBe(faults);
    expect(scene.isMarked(0)).toBe(faults === 0);
    if (result === 1) world.run(target, putUserPage(target, pages[0] as number));
    expect(frames.refcount(world.frameAt(target, BASE))).toBe(1);
  });

  it('FOLL_HONOR_NUMA_FAULT takes PROT_NONE memory for what it is', () => {
    const scene = setUp(1);
    const { world, target, mm } = scene;
    world.protect(target, BASE, 1, PROT_NONE);
    const flags = foll.FOLL_FORCE | foll.FOLL_HONOR_NUMA_FAULT;
    const pages = slots(1);
    expect(locked(world, target, mm, getUserPages(target, FIRST, 1, flags, pages))).toBe(1);
    world.run(target, putUserPage(target, pages[0] as number));
    expect(scene.numaEvents.hintFaults).toBe(0);
  });

  it('a read-only pin keeps the page through the mark', () => {
    const scene = setUp(1);
    const { world, target, mm } = scene;
    scene.mark();
    const pages = slots(1);
    expect(locked(world, target, mm, pinUserPages(target, FIRST, 1, 0, pages))).toBe(1);
    world.store(target, BASE, [4]);
    expect(world.frameAt(target, BASE)).toBe(pages[0]);
    world.run(target, unpinUserPages(target, pages, 1));
  });

  it.each([0, foll.FOLL_WRITE])('gup-fast stops at it (%i)', (flags) => {
    const scene = setUp();
    const { world, target, mm } = scene;
    world.run(target, taskNumaWork(target, FIRST + 1, FIRST + 2));
    const pages = slots(2);
    expect(world.run(target, gupFast(target, mm, FIRST, 2, flags | foll.FOLL_GET, pages))).toBe(1);
    world.run(target, putUserPage(target, pages[0] as number));
  });
});

describe('a huge page', () => {
  /** One huge page at the first address that is aligned. */
  function hugeScene() {
    const scene = setUp(0 + 1);
    const { world, target, pageTables } = scene;
    const first = Math.ceil(FIRST / HUGE) * HUGE + HUGE;
    const at = BigInt(first) << 12n;
    world.map(target, first - FIRST, HUGE, RW);
    world.run(target, sysMadvise(target, at, BigInt(HUGE) << 12n, MADV_HUGEPAGE));
    world.store(target, at, [1, 2]);
    const root = rootTable(scene.mm);
    const kind = () => pageTables.pmdKind(root, first);
    const entry = () => {
      pageTables.pmdKind(root, first);
      return pageTables.flags(pageTables.lastLevel - 1);
    };
    const scan = (from = first, end = first + HUGE) => world.run(target, taskNumaWork(target, from, end));
    return { ...scene, first, at, kind, entry, scan };
  }

  it('is marked whole, and one fault gives all of it back', () => {
    const scene = hugeScene();
    const { world, target } = scene;
    expect([scene.scan(), scene.scan()]).toEqual([HUGE, 0]);
    expect([scene.kind(), scene.entry() & EntryFlag.Protnone]).toEqual([PmdKind.Huge, EntryFlag.Protnone]);
    expect(scene.audit()).toEqual([]);
    const before = target.minFlt;
    world.store(target, scene.at + 0x1000n, [3]);
    expect(target.minFlt - before).toBe(1);
    expect(scene.entry() & (EntryFlag.Protnone | EntryFlag.Write)).toBe(EntryFlag.Write);
    expect(scene.numaEvents).toEqual({ pteUpdates: HUGE, hintFaults: 1 });
    expect(scene.audit()).toEqual([]);
  });

  it('is split where a part is marked, and a fault gives back what is marked of it', () => {
    const scene = hugeScene();
    const { world, target, first } = scene;
    expect(scene.scan(first, first + 20)).toBe(20);
    expect(scene.kind()).toBe(PmdKind.Table);
    expect(scene.audit()).toEqual([]);
    world.load(target, scene.at, 2);
    const marked = Array.from({ length: 20 }, (_, i) => scene.isMarked(first - FIRST + i));
    expect(marked).toEqual(new Array(20).fill(false));
    expect(scene.numaEvents.hintFaults).toBe(1);
    expect(scene.audit()).toEqual([]);
  });

  it('loses the mark when it is split', () => {
    const scene = hugeScene();
    const { world, target, first } = scene;
    scene.scan();
    world.protect(target, scene.at, 1, PROT_READ);
    expect(scene.kind()).toBe(PmdKind.Table);
    expect([0, 1, 511].map((i) => scene.isMarked(first - FIRST + i))).toEqual([false, false, false]);
    expect(world.load(target, scene.at, 2)).toEqual([1, 2]);
    expect(scene.audit()).toEqual([]);
  });
});
