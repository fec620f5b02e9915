/** Broken memory in a huge page of a pool. @see Linux mm/memory-failure.c, `try_memory_failure_hugetlb` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../../src/kernel/errno.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { MADV_DONTNEED, MADV_HWPOISON, MADV_SOFT_OFFLINE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import { BUS_MCEERR_AR, SIGBUS } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { at, HUGE, HugetlbWorld } from './hugetlb-world.ts';

const BROKEN = { signal: SIGBUS, code: BUS_MCEERR_AR, addressLsb: 21 };
const GIB = 512 * HUGE;

function advise(world: HugetlbWorld, task: TaskStruct, page: number, pages: number, advice: number): string {
  const result = world.run(task, sysMadvise(task, at(page), BigInt(pages) << 12n, advice));
  return result === 0 ? 'ok' : errnoName(result);
}

function scene(flags = MAP_PRIVATE): { world: HugetlbWorld; task: TaskStruct } {
  const world = new HugetlbWorld();
  const task = world.process();
  world.mapHuge(task, 0, 3 * HUGE, { flags });
  for (const n of [0, 1, 2]) world.put(task, n * HUGE, n + 1);
  return { world, task };
}

describe.each([
  ['private', MAP_PRIVATE],
  ['shared', MAP_SHARED],
])('MADV_HWPOISON in %s huge pages', (_name, flags) => {
  it('takes the whole page: a signal for its small page, then one for every access', () => {
    const { world, task } = scene(flags);
    expect(advise(world, task, HUGE + 5, 1, MADV_HWPOISON)).toBe('ok');
    expect(task.pendingSignals).toEqual([{ ...BROKEN, address: at(HUGE + 5) }]);
    expect(world.get(task, HUGE)).toMatchObject({ ...BROKEN, address: at(HUGE) });
    expect(world.put(task, 2 * HUGE - 1, 1)).toMatchObject(BROKEN);
    expect([world.get(task, 0), world.get(task, 2 * HUGE)]).toEqual([1, 3]);
    expect(world.entry(task, HUGE)).toBe('marker');
    expect(advise(world, task, HUGE, 1, MADV_HWPOISON)).toBe('EFAULT');
    expect(world.stale()).toEqual([]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('goes on behind the huge page, as far as the page is long', () => {
    const { world, task } = scene(flags);
    expect(advise(world, task, 5, 2 * HUGE, MADV_HWPOISON)).toBe('ok');
    expect(task.pendingSignals.map(({ address }) => address)).toEqual([at(5), at(HUGE + 5)]);
    expect(world.get(task, 2 * HUGE)).toBe(3);
  });

  it('the page never comes back to its pool', () => {
    const { world, task } = scene(flags);
    advise(world, task, 0, 1, MADV_HWPOISON);
    world.exit(task);
    expect(world.counters).toBe('7/0');
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('broken huge pages', () => {
  it('are forgotten by MADV_DONTNEED where they are private, and stay in a file', () => {
    for (const [flags, expected] of [
      [MAP_PRIVATE, 0],
      [MAP_SHARED, BROKEN],
    ] as const) {
      const { world, task } = scene(flags);
      advise(world, task, 0, 1, MADV_HWPOISON);
      expect(advise(world, task, 0, HUGE, MADV_DONTNEED)).toBe('ok');
      expect(world.entry(task, 0)).toBe('-');
      const got = world.get(task, 0);
      if (expected === 0) expect(got).toBe(0);
      else expect(got).toMatchObject(expected);
    }
  });

  it('go through fork and mremap', () => {
    const { world, task } = scene();
    advise(world, task, 0, 1, MADV_HWPOISON);
    const child = world.fork(task);
    expect([world.get(child, 0), world.get(child, HUGE)]).toMatchObject([BROKEN, 2]);
    const bytes = BigInt(HUGE) << 12n;
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    expect(world.run(task, sysMremap(task, at(0), bytes, bytes, flags, at(8 * HUGE)))).toBe(at(8 * HUGE));
    expect(world.get(task, 8 * HUGE)).toMatchObject(BROKEN);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('are taken from all who share the page through one table', () => {
    const world = new HugetlbWorld({ kernel: { hugepages2M: 8, lockdep: true } });
    const file = hugetlbMemfdCreate(world.kernel, 'a', 0);
    if (typeof file === 'number') throw new Error(`memfd_create gave ${file}`);
    const [task, other] = [world.process(), world.process('other')];
    for (const each of [task, other]) {
      world.mapHuge(each, 0, GIB, { file, flags: MAP_SHARED | MAP_NORESERVE });
      world.put(each, HUGE, 7);
    }
    expect(advise(world, task, HUGE, 1, MADV_HWPOISON)).toBe('ok');
    expect(task.pendingSignals).toEqual([{ ...BROKEN, address: at(HUGE) }]);
    expect(other.pendingSignals).toEqual([]);
    for (const each of [task, other]) expect(world.get(each, HUGE)).toMatchObject(BROKEN);
    expect(world.stale()).toEqual([]);
    expect(world.kernel.lockdep?.reports).toEqual([]);
  });

  it('MADV_SOFT_OFFLINE leaves a huge page where it is: EBUSY', () => {
    const { world, task } = scene();
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('EBUSY');
    expect(world.get(task, 0)).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });
});
