/**
 * Leaving a shared table of huge pages while a lockless walk of a third process is in it: the last one that stays may do with
 * the table as with any, so whoever leaves waits for the walk.
 */
import { expect, it } from 'vitest';
import { FOLL_GET, FOLL_REMOTE } from '../../../../src/kernel/gup/foll-flags.ts';
import { gupFast } from '../../../../src/kernel/gup/gup-fast.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import type { MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import { MAP_NORESERVE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { Director } from '../../support/director.ts';
import { mmOf } from '../process-world.ts';
import { at, HugetlbWorld } from './hugetlb-world.ts';

const GIB = 0x4_0000;

it('munmap of one of two sharers waits until the walk has left the table', () => {
  const director = new Director();
  const world = new HugetlbWorld({ cpus: 3, policy: director.policy });
  director.loop = world.system.loop;
  const file = hugetlbMemfdCreate(world.kernel, 'a', 0) as MappedFile;
  const [a, b] = [world.process('a', 0), world.process('b', 1)];
  const walker = world.process('walker', 2);
  for (const task of [a, b]) world.mapHuge(task, 0, GIB, { file, flags: MAP_SHARED | MAP_NORESERVE });
  world.put(a, 0, 1);
  world.get(b, 0);
  const pages: number[] = [];
  const page = Number(at(0) >> 12n);
  director.start(walker, gupFast(walker, mmOf(b), page, 1, FOLL_GET | FOLL_REMOTE, pages));
  // In the table, about to read the entry.
  director.untilPoint(
    walker,
    ({ operation, object }) => operation === 'ptep_get' && object.name.startsWith('pmd'),
  );
  director.start(b, sysMunmap(b, at(0), BigInt(GIB) << 12n));
  expect(director.until(b, 'csd_lock_wait').ready?.()).toBe(false);
  expect(director.finish(walker)).toBe(1);
  expect(director.finish(b)).toBe(0);
  world.kernel.frames.put(pages[0] as number);
  expect(world.get(a, 0)).toBe(1);
  expect(world.stale()).toEqual([]);
});
