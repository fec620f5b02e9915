/** Two CPUs in one address space: what one changes, the other must see; and what it may still hold. */
import { describe, expect, it } from 'vitest';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { tlbFinishMmu, tlbGatherMmu } from '../../../src/kernel/mm/mmu-gather.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { zapRange } from '../../../src/kernel/mm/zap-range.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { SEGV_ACCERR, SEGV_MAPERR } from '../../../src/kernel/signal.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { architectureName } from '../../support/architecture.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

/** A process on CPU 0, a thread of it on CPU 1, four pages of memory. */
function twoThreads(policy?: Policy) {
  const world = new ProcessWorld({ cpus: 3, ...(policy === undefined ? {} : { policy }) });
  const one = world.process('one', 0);
  const two = world.thread(one, 'two', 1);
  world.map(one, 0, 4, RW);
  return { world, one, two };
}

describe('what one CPU does to the other one’s TLB', () => {
  it('a page replaced by a write is not read from its old frame', () => {
    const { world, one, two } = twoThreads();
    expect(world.load(two, 0)).toBe(0);
    world.store(one, 0, 5);
    expect(world.load(two, 0)).toBe(5);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a page that was unmapped is gone', () => {
    const { world, one, two } = twoThreads();
    world.store(two, 0, 5);
    world.run(one, sysMunmap(one, addressOf(0), 0x1000n));
    expect(world.load(two, 0)).toMatchObject({ code: SEGV_MAPERR });
  });

  it('a page that was made read-only cannot be written', () => {
    const { world, one, two } = twoThreads();
    world.store(two, 0, 5);
    world.run(one, sysMprotect(one, addressOf(0), 0x1000n, PROT_READ));
    expect(world.store(two, 0, 6)).toMatchObject({ code: SEGV_ACCERR });
  });

  it('a page that fork made read-only is copied by the thread that writes it', () => {
    const { world, one, two } = twoThreads();
    world.store(two, 0, 5);
    const child = world.fork(one);
    world.store(two, 0, 6);
    expect([world.load(child, 0), world.load(one, 0)]).toEqual([5, 6]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a page that became writable costs the other CPU a spurious fault on x86-64; on arm64 it is flushed', () => {
    const { world, one, two } = twoThreads();
    world.store(one, 0, 5);
    const child = world.fork(one);
    world.run(child, doExit(child, 0));
    world.load(two, 0);
    world.store(one, 0, 6);
    const { frame } = world.pte(one, 0);
    const before = two.minFlt;
    const faults = { x86_64: 1, arm64: 0 }[architectureName];
    expect([world.store(two, 0, 7), two.minFlt - before]).toEqual([null, faults]);
    expect(world.pte(one, 0).frame).toBe(frame);
  });
});

describe('two gathers at once', () => {
  it('the one that ends first flushes what the other has cleared, though it changed nothing itself [locking I16]', () => {
    const { world, one, two } = twoThreads();
    const mm = mmOf(one);
    world.store(one, 0, 5);
    expect(world.load(two, 0)).toBe(5);
    const clearing = world.run(one, tlbGatherMmu(one, mm));
    const idle = world.run(two, tlbGatherMmu(two, mm));
    const vma = mm.vmas.lookup(BASE_PAGE) as VmArea;
    world.run(one, zapRange(one, mm, vma, BASE_PAGE, BASE_PAGE + 1, clearing));
    world.run(two, tlbFinishMmu(two, idle));
    // No translation to the page that is about to be freed: a new page of zeros is faulted in.
    expect(world.load(two, 0)).toBe(0);
    world.run(one, tlbFinishMmu(one, clearing));
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a dying process', () => {
  it('leaves its root table to the CPU that still has it loaded, until that one loads another', () => {
    const world = new ProcessWorld({ cpus: 2 });
    const { frames } = world.kernel;
    const free = frames.freeFrames;
    const task = world.process();
    world.map(task, 0, 2, RW);
    world.store(task, 0, 1);
    const mm = mmOf(task);
    world.run(task, doExit(task, 0));
    expect([frames.freeFrames, mm.mmUsers, mm.mmCount]).toEqual([free - 1, 0, 1]);
    expect(world.kernel.committedPages).toBe(0);
    const next = world.process('next');
    world.map(next, 0, 2, RW);
    expect([mm.mmCount, mm.pgd]).toEqual([0, -1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('does not take the memory from a thread that still runs', () => {
    const { world, one, two } = twoThreads();
    world.store(one, 0, 5);
    world.run(one, doExit(one, 0));
    expect(world.load(two, 0)).toBe(5);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('two threads at once, on 300 schedules', () => {
  const seeds = Array.from({ length: 300 }, (_, seed) => seed);

  it('first touch of one page: one page is used, and both writes are in it', () => {
    for (const seed of seeds) {
      const { world, one, two } = twoThreads(new RandomPolicy(seed));
      const { loop } = world.system;
      loop.start(one, userStore(one, addressOf(0, 0), Uint8Array.of(1)));
      loop.start(two, userStore(two, addressOf(0, 1), Uint8Array.of(2)));
      loop.run();
      expect([world.load(two, 0, 0), world.load(one, 0, 1), mmOf(one).residentPages]).toEqual([1, 2, 1]);
      expect(world.inconsistencies()).toEqual([]);
    }
  });

  it('a read and a write of one page: the reader sees zero or the value, later the value', () => {
    const seen = new Set<number>();
    for (const seed of seeds) {
      const { world, one, two } = twoThreads(new RandomPolicy(seed));
      const { loop } = world.system;
      const byte = new Uint8Array(1);
      loop.start(one, userStore(one, addressOf(0), Uint8Array.of(1)));
      loop.start(two, userLoad(two, addressOf(0), byte));
      loop.run();
      seen.add(byte[0] as number);
      expect(world.load(two, 0)).toBe(1);
      expect(world.inconsistencies()).toEqual([]);
    }
    expect([...seen].sort()).toEqual([0, 1]);
  });

  it('a write against munmap: done or SIGSEGV, and the page is free afterwards', () => {
    const seen = new Set<unknown>();
    for (const seed of seeds) {
      const { world, one, two } = twoThreads(new RandomPolicy(seed));
      // The VMA has its anon_vma: without, the fault would wait for mmap_lock in nearly every schedule.
      world.store(one, 0, 1);
      const { loop } = world.system;
      loop.start(one, sysMunmap(one, addressOf(0), 0x4000n));
      loop.start(two, userStore(two, addressOf(1), Uint8Array.of(1)));
      loop.run();
      seen.add((two.result as { code: number } | null)?.code ?? 'done');
      expect([one.result, mmOf(one).residentPages, mmOf(one).pgtablesBytes]).toEqual([0, 0, 0]);
      expect(world.inconsistencies()).toEqual([]);
    }
    expect(seen).toEqual(new Set(['done', SEGV_MAPERR]));
  });

  it('a write after fork in both processes: each ends with a page of its own', () => {
    for (const seed of seeds) {
      const { world, one } = twoThreads(new RandomPolicy(seed));
      world.store(one, 0, 9);
      const { frame } = world.pte(one, 0);
      const child = world.fork(one);
      const thread = world.thread(child, 'thread of child', 2);
      const { loop } = world.system;
      loop.start(one, userStore(one, addressOf(0), Uint8Array.of(1)));
      loop.start(thread, userStore(thread, addressOf(0), Uint8Array.of(2)));
      loop.run();
      expect([world.load(one, 0), world.load(child, 0)]).toEqual([1, 2]);
      const frames = [world.pte(one, 0).frame, world.pte(child, 0).frame];
      // Both may copy when each holds its extra reference while the other looks: then the old page is free.
      if (frames.includes(frame)) expect(world.kernel.frames.refcount(frame)).toBe(1);
      expect(frames[0]).not.toBe(frames[1]);
      expect(world.inconsistencies()).toEqual([]);
    }
  });
});
