/** Two processes, and calls of GUP by one of them on its own memory or on the other's, with every count looked at. */
import { expect } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import type { PageArray } from '../../../src/kernel/gup/foll-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, PAGE, World } from '../support/world.ts';

export const RW = PROT_READ | PROT_WRITE;
/** The first page of the arena. */
export const FIRST = Number(BASE / PAGE);

export function setUp() {
  const world = new World();
  const target = world.process('target');
  const caller = world.process('caller');
  return { world, target, caller, mm: mmOf(target) };
}

export function mmOf(task: TaskStruct): MmStruct {
  if (task.mm === null) throw new Error(`${task.name} has no memory`);
  return task.mm;
}

/** Runs `path` with mmap_lock of `mm` held for reading; it must be held afterwards, and is let go. */
export function locked<T>(world: World, caller: TaskStruct, mm: MmStruct, path: Task<T>): T {
  function* inside(): Task<T> {
    yield* mmapReadLock(caller, mm);
    const result = yield* path;
    yield* mmapReadUnlock(caller, mm);
    return result;
  }
  return world.run(caller, inside());
}

/** `count` slots that hold no page. */
export function slots(count: number): number[] {
  return new Array<number>(count).fill(-1);
}

/** Reference counts, by frame. */
export function counts(world: World, pages: PageArray): number[] {
  return Array.from(pages, (frame) => world.kernel.frames.refcount(frame));
}

/** Nobody holds a lock of `mm`, and nothing was warned of. */
export function expectQuiet(world: World, mm: MmStruct): void {
  expect(mm.mmapLock.holders()).toEqual([]);
  expect(world.kernel.warnings.list).toEqual([]);
}
