/** mmap of huge pages: sizes, what is promised, and how other calls treat such mappings. */
import { describe, expect, it } from 'vitest';
import { EINVAL, ENOMEM } from '../../../../src/kernel/errno.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import type { MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import {
  MAP_ANONYMOUS,
  MAP_HUGE_1GB,
  MAP_HUGE_2MB,
  MAP_HUGETLB,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { smapsEntries } from '../../../../src/kernel/mm/smaps.ts';
import { mmOf } from '../process-world.ts';
import { at, HUGE, HugetlbWorld, RW } from './hugetlb-world.ts';

const MADV_DONTNEED = 4;
const ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;

describe('the pools', () => {
  it('are empty on a kernel that was not told to have any, and take no memory', () => {
    const world = new HugetlbWorld({ kernel: {} });
    const bare = new HugetlbWorld();
    expect(world.pool.nrHugePages).toBe(0);
    expect(world.kernel.frames.freeFrames - bare.kernel.frames.freeFrames).toBe(8 * HUGE);
    expect(world.mapHuge(world.process(), 0, HUGE)).toBe(-ENOMEM);
  });

  it('have as many pages as memory has room for', () => {
    const world = new HugetlbWorld({ kernel: { hugepages2M: 100 } });
    expect(world.pool.nrHugePages).toBeGreaterThan(10);
    expect(world.pool.nrHugePages).toBeLessThan(16);
    expect(world.pool.freeHugePages).toBe(world.pool.nrHugePages);
  });

  it('keep the memory of a 1 GiB page together, aligned to its size', () => {
    const world = new HugetlbWorld({ memoryBytes: 0xc000_0000, kernel: { hugepages1G: 1, hugepages2M: 1 } });
    const [, gigantic] = world.kernel.hugetlb.hstates;
    expect([gigantic?.nrHugePages, gigantic?.shift, world.pool.nrHugePages]).toEqual([1, 30, 1]);
    const frame = gigantic?.dequeue(false) ?? -1;
    expect(frame % 0x4_0000).toBe(0);
    world.kernel.frames.put(frame);
    expect(gigantic?.freeHugePages).toBe(1);
  });
});

describe('mmap of huge pages', () => {
  it.each([
    ['the default size', 0, 0],
    ['2 MiB', MAP_HUGE_2MB, 0],
    ['1 GiB, of which there is none', MAP_HUGE_1GB, -ENOMEM],
    ['64 KiB, which no table entry maps', 16 << 26, -EINVAL],
    ['32 MiB', 25 << 26, -EINVAL],
  ])('with %s', (_, size, error) => {
    const world = new HugetlbWorld();
    expect(world.mapHuge(world.process(), 0, HUGE, { flags: MAP_PRIVATE | size })).toBe(error);
  });

  it.each([
    ['rounds the length up', 0, 1, 0],
    ['refuses a place that is not aligned', 1, HUGE, -EINVAL],
    ['looks at the place before it counts pages', 1, 100 * HUGE, -EINVAL],
    ['refuses more pages than are free', 0, 9 * HUGE, -ENOMEM],
    ['gives as many as are free', 0, 8 * HUGE, 0],
  ])('%s', (_, page, pages, error) => {
    const world = new HugetlbWorld();
    const task = world.process();
    expect(world.mapHuge(task, page, pages)).toBe(error);
    const expected = error === 0 ? Math.ceil(pages / HUGE) : 0;
    expect(world.pool.resvHugePages).toBe(expected);
    expect([...mmOf(task).vmas].map((vma) => vma.pages)).toEqual(expected === 0 ? [] : [expected * HUGE]);
  });
});

describe('a mapping of huge pages', () => {
  it('promises nothing with MAP_NORESERVE, whatever overcommit says', () => {
    const world = new HugetlbWorld({ kernel: { hugepages2M: 8, overcommitMemory: 2 } });
    const task = world.process();
    expect(world.mapHuge(task, 0, 100 * HUGE, { flags: MAP_PRIVATE | MAP_NORESERVE })).toBe(0);
    expect(world.counters).toBe('8/0');
    const fate = Array.from({ length: 9 }, (_, n) => world.put(task, n * HUGE, 1)?.signal ?? 0);
    expect(fate).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 7]);
  });

  it('chooses aligned places, from the top', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    const map = (hint: bigint) => world.run(task, sysMmap(task, hint, 0x1000n, RW, ANONYMOUS, null, 0n));
    const first = map(0n);
    const second = map(0n);
    expect(first % 0x20_0000n).toBe(0n);
    expect(first - second).toBe(0x20_0000n);
    expect(map(at(1))).toBe(at(HUGE));
  });

  it('populates with MAP_POPULATE', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    expect(world.mapHuge(task, 0, 2 * HUGE, { flags: MAP_PRIVATE | MAP_POPULATE })).toBe(0);
    expect([world.entry(task, 0), world.entry(task, HUGE), world.counters]).toEqual(['Xwd', 'Xwd', '6/0']);
  });

  it('over another mapping may use what that one was promised', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 8 * HUGE);
    expect(world.mapHuge(task, 0, 8 * HUGE, { flags: MAP_SHARED })).toBe(0);
    expect(world.counters).toBe('8/8');
    // The old mapping is gone even when the new one is refused.
    expect(world.mapHuge(task, 0, 9 * HUGE)).toBe(-ENOMEM);
    expect([...mmOf(task).vmas]).toEqual([]);
    expect(world.counters).toBe('8/0');
  });

  it('shows the flags and counters of such a mapping', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE);
    world.put(task, HUGE, 1);
    const [entry] = smapsEntries(mmOf(task));
    expect(entry).toMatchObject({
      kind: 'hugetlb',
      permissions: 'rw-p',
      vmFlags: expect.stringMatching(/^rd wr mr mw me de ht/),
      rss: 2048,
      anonymous: 0,
    });
    expect([mmOf(task).hugetlbUsage, mmOf(task).residentPages]).toEqual([HUGE, 0]);
  });
});

