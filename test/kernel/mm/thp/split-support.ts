/** Huge pages with something in every page, and splitting them. */
import { expect } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPagesRemote } from '../../../../src/kernel/gup/get-user-pages-remote.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { folioLock, folioUnlock } from '../../../../src/kernel/mm/fault/folio-lock.ts';
import { splitFolio } from '../../../../src/kernel/mm/thp/split-folio.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { BASE_PAGE, mmOf } from '../process-world.ts';
import { FIRST, HUGE, type HugeScene, hugeFrame, hugeScene } from './support.ts';

/** Locks the folio of a frame, splits it, and lets lock and reference go. */
export function* lockAndSplit(task: TaskStruct, frame: number): Task<number> {
  const { frames } = task.kernel;
  yield frames.refPoint(frame);
  if (!frames.tryGet(frame)) return 1;
  yield* folioLock(task, frame);
  const result = yield* splitFolio(task, frame);
  yield* folioUnlock(task, frame);
  frames.put(frame);
  return result;
}

/** A huge page every page of which has its number in it. */
export function filled(options: Parameters<typeof hugeScene>[0] = {}): HugeScene {
  const scene = hugeScene({ memoryBytes: 0x400_0000, ...options });
  for (let page = 0; page < HUGE; page++) scene.world.store(scene.task, FIRST + page, 1 + (page % 251));
  return scene;
}

/** Splits the folio of `frame`, by default the huge page at FIRST. */
export function splitHuge(scene: HugeScene, frame = hugeFrame(scene, FIRST)): number {
  return scene.world.run(scene.task, lockAndSplit(scene.task, frame));
}

/** Some pages of `filled` still have their numbers. */
export function expectFilled({ world }: HugeScene, task: TaskStruct): void {
  for (const page of [0, 1, 15, 16, 17, 255, 300, 511]) {
    expect(world.load(task, FIRST + page)).toBe(1 + (page % 251));
  }
}

/** FOLL_PIN of one page, for writing. */
export function pin({ world, task }: HugeScene, page: number): number[] {
  const got: number[] = [];
  function* body(): Task<void> {
    yield* mmapReadLock(task, mmOf(task));
    yield* pinUserPagesRemote(task, mmOf(task), BASE_PAGE + page, 1, FOLL_WRITE, got, null);
    yield* mmapReadUnlock(task, mmOf(task));
  }
  world.run(task, body());
  return got;
}
