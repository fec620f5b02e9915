/** A task that faults and another of the same address space that holds locks: what tests of faults under VMA locks are made of. */
import { expect } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { MADV_PAGEOUT } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

export const RW = PROT_READ | PROT_WRITE;

/** Of the test that runs: `makeWorld` makes them anew. */
export let director: Director;
export let world: ProcessWorld;
export let task: TaskStruct;
export let holder: TaskStruct;

export function makeWorld(
  kernel: Partial<KernelConfig> = { swapPages: 64, transparentHugepage: 'always' },
): void {
  director = new Director();
  world = new ProcessWorld({ cpus: 2, policy: director.policy, memoryBytes: 0x200_0000, kernel });
  director.loop = world.system.loop;
  task = world.process('task', 0);
  holder = world.thread(task, 'holder', 1);
}

export const mm = (): MmStruct => mmOf(task);
export const vmaAt = (page: number): VmArea => mm().vmas.lookup(BASE_PAGE + page) as VmArea;
export const store = (page: number): Task<unknown> => userStore(task, addressOf(page), Uint8Array.of(1));
export const load = (page: number): Task<unknown> => userLoad(task, addressOf(page), new Uint8Array(1));

/** Maps four pages whose VMA has an anon_vma, as page 3 is there. */
export function mapTouched(page: number): void {
  world.map(task, page, 4, RW);
  world.store(task, page + 3, 1);
}

/** MADV_PAGEOUT of one page. */
export function pageOut(page: number): void {
  expect(world.run(task, sysMadvise(task, addressOf(page), 0x1000n, MADV_PAGEOUT))).toBe(0);
}
