/**
 * A thread holds the lock of one VMA for reading, as a fault does: whatever changes that VMA waits in `vma_start_write`
 * until the thread is done, with the VMA still as it was. One row for each way in which a VMA changes.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { sysBrk } from '../../../src/kernel/mm/brk.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { MADV_DONTFORK, MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { sysMlock, sysMunlock } from '../../../src/kernel/mm/mlock.ts';
import { sysMlockall, sysMunlockall } from '../../../src/kernel/mm/mlockall.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { sysMseal } from '../../../src/kernel/mm/mseal.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { vmaEndRead } from '../../../src/kernel/mm/vma-lock.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userStore } from '../../../src/userland/calls/access.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const MAYMOVE = 1;
const FIXED_TARGET = 3;
const DONTUNMAP = 5;
const MCL_CURRENT = 1;
const bytes = (pages: number): bigint => BigInt(pages) << 12n;

const mmapFixed = (task: TaskStruct, page: number, pages: number, prot: number): Task<bigint> =>
  sysMmap(task, addressOf(page), bytes(pages), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, null, 0n);

const protect = (page: number, pages: number, prot: number) => (task: TaskStruct) =>
  sysMprotect(task, addressOf(page), bytes(pages), prot);

/** Pages 0…3 are mapped read-write and 8…11 too; 4…7 are read-only. Page 1 is written, 400 is a stack. */
type Row = readonly [what: string, read: number, operation: (task: TaskStruct) => Task<unknown>];

const CHANGES: readonly Row[] = [
  ['the growth of a stack', 400, (task) => userStore(task, addressOf(398), Uint8Array.of(1))],
  ['mprotect of all of it', 4, protect(4, 4, PROT_READ | 4)],
  ['mprotect of its middle', 4, protect(5, 1, PROT_READ | 4)],
  ['mprotect of its beginning, which the VMA before takes', 4, protect(4, 1, RW)],
  ['mprotect of what comes after, which it takes', 1, protect(4, 1, RW)],
  ['mprotect of its end, which the VMA after takes', 4, protect(7, 1, RW)],
  ['mprotect of what comes before, which it takes', 8, protect(7, 1, RW)],
  ['mprotect that joins it with both neighbours: it goes', 4, protect(4, 4, RW)],
  ['mprotect that joins it with what comes before: it goes', 8, protect(4, 4, RW)],
  ['mmap right after it', 8, (task) => mmapFixed(task, 12, 2, RW)],
  ['mmap right before it', 16, (task) => mmapFixed(task, 14, 2, RW)],
  ['mmap of the gap after it', 8, (task) => mmapFixed(task, 12, 4, RW)],
  ['mmap of the gap before it, which the VMA before takes with it', 16, (task) => mmapFixed(task, 12, 4, RW)],
  ['MAP_FIXED over all of it', 4, (task) => mmapFixed(task, 4, 4, PROT_READ | 4)],
  ['MAP_FIXED over a part of it', 4, (task) => mmapFixed(task, 5, 2, PROT_READ | 4)],
  ['munmap of all of it', 4, (task) => sysMunmap(task, addressOf(4), bytes(4))],
  ['munmap of its middle', 4, (task) => sysMunmap(task, addressOf(5), bytes(1))],
  ['munmap of its end', 4, (task) => sysMunmap(task, addressOf(7), bytes(1))],
  ['mremap that grows it', 8, (task) => sysMremap(task, addressOf(8), bytes(4), bytes(6), 0, 0n)],
  ['mremap that shrinks it', 8, (task) => sysMremap(task, addressOf(8), bytes(4), bytes(2), 0, 0n)],
  [
    'mremap away',
    0,
    (task) => sysMremap(task, addressOf(0), bytes(4), bytes(4), FIXED_TARGET, addressOf(60)),
  ],
  [
    'mremap away that leaves it, empty',
    0,
    (task) => sysMremap(task, addressOf(0), bytes(4), bytes(4), DONTUNMAP, 0n),
  ],
  ['mremap away of a part', 0, (task) => sysMremap(task, addressOf(1), bytes(1), bytes(9), MAYMOVE, 0n)],
  [
    'mremap over it',
    4,
    (task) => sysMremap(task, addressOf(0), bytes(4), bytes(4), FIXED_TARGET, addressOf(4)),
  ],
  ['advice about fork', 8, (task) => sysMadvise(task, addressOf(8), bytes(4), MADV_DONTFORK)],
  ['advice about huge pages', 8, (task) => sysMadvise(task, addressOf(8), bytes(4), MADV_HUGEPAGE)],
  ['advice about a part', 8, (task) => sysMadvise(task, addressOf(9), bytes(1), MADV_DONTFORK)],
  ['mlock', 8, (task) => sysMlock(task, addressOf(8), bytes(4))],
  ['mlock of a part', 8, (task) => sysMlock(task, addressOf(9), bytes(1))],
  ['munlock', 32, (task) => sysMunlock(task, addressOf(32), bytes(2))],
  ['mlockall', 8, (task) => sysMlockall(task, MCL_CURRENT)],
  ['munlockall', 32, (task) => sysMunlockall(task)],
  ['mseal', 8, (task) => sysMseal(task, addressOf(8), bytes(4), 0n)],
  ['brk that grows it', 50, (task) => sysBrk(task, addressOf(54))],
  ['brk that shrinks it', 50, (task) => sysBrk(task, addressOf(51))],
  ['brk that takes all of it', 50, (task) => sysBrk(task, addressOf(50))],
  ['fork', 0, (task) => sysFork(task, 'child')],
];

