/**
 * Between the moment at which reclaim takes a pte away and the flush, other CPUs may still use the page. Whoever relies
 * on the empty pte meanwhile must flush first.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { folioIsolateLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { pageoutFolio } from '../../../src/kernel/mm/reclaim/pageout.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { addressOf } from './process-world.ts';
import { swapWorld } from './swap-world.ts';

const RW = PROT_READ | PROT_WRITE;
const PAGE = 0x1000n;

/** Runs the one task that is set, and others only when it has to wait for them. */
class Preferring implements Policy {
  readonly name = 'preferring';
  preferred: TaskStruct | null = null;

  choose: Policy['choose'] = (candidates, count) => {
    for (let i = 0; i < count; i++) if (candidates[i]?.task === this.preferred) return i;
    return 0;
  };
}

/** A page that reclaim, on CPU 1, has just taken out of the page table, while CPU 2 has it in its TLB. */
function unmappedAndNotFlushed() {
  const policy = new Preferring();
  const world = swapWorld({ cpus: 3, policy });
  const one = world.process('one', 0);
  const reclaimer = world.process('reclaimer', 1);
  const user = world.thread(one, 'user', 2);
  world.map(one, 0, 2, RW);
  // Without it mremap could not merge what it moves; it also keeps the table.
  world.store(one, 1, 9);
  world.store(user, 0, 5);
  const { frame } = world.pte(one, 0);
  expect(folioIsolateLru(world.kernel.frames, frame)).toBe(true);
  policy.preferred = reclaimer;
  world.system.loop.start(reclaimer, pageoutFolio(reclaimer, frame));
  const stopped = world.system.loop.run({ afterStep: () => world.page(one, 0) !== 'Sx' });
  expect(stopped.kind).toBe('stopped');
  return { world, policy, one, reclaimer, user };
}

type Call = (task: TaskStruct) => Task<number | bigint>;
const CALLS: readonly (readonly [name: string, call: Call, code: number])[] = [
  ['munmap', (task) => sysMunmap(task, addressOf(0), PAGE), 1],
  ['mprotect', (task) => sysMprotect(task, addressOf(0), PAGE, 0), 2],
  ['mremap', (task) => sysMremap(task, addressOf(0), PAGE, PAGE, 3, addressOf(40)), 1],
];

describe('a page that reclaim has unmapped and not flushed', () => {
  it('can still be written to by a CPU that has it in its TLB, and that write is not lost', () => {
    const { world, policy, user, one } = unmappedAndNotFlushed();
    policy.preferred = user;
    expect(world.store(user, 0, 6)).toBeNull();
    expect(world.page(one, 0)).toBe('Sx');
    world.system.loop.run();
    expect(world.load(one, 0)).toBe(6);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each(CALLS)('cannot be used any more once %s has returned', (_name, call, code) => {
    const { world, policy, one, user } = unmappedAndNotFlushed();
    policy.preferred = one;
    expect(world.run(one, call(one))).not.toBeLessThan(0);
    policy.preferred = user;
    expect(world.load(user, 0)).toMatchObject({ signal: 11, code });
    expect(world.store(user, 0, 1)).toMatchObject({ signal: 11, code });
    world.system.loop.run();
    expect(world.inconsistencies()).toEqual([]);
  });
});
