import { describe, expect, it } from 'vitest';
import { SharedObject, type Task } from '../../../src/base/task.ts';
import { createSearch } from '../../../src/sched/search/create-search.ts';
import type { SearchOptions, SearchState } from '../../../src/sched/search/search.ts';
import { makeTasks, type World } from '../support.ts';
import { buildToy, DEFAULTS, explore, exploreWith, reads, type Toy, writes } from './support.ts';

/** Reads a number and writes it back, one more. */
const lostUpdate = (tasks: number) => (world: World) => {
  const x = new SharedObject('x');
  let value = 0;
  function* increment(): Task<void> {
    yield reads(x);
    const seen = value;
    yield writes(x);
    value = seen + 1;
  }
  for (const task of makeTasks(0, 1, 2).slice(0, tasks)) world.loop.start(task, increment());
  return () => String(value);
};

/** Tasks that have nothing to do with each other. */
const independent = (tasks: number, steps: number) => (world: World) => {
  for (const task of makeTasks(0, 1, 2).slice(0, tasks)) {
    const own = writes(new SharedObject(`own ${task.id}`));
    world.loop.start(
      task,
      (function* (): Task<void> {
        for (let step = 0; step < steps; step++) yield own;
      })(),
    );
  }
  return () => '';
};

const deadlock: Toy = {
  tasks: [
    {
      cpu: 0,
      ops: [
        { op: 'wait', flag: 0 },
        { op: 'raise', flag: 1 },
      ],
    },
    {
      cpu: 1,
      ops: [
        { op: 'wait', flag: 1 },
        { op: 'raise', flag: 0 },
      ],
    },
  ],
};

const someToy: Toy = {
  tasks: [
    {
      cpu: 0,
      ops: [
        { op: 'write', object: 0 },
        { op: 'locked', lock: 0, object: 1 },
        { op: 'read', object: 0 },
      ],
    },
    {
      cpu: 1,
      ops: [
        { op: 'locked', lock: 0, object: 1 },
        { op: 'write', object: 0 },
      ],
    },
  ],
};

/** Two tasks that write the same objects in turns. */
const longToy: Toy = {
  tasks: [0, 1].map((cpu) => ({
    cpu,
    ops: Array.from({ length: 16 }, (_, at) => ({ op: at % 2 === 0 ? 'write' : 'read', object: at % 3 })),
  })),
};

/** Starts count as steps, and are choices like the others. */
const interleavings = (tasks: number, steps: number): number => {
  const factorial = (n: number): number => (n < 2 ? 1 : n * factorial(n - 1));
  return factorial(tasks * (steps + 1)) / factorial(steps + 1) ** tasks;
};

describe('depth-first search without reduction', () => {
  it.each([
    [2, 1],
    [2, 3],
    [3, 1],
    [3, 2],
  ])('makes every interleaving of %i tasks of %i steps once', (tasks, steps) => {
    const { runs, schedules } = explore(independent(tasks, steps), { reduction: false });
    expect(runs).toBe(interleavings(tasks, steps));
    expect(new Set(schedules).size).toBe(runs);
  });

  it.each([
    [0, 2],
    // One task stops once, before any of its steps but the first; then the other runs to its end.
    [1, 2 + 2 * 3],
  ])('with at most %i preemptions makes %i runs of two tasks of 3 steps', (preemptions, runs) => {
    expect(explore(independent(2, 3), { reduction: false, preemptions }).runs).toBe(runs);
  });
});

describe('depth-first search with reduction', () => {
  it.each([
    [2, 4],
    [3, 3],
  ])('runs %i tasks of %i steps that have nothing in common once', (tasks, steps) => {
    const { runs, redundant } = explore(independent(tasks, steps));
    expect([runs, redundant]).toEqual([1, 0]);
  });

  it('finds every outcome of a lost update', () => {
    const { ends, runs } = explore(lostUpdate(3));
    expect([...ends.keys()].sort()).toEqual(['finished 1', 'finished 2', 'finished 3']);
    expect(runs).toBeLessThan(explore(lostUpdate(3), { reduction: false }).runs / 10);
  });

  it('finds a deadlock', () => {
    expect([...explore(buildToy(deadlock)).ends.keys()].every((end) => end.startsWith('deadlock'))).toBe(
      true,
    );
  });
});

describe.each([true, false])('shards, with reduction: %s,', (reduction) => {
  it.each([2, 3])('of %i are disjoint and together the whole', (count) => {
    const whole = explore(buildToy(someToy), { reduction });
    const parts = Array.from({ length: count }, (_, index) =>
      explore(buildToy(someToy), { reduction, shard: { index, count } }),
    );
    const schedules = parts.flatMap((part) => part.schedules);
    expect(new Set(schedules).size).toBe(schedules.length);
    expect(new Set(parts.flatMap((part) => [...part.ends.keys()]))).toEqual(new Set(whole.ends.keys()));
    if (!reduction) expect(new Set(schedules)).toEqual(new Set(whole.schedules));
  });
});