interface Scene {
  readonly world: ProcessWorld;
  readonly director: Director;
  readonly reader: TaskStruct;
  readonly writer: TaskStruct;
}

function scene(): Scene {
  const director = new Director();
  const world = new ProcessWorld({ cpus: 2, policy: director.policy, kernel: { lockdep: true } });
  director.loop = world.system.loop;
  const reader = world.process('reader', 0);
  const writer = world.thread(reader, 'writer', 1);
  const mm = mmOf(reader);
  for (const page of [0, 8, 16]) world.map(reader, page, 4, RW);
  world.map(reader, 4, 4, PROT_READ);
  world.store(reader, 1, 1);
  world.map(reader, 32, 2, RW);
  world.run(reader, sysMlock(reader, addressOf(32), bytes(2)));
  world.map(reader, 400, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
  mm.startBrk = addressOf(50);
  mm.brk = addressOf(50);
  world.run(reader, sysBrk(reader, addressOf(52)));
  return { world, director, reader, writer };
}

const stateOf = (vma: VmArea): unknown => [
  vma.start - BASE_PAGE,
  vma.end - BASE_PAGE,
  vma.flags,
  vma.flagsHigh,
  vma.pgoff,
  vma.detached,
];

describe('while a reader holds the lock of a VMA', () => {
  it.each(CHANGES)('%s waits, and nothing has changed in it or in the tree', (_what, page, operation) => {
    const { world, director, reader, writer } = scene();
    const mm = mmOf(reader);
    const vma = world.run(reader, lockVmaUnderRcu(reader, mm, BASE_PAGE + page));
    if (vma === null) throw new Error('there is a VMA');
    const before = stateOf(vma);
    director.start(writer, operation(writer));
    expect(director.block(writer)).toBe('vma_start_write');
    expect(writer.pendingPoint()?.object).toBe(vma);
    expect(stateOf(vma)).toEqual(before);
    expect(mm.vmas.lookup(BASE_PAGE + page)).toBe(vma);
    // No newcomer gets in beside the one who is waited for.
    const late = world.thread(reader, 'late', 0);
    expect(world.run(late, lockVmaUnderRcu(late, mm, BASE_PAGE + page))).toBeNull();
    world.run(reader, vmaEndRead(reader, vma));
    director.finish(writer);
    expect(mm.mmapLock.isLocked()).toBe(false);
    expect(world.inconsistencies()).toEqual([]);
    expect(world.kernel.lockdep?.reports ?? []).toEqual([]);
  });
});
