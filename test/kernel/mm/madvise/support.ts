/** What the tests of madvise and its relatives share. */
import type { SharedObject, Task } from '../../../../src/base/task.ts';
import { errnoName } from '../../../../src/kernel/errno.ts';
import type { KernelConfig } from '../../../../src/kernel/kernel.ts';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { sysMlock } from '../../../../src/kernel/mm/mlock.ts';
import { pageRuns } from '../../../../src/kernel/mm/pagemap.ts';
import { smapsEntries } from '../../../../src/kernel/mm/smaps.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../process-world.ts';

export const bytes = (pages: number): bigint => BigInt(pages) << 12n;

/** `ok`, a count, or the errno's name. */
export const answer = (result: number): string => {
  if (result < 0) return errnoName(result);
  return result === 0 ? 'ok' : String(result);
};

/** A machine and a process on it. */
export interface Scene {
  readonly world: ProcessWorld;
  readonly task: TaskStruct;
}

/** With VMA locks, and whatever else the kernel is to have. */
export function scene(config: Partial<KernelConfig> = {}): Scene {
  const world = new ProcessWorld({ kernel: { perVmaLocks: true, ...config } });
  return { world, task: world.process() };
}

/** The number of MADV_`name`. */
export const adviceNamed = (name: string): number =>
  (advices as unknown as Readonly<Record<string, number>>)[`MADV_${name}`] as number;

/** mlock of pages of the arena, which succeeds. */
export function lock({ world, task }: Scene, page: number, count: number): void {
  const result = world.run(task, sysMlock(task, addressOf(page), bytes(count)));
  if (result !== 0) throw new Error(`mlock gave ${answer(result)}`);
}

/** madvise of pages of the arena. */
export function advise(
  world: ProcessWorld,
  task: TaskStruct,
  page: number,
  pages: number,
  advice: number,
): string {
  return answer(world.run(task, sysMadvise(task, addressOf(page), bytes(pages), advice)));
}

/** The VMAs of the arena as `0-4 rw-p ac dc`: pages, rights, and what of the flags is not in every private mapping. */
export function vmas(task: TaskStruct): string[] {
  const usual = new Set(['rd', 'wr', 'ex', 'sh', 'mr', 'mw', 'me', 'ms', 'ac', 'mt']);
  return smapsEntries(mmOf(task), BASE_PAGE, BASE_PAGE + 0x1_0000).map(
    ({ start, end, permissions, vmFlags }) => {
      const range = `${Number(start >> 12n) - BASE_PAGE}-${Number(end >> 12n) - BASE_PAGE}`;
      return [range, permissions, ...vmFlags.split(' ').filter((flag) => !usual.has(flag))].join(' ');
    },
  );
}

/** The pages of the arena as /proc/pid/pagemap has them: `0+2 PX`. */
export function pages(task: TaskStruct): string[] {
  return pageRuns(mmOf(task), BASE_PAGE, BASE_PAGE + 0x1_0000).map(
    ({ start, count, flags }) => `${start - BASE_PAGE}+${count} ${flags}`,
  );
}

/** Passes a task's points on and notes those of objects that `wanted` names. */
export function* traced<T>(body: Task<T>, log: string[], wanted: (object: SharedObject) => boolean): Task<T> {
  for (;;) {
    const step = body.next();
    if (step.done === true) return step.value;
    if (wanted(step.value.object)) log.push(step.value.operation);
    yield step.value;
  }
}