describe.each([
  { reduction: false, preemptions: 1 },
  { reduction: false, preemptions: 2 },
  { reduction: true, preemptions: 2 },
])('shards of a search with %o', (bounds) => {
  it.each([2, 3, 5])('of %i have about as much to do each', (count) => {
    const build = buildToy(longToy);
    const whole = explore(build, bounds);
    expect(whole.runs).toBeGreaterThanOrEqual(bounds.preemptions === 1 ? 30 : 100);
    const parts = Array.from({ length: count }, (_, index) =>
      explore(build, { ...bounds, shard: { index, count } }),
    );
    const runs = parts.map((part) => part.runs);
    expect(Math.max(...runs)).toBeLessThanOrEqual(2 * Math.min(...runs));
    const schedules = parts.flatMap((part) => part.schedules);
    expect(new Set(schedules).size).toBe(schedules.length);
    expect(new Set(parts.flatMap((part) => [...part.ends.keys()]))).toEqual(new Set(whole.ends.keys()));
    if (!bounds.reduction) expect(new Set(schedules)).toEqual(new Set(whole.schedules));
  });
});

const kinds: readonly Partial<SearchOptions>[] = [
  { policy: 'dfs' },
  { policy: 'dfs', preemptions: 2 },
  { policy: 'dfs', reduction: false, preemptions: 2 },
  { policy: 'pct' },
  { policy: 'random' },
  { policy: 'stalling' },
  { policy: 'auto' },
  { policy: 'auto', shard: { index: 1, count: 3 } },
];

describe.each(kinds.map((kind): [string, Partial<SearchOptions>] => [JSON.stringify(kind), kind]))(
  '%s',
  (_, kind) => {
    const options = { ...DEFAULTS, ...kind };

    it('makes the same runs again', () => {
      const once = exploreWith(createSearch(options), buildToy(someToy), { runs: 60 });
      const again = exploreWith(createSearch(options), buildToy(someToy), { runs: 60 });
      expect(again).toEqual(once);
    });

    it.each([1, 7, 20])('goes on from a checkpoint after %i runs as if it had not stopped', (first) => {
      const whole = exploreWith(createSearch(options), buildToy(someToy), { runs: 60 });
      const begun = createSearch(options);
      const before = exploreWith(begun, buildToy(someToy), { runs: first });
      const state = JSON.parse(JSON.stringify(begun.save())) as SearchState;
      const after = exploreWith(createSearch(options, state), buildToy(someToy), { runs: 60 - first });
      expect([...before.schedules, ...after.schedules]).toEqual(whole.schedules);
      expect(after.runs).toBe(whole.runs);
      expect(after.distinctStates).toBe(whole.distinctStates);
    });

    it('does not go on from the checkpoint of another seed', () => {
      const state = createSearch({ ...options, seed: 2 }).save();
      expect(() => createSearch(options, state)).toThrow('this search cannot go on from there');
    });
  },
);

/** As in figure 5 of the paper: a bug of depth 2, when one certain step of the first task comes before one of the other. */
const figure5 = (steps: number) => (world: World) => {
  const x = new SharedObject('x');
  let set = false;
  let seen = false;
  const [a, b] = makeTasks(0, 1);
  if (a === undefined || b === undefined) throw new Error('two tasks');
  world.loop.start(
    a,
    (function* (): Task<void> {
      for (let step = 0; step < steps; step++) {
        yield writes(x);
        set = step === steps >> 1;
      }
    })(),
  );
  world.loop.start(
    b,
    (function* (): Task<void> {
      yield writes(x);
      seen = set;
    })(),
  );
  return () => (seen ? 'found' : 'not found');
};

describe('PCT', () => {
  it('finds a bug of depth 2 as often as it promises', () => {
    // Two tasks and about 22 choices, of which one must be the change: at least 1 in 2 * 22 of the runs that begin with a.
    const steps = 20;
    const bound = 1 / (2 * (steps + 2));
    const runs = 2000;
    for (const seed of [1, 2, 3]) {
      const { ends } = explore(figure5(steps), { policy: 'pct', depth: 2, seed }, { runs });
      // Three standard deviations below what the bound lets expect.
      const least = runs * bound - 3 * Math.sqrt(runs * bound);
      expect(ends.get('finished found') ?? 0).toBeGreaterThan(least);
    }
  });

  it('of depth 1 never finds it', () => {
    expect(explore(figure5(20), { policy: 'pct', depth: 1 }, { runs: 200 }).ends.has('finished found')).toBe(
      false,
    );
  });
});
