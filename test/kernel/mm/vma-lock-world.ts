/** Two tasks of one address space and one of another, moved by hand: what tests of VMA locks are made of. */
import type { Task } from '../../../src/base/task.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

export const RW = PROT_READ | PROT_WRITE;

/** Of the test that runs: `beginWorld` makes them anew. */
export let director: Director;
export let world: ProcessWorld;
export let reader: TaskStruct;
export let writer: TaskStruct;
export let other: TaskStruct;

/** To be called before each test. The reader and the writer have four pages mapped. */
export function beginWorld(): void {
  director = new Director();
  world = new ProcessWorld({ cpus: 3, policy: director.policy });
  director.loop = world.system.loop;
  reader = world.process('reader', 0);
  writer = world.thread(reader, 'writer', 1);
  other = world.process('other', 2);
  world.map(reader, 0, 4, RW);
}

export const mm = (): MmStruct => mmOf(reader);
export const counters = () => mm().vmaLockCounters;
export const vmaAt = (page: number, of = mm()): VmArea => of.vmas.lookup(BASE_PAGE + page) as VmArea;
export const lock = (page: number, by = reader): Task<VmArea | null> =>
  lockVmaUnderRcu(by, mmOf(by), BASE_PAGE + page);
export const result = (task: TaskStruct): VmArea | null => task.result as VmArea | null;

/** mmap_lock held for writing around `body`. */
export function* asWriter(task: TaskStruct, body: Task<unknown>): Task<unknown> {
  yield* mmapWriteLock(task, mmOf(task));
  const answer = yield* body;
  yield* mmapWriteUnlock(task, mmOf(task));
  return answer;
}
