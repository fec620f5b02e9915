/**
 * MADV_GUARD_INSTALL where userfaultfd's write protection keeps markers: it is made again and again, as in Linux.
 * @see Linux mm/madvise.c, `madvise_guard_install`; include/linux/sched/signal.h, `restart_syscall`
 */
import { expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { EINTR } from '../../../../src/kernel/errno.ts';
import { MADV_GUARD_INSTALL } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { SIGKILL } from '../../../../src/kernel/signal.ts';
import { addressOf } from '../process-world.ts';
import { bytesOf, RW, UffdWorld, WP } from '../userfaultfd/uffd-world.ts';
import { traced } from './support.ts';

/** Two pages of shared memory, of which nothing but markers is mapped; the owner is about to put guards there. */
function started(): { readonly world: UffdWorld; readonly log: string[]; readonly results: number[] } {
  const world = new UffdWorld();
  const { owner } = world;
  world.map(owner, 0, 2, RW, MAP_SHARED);
  world.register(0, 2, WP);
  expect(world.protect(0, 2)).toBe(0);
  const log: string[] = [];
  const results: number[] = [];
  const installing = function* (): Task<void> {
    const call = sysMadvise(owner, addressOf(0), bytesOf(2), MADV_GUARD_INSTALL);
    results.push(yield* traced(call, log, (object) => object === owner.object));
  };
  world.system.loop.start(owner, installing());
  world.system.loop.run({ maxSteps: 2000 });
  expect(results).toEqual([]);
  expect(log.length).toBeGreaterThan(3);
  expect(new Set(log)).toEqual(new Set(['restart_syscall']));
  return { world, log, results };
}

it('others run meanwhile on the same CPU, and the call ends when the markers are gone', () => {
  const { world, results } = started();
  expect(world.protect(0, 2, 0n)).toBe(0);
  world.settle();
  expect(results).toEqual([0]);
  world.expectConsistent();
});

it('ends when its process is killed', () => {
  const { world, results } = started();
  world.owner.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
  world.settle();
  expect(results).toEqual([-EINTR]);
  world.expectConsistent();
});