describe('a file of huge pages', () => {
  const create = (world: HugetlbWorld): MappedFile => hugetlbMemfdCreate(world.kernel, 'a', 0) as MappedFile;

  it('grows to what is mapped writable', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    const file = create(world);
    expect(world.mapHuge(task, 0, 2 * HUGE, { file, flags: MAP_SHARED, prot: PROT_READ })).toBe(0);
    expect(file.mapping.sizeBytes).toBe(0);
    expect(world.get(task, 0)).toMatchObject({ signal: 7 });
    expect(world.mapHuge(task, 4 * HUGE, 2 * HUGE, { file, flags: MAP_SHARED, offset: HUGE })).toBe(0);
    expect(file.mapping.sizeBytes).toBe(0x60_0000);
    expect(world.get(task, HUGE)).toBe(0);
  });

  it.each([
    ['an offset inside a huge page', { offset: 1 }, -EINVAL],
    ['MAP_HUGETLB as well', { flags: MAP_SHARED | MAP_HUGETLB }, 0],
  ])('with %s', (_, more, error) => {
    const world = new HugetlbWorld();
    const options = { flags: MAP_SHARED, file: create(world), ...more };
    expect(world.mapHuge(world.process(), 0, HUGE, options)).toBe(error);
  });

  it('is promised once to all its shared mappings, and keeps the promise while it is open', () => {
    const world = new HugetlbWorld();
    const [a, b] = [world.process('a'), world.process('b')];
    const file = create(world);
    world.mapHuge(a, 0, 4 * HUGE, { file, flags: MAP_SHARED });
    world.mapHuge(b, 0, 6 * HUGE, { file, flags: MAP_SHARED });
    expect(world.counters).toBe('8/6');
    world.put(a, 0, 7);
    expect([world.get(b, 0), world.counters]).toEqual([7, '7/5']);
    world.unmapHuge(a, 0, 4 * HUGE);
    world.unmapHuge(b, 0, 6 * HUGE);
    expect(world.counters).toBe('7/5');
  });
});

describe('other calls on huge pages', () => {
  it.each([
    ['munmap of a part', (w: HugetlbWorld, t: Task) => w.unmapHuge(t, 0, 1), -EINVAL],
    ['munmap from the middle of a page', (w: HugetlbWorld, t: Task) => w.unmapHuge(t, 1, HUGE - 1), -EINVAL],
    ['munmap of a whole page', (w: HugetlbWorld, t: Task) => w.unmapHuge(t, 0, HUGE), 0],
    [
      'mprotect of a part',
      (w: HugetlbWorld, t: Task) => w.run(t, sysMprotect(t, at(1), 0x1000n, 1)),
      -EINVAL,
    ],
    ['mprotect of a page', (w: HugetlbWorld, t: Task) => w.run(t, sysMprotect(t, at(0), 0x20_0000n, 1)), 0],
    [
      'DONTNEED of a part from its start',
      (w: HugetlbWorld, t: Task) => w.run(t, sysMadvise(t, at(0), 0x1000n, MADV_DONTNEED)),
      0,
    ],
    [
      'DONTNEED from the middle',
      (w: HugetlbWorld, t: Task) => w.run(t, sysMadvise(t, at(1), 0x20_0000n, MADV_DONTNEED)),
      -EINVAL,
    ],
  ] as const)('%s', (_, call, error) => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE);
    world.put(task, 0, 1);
    expect(call(world, task)).toBe(error);
    expect(world.stale()).toEqual([]);
  });

  it('DONTNEED gives the page back and makes the promise again', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE);
    world.put(task, 0, 1);
    expect(world.counters).toBe('7/1');
    world.run(task, sysMadvise(task, at(0), 0x20_0000n, MADV_DONTNEED));
    expect([world.counters, world.entry(task, 0), world.get(task, 0)]).toEqual(['8/2', '-', 0]);
  });
});

type Task = ReturnType<HugetlbWorld['process']>;
