/** Machines with swap and little memory, and what tests of them do again and again. */
import { folioIsolateLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { pageoutFolio } from '../../../src/kernel/mm/reclaim/pageout.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { ProcessWorld, type ProcessWorldOptions } from './process-world.ts';

/** Slots of the swap area, unless a test says otherwise. */
export const SWAP_PAGES = 512;

export function swapWorld(
  options: ProcessWorldOptions & { readonly frameLimit?: number } = {},
): ProcessWorld {
  const { frameLimit = 0, kernel = {}, ...others } = options;
  return new ProcessWorld({
    ...others,
    kernel: { swapPages: SWAP_PAGES, frameLimit, lockdep: true, ...kernel },
  });
}

/** Reclaims the page that is mapped at `page` of the arena, as MADV_PAGEOUT would; whether it is free now. */
export function swapOut(world: ProcessWorld, task: TaskStruct, page: number): boolean {
  const { frame } = world.pte(task, page);
  if (frame === -1) throw new Error(`nothing is mapped at page ${page}`);
  if (!folioIsolateLru(world.kernel.frames, frame)) return false;
  return world.run(task, pageoutFolio(task, frame));
}
