/** Huge pages in walks that know all kinds of memory: flushes, pins and what they mean for fork, locking, mincore. */
import { describe, expect, it, vi } from 'vitest';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPagesRemote } from '../../../../src/kernel/gup/get-user-pages-remote.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { sysMlock } from '../../../../src/kernel/mm/mlock.ts';
import {
  MAP_HUGE_1GB,
  MAP_LOCKED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { smapsEntries } from '../../../../src/kernel/mm/smaps.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { mmOf } from '../process-world.ts';
import { at, HUGE, HugetlbWorld } from './hugetlb-world.ts';

/** Pins `count` small pages of the target; their frames. */
function pin(world: HugetlbWorld, target: TaskStruct, page: number, count: number, flags = 0): number[] {
  const pinner = world.process('pinner');
  const mm = mmOf(target);
  const frames: number[] = new Array<number>(count).fill(-1);
  const first = Number(at(page) >> 12n);
  const path = function* () {
    yield* mmapReadLock(pinner, mm);
    const got = yield* pinUserPagesRemote(pinner, mm, first, count, flags, frames, null);
    yield* mmapReadUnlock(pinner, mm);
    return got;
  };
  expect(world.run(pinner, path())).toBe(count);
  return frames;
}

describe('the flush after mprotect', () => {
  it.each([
    ['2 MiB', { hugepages2M: 4 }, 0, HUGE, 21],
    ['1 GiB', { hugepages1G: 1 }, MAP_HUGE_1GB, 0x4_0000, 30],
  ])('goes in steps of %s', (_, kernel, size, pages, shift) => {
    const world = new HugetlbWorld({ memoryBytes: 0x9000_0000, kernel });
    const task = world.process();
    world.mapHuge(task, 0, pages, { flags: MAP_SHARED | size });
    world.put(task, 1, 1);
    const flush = vi.spyOn(world.kernel.arch, 'flushTlbRange');
    world.run(task, sysMprotect(task, at(0), BigInt(pages) << 12n, PROT_READ));
    expect(flush.mock.calls.map((call) => call.slice(2, 6))).toEqual([
      [Number(at(0) >> 12n), Number(at(pages) >> 12n), shift, false],
    ]);
    expect(world.stale()).toEqual([]);
  });
});

describe('pins', () => {
  it('of small pages are pins of the huge one, taken for all of it at once', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE);
    const frames = pin(world, task, 510, 4, FOLL_WRITE);
    const [a, b, c, d] = frames as [number, number, number, number];
    expect([b - a, d - c, world.entry(task, 0), world.entry(task, HUGE)]).toEqual([1, 1, 'Xwd', 'Xwd']);
    expect(world.kernel.frames.maybeDmaPinned(a)).toBe(true);
    // Two for the pins, one for the entry.
    expect(world.kernel.frames.refcount(a)).toBe(3);
    world.unmapHuge(task, 0, 2 * HUGE);
    // The promises are taken back with the mapping, and made again by the pages when they are free.
    expect(world.counters).toBe('6/-2');
    world.run(task, unpinUserPages(task, frames, 4));
    expect(world.counters).toBe('8/0');
  });

  it('of a page shared by fork take it away from the other side first, without making it writable', () => {
    const world = new HugetlbWorld();
    const parent = world.process('parent');
    world.mapHuge(parent, 0, HUGE);
    world.put(parent, 0, 7);
    const child = world.fork(parent);
    const frames = pin(world, child, 0, 1);
    expect([world.entry(parent, 0), world.entry(child, 0), world.get(child, 0)]).toEqual(['Ad', 'X', 7]);
    world.run(child, unpinUserPages(child, frames, 1));
  });

  it('make fork copy the page at once, so that the parent keeps the one that is pinned', () => {
    const world = new HugetlbWorld();
    const parent = world.process('parent');
    world.mapHuge(parent, 0, HUGE);
    world.put(parent, 5, 7);
    const frames = pin(world, parent, 5, 1, FOLL_WRITE);
    const child = world.fork(parent);
    expect([world.entry(parent, 0), world.entry(child, 0), world.get(child, 5)]).toEqual(['Xwd', 'Xwd', 7]);
    world.put(parent, 5, 8);
    const bytes = new Uint8Array(1);
    world.kernel.machine.memory.readBytes(frames[0] as number, 0, bytes);
    expect([bytes[0], world.get(child, 5)]).toEqual([8, 7]);
    world.run(parent, unpinUserPages(parent, frames, 1));
    world.exit(child);
    world.exit(parent);
    expect(world.counters).toBe('8/0');
  });

  it('make fork fail when no page is left for the copy', () => {
    const world = new HugetlbWorld({ kernel: { hugepages2M: 1 } });
    const parent = world.process('parent');
    world.mapHuge(parent, 0, HUGE);
    const frames = pin(world, parent, 0, 1, FOLL_WRITE);
    expect(() => world.fork(parent)).toThrow('fork failed with -12');
    world.run(parent, unpinUserPages(parent, frames, 1));
    world.exit(parent);
    expect(world.counters).toBe('1/0');
  });
});

describe('locking', () => {
  it.each([
    ['MAP_LOCKED populates and locks nothing', MAP_PRIVATE | MAP_LOCKED, false, 'Xwd'],
    ['mlock populates and locks nothing', MAP_PRIVATE, true, 'Xwd'],
  ])('%s', (_, flags, lock, entry) => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, HUGE, { flags });
    if (lock) expect(world.run(task, sysMlock(task, at(0), 0x20_0000n))).toBe(0);
    const [smaps] = smapsEntries(mmOf(task));
    expect([world.entry(task, 0), mmOf(task).lockedVm]).toEqual([entry, 0]);
    expect(smaps?.vmFlags).not.toContain('lo');
  });
});
