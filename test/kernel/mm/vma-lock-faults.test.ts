/**
 * Which faults are handled under the VMA's own lock. While another task holds mmap_lock for writing, without having
 * locked the VMA, only those come to their end; the others wait for it.
 */

import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { shmemVmOperations, shmemZeroSetup } from '../../../src/kernel/mm/shmem.ts';
import { copyFromUser, copyToUser } from '../../../src/kernel/mm/user-access.ts';
import { vmaStartWrite } from '../../../src/kernel/mm/vma-lock.ts';
import { VmaLockFailure } from '../../../src/kernel/mm/vma-lock-counters.ts';
import { SEGV_ACCERR, SIGKILL } from '../../../src/kernel/signal.ts';
import { TaskState } from '../../../src/sched/task.ts';
import { userFetch } from '../../../src/userland/calls/access.ts';
import { waitsForSomebody } from '../support/director.ts';
import { addressOf, BASE_PAGE } from './process-world.ts';
import {
  director,
  holder,
  load,
  makeWorld,
  mapTouched,
  mm,
  pageOut,
  RW,
  store,
  task,
  vmaAt,
  world,
} from './vma-lock-fault-world.ts';

/** Two MiB, aligned, within the arena. */
const HUGE_PAGE = 512 - (BASE_PAGE % 512);

beforeEach(() => makeWorld());

/** Runs `path` while another task holds mmap_lock for writing: what it comes to, and then the counters. */
function whileWriteLocked(path: Task<unknown>): string {
  world.run(holder, mmapWriteLock(holder, mm()));
  const before = { ...mm().vmaLockCounters };
  director.start(task, path);
  const stuck = (): boolean => task.state === TaskState.Idle || waitsForSomebody(task);
  while (!stuck()) director.step(task);
  const waits = task.state === TaskState.Idle ? '' : `waits in ${task.pendingPoint()?.operation}`;
  director.start(holder, mmapWriteUnlock(holder, mm()));
  director.finishAll(holder, task);
  const { success, retry, abort } = mm().vmaLockCounters;
  const counted = `success ${success - before.success}, retry ${retry - before.retry}, abort ${abort - before.abort}`;
  return waits === '' ? counted : `${waits}; ${counted}`;
}

const UNDER_VMA_LOCK = 'success 1, retry 0, abort 0';
const RETRIED = 'waits in down_read_killable; success 0, retry 1, abort 0';
const REFUSED = 'waits in down_read_killable; success 0, retry 0, abort 1';

function mapFile(page: number, flags: number): void {
  const file = shmemZeroSetup(world.kernel, 4);
  const got = world.run(task, sysMmap(task, addressOf(page), 0x4000n, RW, flags | MAP_FIXED, file, 0n));
  expect(got).toBe(addressOf(page));
}

function forkAfter(page: number): void {
  world.store(task, page, 1);
  world.fork(task);
}

interface Row {
  readonly fault: string;
  readonly expected: string;
  readonly prepare: () => void;
  readonly path: () => Task<unknown>;
}

const row = (fault: string, expected: string, prepare: () => void, path: () => Task<unknown>): Row => ({
  fault,
  expected,
  prepare,
  path,
});

const ANONYMOUS: readonly Row[] = [
  row(
    'a read of anonymous memory',
    UNDER_VMA_LOCK,
    () => world.map(task, 0, 4, RW),
    () => load(0),
  ),
  row(
    'a write of a VMA with an anon_vma',
    UNDER_VMA_LOCK,
    () => mapTouched(0),
    () => store(0),
  ),
  row(
    'the first write of a VMA',
    RETRIED,
    () => world.map(task, 0, 4, RW),
    () => store(0),
  ),
  row(
    'a write after a read',
    UNDER_VMA_LOCK,
    () => {
      mapTouched(0);
      world.load(task, 0);
    },
    () => store(0),
  ),
  row(
    'a first write after a read',
    RETRIED,
    () => {
      world.map(task, 0, 4, RW);
      world.load(task, 0);
    },
    () => store(0),
  ),
  row(
    'a write that copies a page of a fork',
    UNDER_VMA_LOCK,
    () => {
      world.map(task, 0, 4, RW);
      forkAfter(0);
    },
    () => store(0),
  ),
  row(
    'a page in swap',
    UNDER_VMA_LOCK,
    () => {
      mapTouched(0);
      pageOut(3);
      expect(world.page(task, 3)).toMatch(/^S/);
    },
    () => load(3),
  ),
  row(
    'a huge page, the VMA having an anon_vma',
    UNDER_VMA_LOCK,
    () => {
      world.map(task, HUGE_PAGE, 513, RW);
      world.store(task, HUGE_PAGE + 512, 1);
    },
    () => store(HUGE_PAGE),
  ),
];

const HUGETLB: readonly Row[] = (
  [
    ['a hugetlb page of a VMA with an anon_vma', UNDER_VMA_LOCK, MAP_PRIVATE, 1],
    ['the first private hugetlb page', RETRIED, MAP_PRIVATE, 0],
    ['a shared hugetlb page', UNDER_VMA_LOCK, MAP_SHARED, 0],
  ] as const
).map(([fault, expected, flags, touched]) =>
  row(
    fault,
    expected,
    () => {
      makeWorld({ hugepages2M: 4 });
      const all = flags | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB;
      const at = addressOf(HUGE_PAGE);
      expect(world.run(task, sysMmap(task, at, 0x40_0000n, RW, all, null, 0n))).toBe(at);
      if (touched === 1) world.store(task, HUGE_PAGE + 512, 1);
    },
    () => store(HUGE_PAGE),
  ),
);

