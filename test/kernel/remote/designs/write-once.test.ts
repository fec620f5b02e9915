/**
 * A write of several pages beside a thread of the target that waits for the first of them and then stores there: what it
 * stores is the last word, as each page is written once.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { TaskState } from '../../../../src/sched/task.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { addressOf } from '../../mm/process-world.ts';
import { TurnsWorld } from './turns.ts';

const DESIGNS = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;

/** What it reads, and 77 stored there. */
function* loadAndStore(thread: TaskStruct): Task<number> {
  const seen = new Uint8Array(1);
  yield* userLoad(thread, addressOf(0), seen);
  yield* userStore(thread, addressOf(0), Uint8Array.of(77));
  return seen[0] as number;
}

/** Of every point of the write at which the thread comes: what it read, and what the page holds at the end. */
function outcomes(design: (typeof DESIGNS)[number]): readonly string[] {
  const seen = new Set<string>();
  for (let steps = 0, ended = false; !ended; steps++) {
    const world = new TurnsWorld(design);
    const { director, reader, writer, target } = world;
    world.map(target, 0, 2, 3);
    world.fill(0, 1, 5);
    director.start(reader, world.transfer(0, new Uint8Array(8192).fill(6), FOLL_WRITE));
    director.start(writer, loadAndStore(writer));
    for (let i = 0; i < steps && reader.state === TaskState.Live; i++) director.step(reader);
    ended = reader.state === TaskState.Idle;
    director.runOn(writer);
    director.finishAll(reader, writer);
    expect(reader.result).toBe(8192);
    expect(world.load(target, 1)).toBe(6);
    seen.add(`${writer.result} then ${world.load(target, 0)}`);
    expect(world.leftovers()).toEqual([]);
  }
  return [...seen].sort();
}

describe('a write of a page that is there and one that is not', () => {
  it.each(DESIGNS)('writes each once under %s', (design) => {
    expect(outcomes(design)).toEqual(['5 then 6', '6 then 77']);
  });
});
