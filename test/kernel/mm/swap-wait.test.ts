/** A fault on a page that another task is reading from swap right now: it waits, but not with its locks held. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { userLoad } from '../../../src/userland/calls/access.ts';
import { addressOf } from './process-world.ts';
import { swapOut, swapWorld } from './swap-world.ts';

/** Runs the one task that is set, and others only when it has to wait for them. */
class Preferring implements Policy {
  readonly name = 'preferring';
  preferred: TaskStruct | null = null;

  choose: Policy['choose'] = (candidates, count) => {
    for (let i = 0; i < count; i++) if (candidates[i]?.task === this.preferred) return i;
    return 0;
  };
}

/**
 * Parent and child share a page in swap. The child is in the middle of reading it, the parent waits for that; the
 * parent has another thread.
 */
function parentWaits(perVmaLocks: boolean) {
  const policy = new Preferring();
  const world = swapWorld({ cpus: 3, policy, kernel: { perVmaLocks } });
  const parent = world.process('parent', 0);
  const other = world.thread(parent, 'other', 1);
  world.map(parent, 0, 2, PROT_READ | PROT_WRITE);
  for (const page of [0, 1]) world.store(parent, page, page + 1);
  const child = world.fork(parent, 'child');
  expect(child.cpu).toBe(0);
  expect(swapOut(world, parent, 0)).toBe(true);
  const slot = world.swapSlot(parent, 0);
  const { frames, swap } = world.kernel;
  const { loop } = world.system;
  const byte = new Uint8Array(1);
  const results: { signal: unknown } = { signal: undefined };
  policy.preferred = child;
  loop.start(child, userLoad(child, addressOf(0), new Uint8Array(1)));
  const reads = (): boolean => {
    const folio = swap?.frameOf(slot) ?? -1;
    return folio !== -1 && frames.hasFlag(folio, FrameFlag.Locked);
  };
  expect(loop.run({ afterStep: () => !reads() }).kind).toBe('stopped');
  policy.preferred = other;
  const load = (function* (): Task<void> {
    results.signal = yield* userLoad(other, addressOf(0), byte);
  })();
  loop.start(other, load);
  const waits = (): boolean => other.pendingPoint()?.operation === 'folio_wait_locked';
  expect(loop.run({ afterStep: () => !waits() }).kind).toBe('stopped');
  return { world, policy, parent, other, child, byte, results };
}

describe.each([
  ['under mmap_lock', false],
  ['under the lock of the VMA', true],
])('a fault %s on a page that is being read', (_name, perVmaLocks) => {
  it('lets its lock go while it waits, and finds the page then', () => {
    const { world, policy, parent, other, byte, results } = parentWaits(perVmaLocks);
    policy.preferred = parent;
    // A writer of mmap_lock and of this very VMA gets through.
    expect(world.run(parent, sysMunmap(parent, addressOf(1), 0x1000n))).toBe(0);
    expect(other.pendingPoint()?.operation).toBe('folio_wait_locked');
    expect(world.system.loop.run().kind).toBe('finished');
    expect(results.signal).toBeNull();
    expect(byte[0]).toBe(1);
    expect(world.page(parent, 0)).toBe('A2');
    expect(world.inconsistencies()).toEqual([]);
  });

  it('ends when it is killed', () => {
    const { world, policy, other, results } = parentWaits(perVmaLocks);
    policy.preferred = other;
    other.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(world.system.loop.run({ until: other }).kind).toBe('finished');
    expect(results.signal).toMatchObject({ signal: SIGKILL });
    expect(world.system.loop.run().kind).toBe('finished');
    expect(world.inconsistencies()).toEqual([]);
  });

  it('finds nothing when the memory went meanwhile', () => {
    const { world, policy, parent, results } = parentWaits(perVmaLocks);
    policy.preferred = parent;
    expect(world.run(parent, sysMunmap(parent, addressOf(0), 0x2000n))).toBe(0);
    expect(world.system.loop.run().kind).toBe('finished');
    expect(results.signal).toMatchObject({ signal: 11, code: 1 });
    expect(world.inconsistencies()).toEqual([]);
  });
});
