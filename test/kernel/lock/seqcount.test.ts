import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { SeqCount } from '../../../src/kernel/lock/seqcount.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import type { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld, writePoint } from '../../sched/support.ts';

/** How often a reader saw a torn pair over many schedules, if it retries and if it does not. */
function tornReads(retries: boolean): number {
  let torn = 0;
  for (let seed = 0; seed < 300; seed++) {
    const world = makeWorld(2, new RandomPolicy(seed));
    const count = new SeqCount('write_protect_seq');
    const [writer, reader] = makeTasks(0, 1) as [SchedTask, SchedTask];
    const point = writePoint('pair');
    let left = 0;
    let right = 0;
    world.loop.start(
      writer,
      (function* (): Task<void> {
        for (let round = 1; round <= 3; round++) {
          yield* count.writeBegin();
          yield point;
          left = round;
          yield point;
          right = round;
          yield* count.writeEnd();
        }
      })(),
    );
    const read = function* (): Task<[number, number]> {
      for (;;) {
        const begun = yield* count.tryBegin();
        yield point;
        const first = left;
        yield point;
        const second = right;
        if (!retries) return [first, second];
        if (begun !== null && !(yield* count.retry(begun))) return [first, second];
      }
    };
    const [first, second] = world.loop.complete(reader, read());
    if (first !== second) torn++;
  }
  return torn;
}

describe('a sequence counter', () => {
  it('lets no reader keep a half-done change', () => {
    expect(tornReads(true)).toBe(0);
  });

  it('would be needed: without the retry readers do see half-done changes', () => {
    expect(tornReads(false)).toBeGreaterThan(0);
  });

  it('does not let two writers in', () => {
    const world = makeWorld(1);
    const count = new SeqCount('seq');
    const [a] = makeTasks(0) as [SchedTask];
    world.loop.complete(a, count.writeBegin());
    expect(count.sequence).toBe(1);
    expect(() => world.loop.complete(a, count.writeBegin())).toThrow('two writers in seq');
  });

  it('does not let a writer out that never came in', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    expect(() => world.loop.complete(a, new SeqCount('seq').writeEnd())).toThrow('no writer in seq');
  });
});
