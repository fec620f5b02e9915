import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildToy, explore, type Op, type Toy } from './support.ts';

const object = fc.nat(1);
const cheapOps: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constant('read' as const), object }),
  fc.record({ op: fc.constant('write' as const), object }),
  fc.record({ op: fc.constant('raise' as const), flag: fc.nat(1) }),
  fc.record({ op: fc.constant('lower' as const), flag: fc.nat(1) }),
  fc.record({ op: fc.constant('wait' as const), flag: fc.nat(1) }),
);
const lockOps: fc.Arbitrary<Op> = fc.record({
  op: fc.constantFrom('locked' as const, 'sleeping' as const),
  lock: fc.nat(1),
  object,
});
const interrupts: fc.Arbitrary<Op> = fc.record({
  op: fc.constant('interrupt' as const),
  cpu: fc.nat(1),
  object,
});

const toyOf = (
  tasks: number,
  most: number,
  op: fc.Arbitrary<Op>,
  cpu: fc.Arbitrary<number>,
): fc.Arbitrary<Toy> =>
  fc.record({
    tasks: fc.array(fc.record({ cpu, ops: fc.array(op, { minLength: 1, maxLength: most }) }), {
      minLength: 2,
      maxLength: tasks,
    }),
  });

/** As many as a test has time for. */
const FEW_ENOUGH = 600;

const endsOf = ({ ends }: { readonly ends: ReadonlyMap<string, number> }): string[] =>
  [...ends.keys()].sort();

describe.each([
  ['three tasks that read, write and wait', toyOf(3, 3, cheapOps, fc.nat(2)), 60],
  ['two tasks with locks', toyOf(2, 3, fc.oneof(cheapOps, lockOps), fc.nat(1)), 60],
  ['three tasks with locks', toyOf(3, 2, fc.oneof(cheapOps, lockOps), fc.nat(2)), 30],
  ['two tasks with interrupts', toyOf(2, 3, fc.oneof(cheapOps, interrupts), fc.nat(1)), 60],
  ['tasks of one CPU', toyOf(3, 2, fc.oneof(cheapOps, lockOps, interrupts), fc.constant(0)), 40],
])('for %s', (_, toys, numRuns) => {
  it('the reduced search comes to the same ends, in no more runs', () => {
    fc.assert(
      fc.property(toys, (toy) => {
        const all = explore(buildToy(toy), { reduction: false }, { runs: FEW_ENOUGH });
        fc.pre(all.runs < FEW_ENOUGH);
        const reduced = explore(buildToy(toy));
        expect(endsOf(reduced)).toEqual(endsOf(all));
        expect(reduced.runs + reduced.redundant).toBeLessThanOrEqual(all.runs);
        expect(new Set(reduced.schedules).size).toBe(reduced.runs);
      }),
      { numRuns },
    );
  });

  it.each([0, 1, 2])('with at most %i preemptions, too', (preemptions) => {
    fc.assert(
      fc.property(toys, (toy) => {
        const all = explore(buildToy(toy), { reduction: false, preemptions }, { runs: FEW_ENOUGH });
        fc.pre(all.runs < FEW_ENOUGH);
        const reduced = explore(buildToy(toy), { preemptions });
        expect(endsOf(reduced)).toEqual(endsOf(all));
        expect(reduced.runs + reduced.redundant).toBeLessThanOrEqual(all.runs);
      }),
      { numRuns },
    );
  });
});
