/**
 * Several tasks change one address space at once, under random schedules. Whenever nobody holds mmap_lock for writing,
 * everything that a reader may look at must agree; and each call must answer as if it had run alone.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EINTR } from '../../../src/kernel/errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { RunLoop } from '../../../src/sched/run-loop.ts';
import { FIXED, map, RW, type VmaWorld, vmaWorld } from './support.ts';

const PAGE = 0x1_0000_0000;
const AT = BigInt(PAGE) << 12n;
const SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;

/** One more task of the same process, on its own CPU. */
function thread({ kernel, mm }: VmaWorld, pid: number): TaskStruct {
  const credentials = rootCredentials();
  return new TaskStruct({ kernel, pid, name: `t${pid}`, cpu: pid - 1, mm, credentials, parent: null });
}

/** What a reader that holds mmap_lock sees must fit together. */
function checkStable({ mm, kernel }: VmaWorld): void {
  const vmas = [...mm.vmas];
  expect(mm.mapCount).toBe(vmas.length);
  let end = 0;
  for (const vma of vmas) {
    expect(vma.start).toBeGreaterThanOrEqual(end);
    expect(vma.end).toBeGreaterThan(vma.start);
    expect(vma.detached).toBe(false);
    expect(mm.vmas.lookup(vma.start)).toBe(vma);
    expect(mm.vmas.lookup(vma.end - 1)).toBe(vma);
    ({ end } = vma);
  }
  expect(kernel.committedPages).toBeGreaterThanOrEqual(0);
}

/** A small fixed program per task; `n` shifts where it works so that the programs overlap. */
function* program(task: TaskStruct, n: number, answers: (bigint | number)[]): Task<void> {
  const at = (page: number): bigint => AT + BigInt((page + n) * 4096);
  for (let round = 0; round < 4; round++) {
    answers.push(yield* sysMmap(task, at(round), 0x4000n, RW, n === 1 ? SHARED : FIXED, null, 0n));
    answers.push(yield* sysMprotect(task, at(round + 1), 0x1000n, PROT_READ));
    answers.push(yield* sysMunmap(task, at(round + 2), 0x1000n));
    answers.push(yield* sysMmap(task, 0n, 0x2000n, RW, 0x22, null, 0n));
  }
}

describe('calls of three tasks at once', () => {
  it.each(Array.from({ length: 25 }, (_, seed) => seed))('agree at every step of schedule %i', (seed) => {
    const world = vmaWorld({}, [], 3);
    const loop = new RunLoop(world.kernel.machine, { policy: new RandomPolicy(seed) });
    const answers: (bigint | number)[] = [];
    for (const n of [0, 1, 2]) {
      const task = thread(world, n + 1);
      loop.start(task, program(task, n, answers));
    }
    const result = loop.run({
      afterStep: () => {
        if (!world.mm.mmapWriteLocked) checkStable(world);
        return true;
      },
    });
    expect(result.kind).toBe('finished');
    // mprotect may find a hole that another task has made; nothing else may fail.
    expect(answers.filter((answer) => answer < 0 && answer !== -12)).toEqual([]);
    const mapped = [...world.mm.vmas].reduce((sum, vma) => sum + vma.pages, 0);
    expect(world.mm.totalVm).toBe(mapped);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
    expect(world.mm.tlbFlushPending).toBe(0);
  });
});

describe('a task that is killed while it waits for mmap_lock', () => {
  it.each([
    ['mmap', (task: TaskStruct) => sysMmap(task, AT, 0x1000n, RW, FIXED, null, 0n)],
    ['munmap', (task: TaskStruct) => sysMunmap(task, AT, 0x1000n)],
    ['mprotect', (task: TaskStruct) => sysMprotect(task, AT, 0x1000n, PROT_READ)],
  ] as const)('gets -EINTR from %s, and nothing has changed', (_name, call) => {
    const world = vmaWorld({}, [], 2);
    map(world, PAGE, 2);
    const [holder, killed] = [thread(world, 1), thread(world, 2)];
    const loop = new RunLoop(world.kernel.machine);
    let answer: bigint | number = 0;
    loop.start(holder, mmapReadLock(holder, world.mm));
    loop.run();
    loop.start(
      killed,
      (function* (): Task<void> {
        answer = yield* call(killed) as Task<bigint | number>;
      })(),
    );
    loop.run({ maxSteps: 20 });
    expect(answer).toBe(0);
    killed.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    loop.start(holder, mmapReadUnlock(holder, world.mm));
    loop.run();
    expect(Number(answer)).toBe(-EINTR);
    expect([...world.mm.vmas].map(({ start, end }) => [start, end])).toEqual([[PAGE, PAGE + 2]]);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });
});
