/** Faults on huge pages: first touch, copies, what a pool without a free page means, tasks that come together. */
import { describe, expect, it } from 'vitest';
import { MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import {
  ptraceDetach,
  ptraceInterrupt,
  ptracePokeData,
  ptraceSeize,
} from '../../../../src/kernel/remote/ptrace.ts';
import { SIGBUS } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { at, HUGE, HugetlbWorld, RW } from './hugetlb-world.ts';

describe('the first touch', () => {
  it.each([
    ['a read of private memory is mapped read-only', MAP_PRIVATE, 'get', 'X'],
    ['a write of private memory', MAP_PRIVATE, 'put', 'Xwd'],
    ['a read of shared memory is mapped writable at once', MAP_SHARED, 'get', 'Fwd'],
    ['a write of shared memory', MAP_SHARED, 'put', 'Fwd'],
  ] as const)('%s', (_, flags, how, entry) => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE, { flags });
    if (how === 'put') world.put(task, 5, 9);
    else world.get(task, 5);
    expect([world.entry(task, 0), world.entry(task, HUGE), world.counters, task.minFlt]).toEqual([
      entry,
      '-',
      '7/1',
      1,
    ]);
    world.put(task, 511, 3);
    expect([world.get(task, 511), world.get(task, 5), world.get(task, 7)]).toEqual([
      3,
      how === 'put' ? 9 : 0,
      0,
    ]);
    world.exit(task);
    expect(world.counters).toBe('8/0');
  });

  it('in a pool whose pages are promised to others is a SIGBUS', () => {
    const world = new HugetlbWorld();
    const [lucky, poor] = [world.process('lucky'), world.process('poor')];
    world.mapHuge(lucky, 0, 7 * HUGE);
    world.mapHuge(poor, 0, 2 * HUGE, { flags: MAP_PRIVATE | MAP_NORESERVE });
    expect(world.put(poor, 0, 1)).toBeNull();
    expect(world.put(poor, HUGE, 1)?.signal).toBe(SIGBUS);
    for (let n = 0; n < 7; n++) expect(world.put(lucky, n * HUGE, n)).toBeNull();
    expect(world.counters).toBe('0/0');
  });
});

describe('after fork', () => {
  it('a write copies the whole page, and the other side reuses its own', () => {
    const world = new HugetlbWorld();
    const parent = world.process('parent');
    world.mapHuge(parent, 0, HUGE);
    world.put(parent, 3, 7);
    const child = world.fork(parent);
    expect([world.entry(parent, 0), world.entry(child, 0)]).toEqual(['Ad2', 'Ad2']);
    world.put(child, 4, 8);
    expect([world.entry(parent, 0), world.entry(child, 0)]).toEqual(['Ad', 'Xwd']);
    expect([world.get(child, 3), world.get(parent, 4)]).toEqual([7, 0]);
    world.put(parent, 4, 1);
    expect([world.entry(parent, 0), world.counters]).toEqual(['Xwd', '6/0']);
    world.exit(child);
    expect(world.counters).toBe('7/0');
    world.exit(parent);
    expect(world.counters).toBe('8/0');
    expect(world.stale()).toEqual([]);
  });

  it('the child has no promise: it gets what is free, or SIGBUS', () => {
    const world = new HugetlbWorld();
    const parent = world.process('parent');
    world.mapHuge(parent, 0, 8 * HUGE);
    const child = world.fork(parent);
    expect(world.put(child, 0, 1)?.signal).toBe(SIGBUS);
    world.unmapHuge(parent, 7 * HUGE, HUGE);
    expect(world.put(child, 0, 1)).toBeNull();
    for (let n = 0; n < 7; n++) expect(world.put(parent, n * HUGE, 1)).toBeNull();
  });

  it('the owner of the promise takes the page from its child when the pool is empty', () => {
    const world = new HugetlbWorld();
    const parent = world.process('parent');
    world.mapHuge(parent, 0, 8 * HUGE);
    for (let n = 0; n < 8; n++) world.put(parent, n * HUGE, n + 1);
    const child = world.fork(parent);
    expect(world.put(parent, HUGE, 0x55)).toBeNull();
    expect([world.entry(parent, HUGE), world.entry(child, HUGE)]).toEqual(['Xwd', '-']);
    // It must not find zeros where data was.
    expect(world.get(child, HUGE)).toMatchObject({ signal: SIGBUS });
    expect(world.get(child, 2 * HUGE)).toBe(3);
    expect(world.put(child, 2 * HUGE, 1)?.signal).toBe(SIGBUS);
    world.exit(child);
    world.exit(parent);
    expect(world.counters).toBe('8/0');
    expect(world.stale()).toEqual([]);
  });

  it('shared memory is not copied and stays one', () => {
    const world = new HugetlbWorld();
    const parent = world.process('parent');
    world.mapHuge(parent, 0, HUGE, { flags: MAP_SHARED });
    world.put(parent, 0, 7);
    const child = world.fork(parent);
    expect(world.entry(child, 0)).toBe('-');
    expect(world.get(child, 0)).toBe(7);
    world.put(child, 0, 8);
    expect([world.get(parent, 0), world.entry(parent, 0), world.counters]).toEqual([8, 'Fwd2', '7/0']);
  });
});

