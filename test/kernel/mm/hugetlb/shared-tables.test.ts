/** pmd tables that several address spaces share: who joins, who leaves, and what the TLBs of the others may keep. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { hugetlbWalk } from '../../../../src/kernel/mm/hugetlb/huge-walk.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import type { MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import { MAP_NORESERVE, MAP_SHARED, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import type { TablePage } from '../../../../src/kernel/mm/page-table.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userStore } from '../../../../src/userland/calls/access.ts';
import { mmOf } from '../process-world.ts';
import { at, HUGE, HugetlbWorld } from './hugetlb-world.ts';

const GIB = 0x4_0000;
const FLAGS = MAP_SHARED | MAP_NORESERVE;

function tableOf(task: TaskStruct, page: number): TablePage | null {
  const mm = mmOf(task);
  const at4k = Number(at(page) >> 12n);
  const vma = mm.vmas.lookup(at4k);
  return vma === null ? null : hugetlbWalk(mm, vma, at4k);
}

/** Processes that map the same GiB of a file; the first has touched two pages of it. */
function sharers(
  count: number,
  world = new HugetlbWorld(),
): { world: HugetlbWorld; tasks: TaskStruct[]; file: MappedFile } {
  const file = hugetlbMemfdCreate(world.kernel, 'a', 0) as MappedFile;
  const tasks = Array.from({ length: count }, (_, n) =>
    world.process(`p${n}`, n % world.kernel.machine.cpus.length),
  );
  for (const task of tasks) world.mapHuge(task, 0, GIB, { file, flags: FLAGS });
  world.put(tasks[0] as TaskStruct, 0, 1);
  world.put(tasks[0] as TaskStruct, HUGE, 2);
  return { world, tasks, file };
}

describe('mappings of the same aligned GiB of a file', () => {
  it('use one table, and see at once what another has faulted in', () => {
    const { world, tasks } = sharers(3);
    const [a, b, c] = tasks as [TaskStruct, TaskStruct, TaskStruct];
    expect(world.get(b, 5 * HUGE)).toBe(0);
    const before = b.minFlt;
    expect([world.get(b, 0), world.get(b, HUGE), b.minFlt - before]).toEqual([1, 2, 0]);
    world.get(c, 0);
    const table = tableOf(a, 0);
    expect([tableOf(b, 0) === table, tableOf(c, 0) === table, table?.sharers]).toEqual([true, true, 2]);
  });

  it.each([
    ['part of the GiB', { pages: GIB - HUGE }],
    ['it at another place in a GiB', { page: HUGE }],
    ['it with other rights', { prot: PROT_READ }],
  ])('do not when one maps %s', (_, { page = 0, pages = GIB, prot }: Different) => {
    const { world, tasks, file } = sharers(1);
    const other = world.process('other');
    const more = prot === undefined ? {} : { prot };
    world.mapHuge(other, page, pages, { file, flags: FLAGS, ...more });
    world.get(other, page);
    expect(tableOf(other, page)?.sharers).toBe(0);
    expect(tableOf(tasks[0] as TaskStruct, 0)?.sharers).toBe(0);
  });

  it('fork makes the child one of them with its first fault', () => {
    const { world, tasks } = sharers(1);
    const parent = tasks[0] as TaskStruct;
    const child = world.fork(parent);
    expect([world.get(child, HUGE), tableOf(parent, 0)?.sharers]).toEqual([2, 1]);
    world.exit(child);
    expect([world.get(parent, HUGE), tableOf(parent, 0)?.sharers]).toEqual([2, 0]);
    expect(world.stale()).toEqual([]);
  });
});

interface Different {
  readonly page?: number;
  readonly pages?: number;
  readonly prot?: number;
}

describe('leaving a shared table', () => {
  it.each([
    ['munmap', (t: TaskStruct) => sysMunmap(t, at(0), BigInt(GIB) << 12n)],
    ['munmap of a part', (t: TaskStruct) => sysMunmap(t, at(HUGE), 0x20_0000n)],
    ['mprotect', (t: TaskStruct) => sysMprotect(t, at(0), BigInt(GIB) << 12n, PROT_READ)],
    ['mprotect of a part', (t: TaskStruct) => sysMprotect(t, at(HUGE), 0x20_0000n, PROT_READ)],
  ])('%s leaves what the others map alone', (_, call) => {
    const { world, tasks } = sharers(2);
    const [a, b] = tasks as [TaskStruct, TaskStruct];
    world.get(b, 0);
    world.get(b, HUGE);
    expect(world.run(b, call(b))).toBe(0);
    expect(tableOf(a, 0)?.sharers).toBe(0);
    const before = a.minFlt;
    expect([world.get(a, 0), world.get(a, HUGE), a.minFlt - before]).toEqual([1, 2, 0]);
    world.put(a, HUGE, 3);
    expect(a.minFlt - before).toBe(0);
    expect(world.stale()).toEqual([]);
  });

  it.each(Array.from({ length: 10 }, (_, seed) => seed))('while others fault, schedule %i', (seed) => {
    const { world, tasks } = sharers(3, new HugetlbWorld({ cpus: 3, policy: new RandomPolicy(seed) }));
    const [a, b, c] = tasks as [TaskStruct, TaskStruct, TaskStruct];
    const lost: unknown[] = [];
    const start = (task: TaskStruct, body: Task<void>): void => world.system.loop.start(task, body);
    for (const task of [a, b]) {
      start(
        task,
        (function* () {
          for (let n = 0; n < 4; n++) {
            const signal = yield* userStore(task, at(n * HUGE + task.pid), Uint8Array.of(task.pid));
            if (signal !== null) lost.push(signal);
          }
        })(),
      );
    }
    start(
      c,
      (function* () {
        yield* userStore(c, at(0), Uint8Array.of(9));
        yield* sysMprotect(c, at(HUGE), 0x20_0000n, PROT_READ);
        yield* sysMunmap(c, at(0), BigInt(GIB) << 12n);
      })(),
    );
    expect(world.system.loop.run().kind).toBe('finished');
    expect(lost).toEqual([]);
    for (const task of [a, b]) {
      for (let n = 0; n < 4; n++) expect(world.get(a, n * HUGE + task.pid)).toBe(task.pid);
    }
    expect(world.pool.freeHugePages).toBe(4);
    expect(world.stale()).toEqual([]);
    for (const task of tasks) world.exit(task);
    // CPUs that are idle keep the root tables that they used last.
    expect(world.kernel.pageTables.count).toBeLessThanOrEqual(3);
  });
});
