/**
 * A driver pins memory on one CPU while a thread of the same process changes it on another, under random schedules. Whoever
 * comes first: what was pinned is one page for the device and for the process as long as it is mapped, all or nothing was
 * pinned, and everything comes back.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { auditKernel } from '../../../src/check/mm-invariants.ts';
import { MADV_DONTNEED } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { sysCloneVm } from '../../../src/kernel/process/clone-vm.ts';
import { credentials } from '../../../src/kernel/process/credentials.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { PAGE, World } from '../support/world.ts';
import { counted, DRIVERS, type Driver, PAGES } from './pins-world.ts';

const RW = PROT_READ | PROT_WRITE;
const BYTES = BigInt(PAGES) * PAGE;
const RUNS = 12;

const CHANGES: Readonly<Record<string, (thread: TaskStruct, start: bigint) => Task<unknown>>> = {
  fork: (thread) => sysFork(thread, 'child'),
  munmap: (thread, start) => sysMunmap(thread, start + PAGE, PAGE),
  MADV_DONTNEED: (thread, start) => sysMadvise(thread, start, BYTES, MADV_DONTNEED),
  mprotect: (thread, start) => sysMprotect(thread, start + PAGE, PAGE, PROT_READ),
};

function* delayed(task: TaskStruct, steps: number, path: Task<unknown>): Task<unknown> {
  for (let step = 0; step < steps; step++) yield task.startPoint;
  return yield* path;
}

/** Runs both; gives what the driver answered. */
function race(driver: Driver, change: string, seed: number) {
  const world = new World(2, new RandomPolicy(seed), { lockdep: true });
  const task = world.process('owner', 0, credentials(1000, 1000));
  const thread = world.run(task, sysCloneVm(task, 'thread', 1)) as TaskStruct;
  const start = world.map(task, 0, PAGES, RW);
  for (let page = 0; page < PAGES; page++) world.store(task, start + BigInt(page) * PAGE, [page + 1]);
  const device = driver.open(world, task);
  const { loop } = world.system;
  loop.start(task, driver.map(task, device, start));
  const path = (CHANGES[change] as (typeof CHANGES)[string])(thread, start);
  loop.start(thread, delayed(thread, seed % 40, path));
  expect(loop.run({}).kind).toBe('finished');
  return { world, task, start, device, result: task.result as number };
}

/** Pages that the device has and the process maps are the same ones. */
function expectShared(
  { world, task, start, device }: ReturnType<typeof race>,
  driver: Driver,
  change: string,
): void {
  for (let page = 0; page < PAGES; page++) {
    const address = start + BigInt(page) * PAGE;
    const mapped = world.frameAt(task, address);
    if (change === 'MADV_DONTNEED' || mapped === -1) continue;
    const writable = task.mm?.vmas.lookup(Number(address >> 12n))?.flags ?? 0;
    if ((writable & PROT_WRITE) !== 0) world.store(task, address, [100 + page]);
    expect(world.frameAt(task, address)).toBe(device.frameAt(driver.at(start) + BigInt(page) * PAGE, true));
  }
}

describe.each(DRIVERS.map((driver) => [driver.name, driver] as const))('%s', (_, driver) => {
  it.each(Object.keys(CHANGES))('beside %s pins all or nothing, and loses nothing', (change) => {
    for (let seed = 1; seed <= RUNS; seed++) {
      const setting = race(driver, change, seed);
      const { world, task, device, result } = setting;
      if (result >= 0) {
        expectShared(setting, driver, change);
        world.run(task, driver.unmap(task, device));
      }
      const inUse = world.kernel.frames.foliosInUse();
      const pinned = inUse.filter((frame) => world.kernel.frames.maybeDmaPinned(frame));
      expect({ seed, pinned }).toEqual({ seed, pinned: [] });
      const partOfXdp = driver.name === 'xdp' && result < 0;
      const leftOver = driver.name === 'rdma, usnic' && result < 0;
      if (!partOfXdp && !leftOver) expect(counted(task)).toEqual({ pinned: 0, locked: 0, user: 0 });
      expect(device.mutex.holders()).toEqual([]);
      expect(task.mm?.mmapLock.holders()).toEqual([]);
      expect(world.kernel.lockdep?.reports).toEqual([]);
      expect(auditKernel(world.kernel, world.system.tlbView)).toEqual([]);
    }
  });
});