const FILES: readonly Row[] = [
  row(
    'a read of a file',
    UNDER_VMA_LOCK,
    () => mapFile(0, MAP_PRIVATE),
    () => load(0),
  ),
  row(
    'a read of cached pages around',
    UNDER_VMA_LOCK,
    () => {
      mapFile(0, MAP_SHARED);
      world.store(task, 1, 1);
    },
    () => load(0),
  ),
  row(
    'a shared write',
    UNDER_VMA_LOCK,
    () => mapFile(0, MAP_SHARED),
    () => store(0),
  ),
  row(
    'a private write, first of the VMA',
    RETRIED,
    () => mapFile(0, MAP_PRIVATE),
    () => store(0),
  ),
  row(
    'a private write, the VMA having an anon_vma',
    UNDER_VMA_LOCK,
    () => {
      mapFile(0, MAP_PRIVATE);
      world.store(task, 1, 1);
    },
    () => store(0),
  ),
  ...(['read', 'shared write', 'private write'] as const).map((access) =>
    row(
      `a ${access} of a driver's mapping, which maps nothing around`,
      RETRIED,
      () => {
        mapFile(0, access === 'shared write' ? MAP_SHARED : MAP_PRIVATE);
        vmaAt(0).ops = { ...shmemVmOperations, name: 'driver', hasMapPages: false };
      },
      () => (access === 'read' ? load(0) : store(0)),
    ),
  ),
];

const REFUSALS: readonly Row[] = [
  row(
    'a hole',
    REFUSED,
    () => {},
    () => load(0),
  ),
  row(
    'a stack that grows',
    REFUSED,
    () => {
      const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN;
      world.run(task, sysMmap(task, addressOf(8), 0x1000n, RW, flags, null, 0n));
    },
    () => store(7),
  ),
  row(
    'a kernel copy to user memory',
    'waits in down_read_killable; success 0, retry 0, abort 0',
    () => mapTouched(0),
    () => copyToUser(task, addressOf(0), Uint8Array.of(1)),
  ),
  row(
    'a kernel copy from user memory',
    'waits in down_read_killable; success 0, retry 0, abort 0',
    () => mapTouched(0),
    () => copyFromUser(task, new Uint8Array(1), addressOf(0)),
  ),
];

/** @see Linux mm/memory.c and mm/mmap_lock.c; arch/x86/mm/fault.c, arch/arm64/mm/fault.c */
describe('while another holds mmap_lock for writing', () => {
  it.each([...ANONYMOUS, ...FILES, ...HUGETLB, ...REFUSALS])(
    '$fault: $expected',
    ({ expected, prepare, path }) => {
      prepare();
      expect(whileWriteLocked(path())).toBe(expected);
    },
  );

  it.each([
    ['a write to read-only memory', PROT_READ, (page: number) => store(page)],
    ['a fetch from memory without execute', PROT_READ, (page: number) => userFetch(task, addressOf(page))],
    ['a read of PROT_NONE', 0, (page: number) => load(page)],
  ] as const)('%s ends in a signal without mmap_lock', (_name, prot, access) => {
    world.map(task, 0, 1, prot);
    // On x86-64 a page that is not there is read in before anybody asks whether it may be executed.
    if (prot !== 0) world.load(task, 0);
    expect(whileWriteLocked(access(0))).toBe(UNDER_VMA_LOCK);
    expect(task.result).toMatchObject({ code: SEGV_ACCERR });
  });

  it('a fault on a VMA that the writer has locked waits', () => {
    mapTouched(0);
    const path = function* (): Task<void> {
      yield* mmapWriteLock(holder, mm());
      yield* vmaStartWrite(holder, mm(), vmaAt(0));
      yield* mmapWriteUnlock(holder, mm());
    };
    director.start(holder, path());
    director.until(holder, 'vma_end_write_all');
    director.start(task, store(0));
    expect(director.block(task)).toBe('down_read_killable');
    expect(mm().vmaLockCounters.of(VmaLockFailure.WriteLocked)).toBe(1);
    director.finishAll(holder, task);
    expect(world.page(task, 0)).toBe('Xwd');
  });

  it('without CONFIG_PER_VMA_LOCK every fault waits and nothing is counted', () => {
    makeWorld({ perVmaLocks: false });
    mapTouched(0);
    expect(whileWriteLocked(load(0))).toBe('waits in down_read_killable; success 0, retry 0, abort 0');
  });

  it('a fatal signal that comes with a retry ends the fault', () => {
    world.map(task, 0, 4, RW);
    world.run(holder, mmapWriteLock(holder, mm()));
    director.start(task, store(0));
    director.until(task, 'down_read');
    task.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(director.finish(task)).toMatchObject({ signal: SIGKILL });
    world.run(holder, mmapWriteUnlock(holder, mm()));
    expect(vmaAt(0).refcount).toBe(1);
  });
});