describe('mprotect', () => {
  it('takes rights at once and gives none back before the next write', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, HUGE);
    world.put(task, 0, 1);
    const protect = (prot: number) => world.run(task, sysMprotect(task, at(0), 0x20_0000n, prot));
    protect(PROT_READ);
    expect(world.put(task, 0, 2)).toMatchObject({ signal: 11 });
    protect(RW);
    expect(world.entry(task, 0)).toBe('Xd');
    const before = task.minFlt;
    expect(world.put(task, 0, 2)).toBeNull();
    expect([world.entry(task, 0), task.minFlt - before]).toEqual(['Xwd', 1]);
  });
});

function forkTo(world: HugetlbWorld, parent: TaskStruct, cpu: number): TaskStruct {
  const child = world.run(parent, sysFork(parent, `child ${cpu}`, cpu));
  if (typeof child === 'number') throw new Error(`fork gave ${child}`);
  return child;
}

const SEEDS = Array.from({ length: 12 }, (_, seed) => seed);

describe('tasks that fault on one page', () => {
  it.each(SEEDS)('take one page of the pool, schedule %i', (seed) => {
    const world = new HugetlbWorld({ cpus: 3, policy: new RandomPolicy(seed), kernel: { hugepages2M: 1 } });
    const task = world.process('first', 0);
    const threads = [task, world.thread(task, 'second', 1), world.thread(task, 'third', 2)];
    world.mapHuge(task, 0, HUGE, { flags: seed % 2 === 0 ? MAP_PRIVATE : MAP_SHARED });
    const signals: unknown[] = [];
    threads.forEach((each, n) => {
      world.system.loop.start(
        each,
        (function* () {
          const byte = new Uint8Array(1);
          signals.push(yield* userStore(each, at(n), Uint8Array.of(n + 1)));
          signals.push(yield* userLoad(each, at(n), byte));
          signals.push(byte[0] === n + 1 ? null : 'lost');
        })(),
      );
    });
    expect(world.system.loop.run().kind).toBe('finished');
    expect(signals).toEqual(Array(9).fill(null));
    expect(world.counters).toBe('0/0');
    world.unmapHuge(task, 0, HUGE);
    expect(world.counters).toBe('1/0');
    expect(world.stale()).toEqual([]);
  });

  it.each(SEEDS)(
    'the owner takes the page from children that write it too: all come to an end (schedule %i)',
    (seed) => {
      const kernel = { hugepages2M: 2, lockdep: true };
      const world = new HugetlbWorld({ cpus: 3, policy: new RandomPolicy(seed), kernel });
      const parent = world.process('parent', 0);
      world.mapHuge(parent, 0, 2 * HUGE);
      for (const page of [0, HUGE]) world.put(parent, page, 5);
      const children = [1, 2].map((cpu) => forkTo(world, parent, cpu));
      const signals = new Map<TaskStruct, unknown>();
      for (const task of [parent, ...children]) {
        world.system.loop.start(
          task,
          (function* () {
            signals.set(task, yield* userStore(task, at(1), Uint8Array.of(7)));
          })(),
        );
      }
      expect(world.system.loop.run().kind).toBe('finished');
      expect(signals.get(parent)).toBeNull();
      for (const child of children) expect(signals.get(child)).toMatchObject({ signal: SIGBUS });
      expect([world.get(parent, 0), world.get(parent, 1), world.entry(parent, 0)]).toEqual([5, 7, 'Xwd']);
      expect(world.kernel.lockdep?.reports).toEqual([]);
      for (const task of [parent, ...children]) expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
      for (const task of [parent, ...children]) world.exit(task);
      expect(world.counters).toBe('2/0');
      expect(world.stale()).toEqual([]);
    },
  );
});

describe('a forced write', () => {
  it.each([
    ['of a page that is there', true, 0],
    ['of one that is not', false, 1],
  ])('%s', (_, touched, faults) => {
    const world = new HugetlbWorld();
    const [debugger_, task] = [world.process('debugger'), world.process('target')];
    world.mapHuge(task, 0, HUGE);
    if (touched) world.put(task, 0, 1);
    world.run(task, sysMprotect(task, at(0), 0x20_0000n, PROT_READ));
    world.run(debugger_, ptraceSeize(debugger_, task.pid));
    world.run(debugger_, ptraceInterrupt(debugger_, task.pid));
    const word = Uint8Array.of(0x77, 0, 0, 0, 0, 0, 0, 0);
    expect(world.run(debugger_, ptracePokeData(debugger_, task.pid, at(0), word))).toBe(0);
    expect(debugger_.minFlt).toBe(faults);
    world.run(debugger_, ptraceDetach(debugger_, task.pid));
    expect(world.get(task, 0)).toBe(0x77);
    expect(world.put(task, 0, 1)).toMatchObject({ signal: 11 });
  });
});
