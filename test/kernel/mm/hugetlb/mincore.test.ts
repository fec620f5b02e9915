/** mincore of huge pages. @see Linux mm/mincore.c, `mincore_hugetlb`; mm/pagewalk.c, `walk_hugetlb_range` */
import { expect, it } from 'vitest';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { MFD_ALLOW_SEALING } from '../../../../src/kernel/mm/memfd-flags.ts';
import { sysMincore } from '../../../../src/kernel/mm/mincore.ts';
import { MAP_PRIVATE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { userfaultfdRegister } from '../../../../src/kernel/mm/userfaultfd/register.ts';
import {
  O_NONBLOCK,
  UFFD_API,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WRITEPROTECT_MODE_WP,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../../src/kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { at, HUGE, HugetlbWorld } from './hugetlb-world.ts';

/** Far enough for a pmd table of its own. */
const GIB = 512 * HUGE;

/** A digit for each of the pages named. */
function incore(world: HugetlbWorld, task: TaskStruct, ...pages: readonly number[]): string {
  const vector = new Uint8Array(1);
  const digits = pages.map((page) => {
    expect(world.run(task, sysMincore(task, at(page), 0x1000n, vector))).toBe(0);
    return vector[0];
  });
  return digits.join('');
}

it('every small page of a mapped huge page is in core', () => {
  const world = new HugetlbWorld();
  const task = world.process();
  world.mapHuge(task, 0, 3 * HUGE);
  world.put(task, HUGE + 5, 1);
  expect(incore(world, task, 0, HUGE - 1, HUGE, HUGE + 5, 2 * HUGE - 1, 2 * HUGE)).toBe('001110');
});

it.each([
  ['shared', MAP_SHARED],
  ['private', MAP_PRIVATE],
])('where a %s mapping has no page table the file is asked, elsewhere not', (_name, flags) => {
  const world = new HugetlbWorld();
  const [writer, task] = [world.process('writer'), world.process()];
  const file = hugetlbMemfdCreate(world.kernel, 'a', MFD_ALLOW_SEALING);
  if (typeof file === 'number') throw new Error(`memfd_create gave ${file}`);
  // At different places of a table, so that it is not shared.
  world.mapHuge(writer, 0, 3 * HUGE, { file, flags: MAP_SHARED });
  world.put(writer, HUGE, 1);
  world.mapHuge(task, GIB + HUGE, 3 * HUGE, { file, flags });
  const pages = [HUGE, 2 * HUGE, 2 * HUGE + 7, 3 * HUGE].map((page) => GIB + page);
  expect(incore(world, task, ...pages)).toBe('0110');
  // A fault makes the table, and empty entries of it say that nothing is there.
  world.get(task, GIB + 3 * HUGE);
  expect(incore(world, task, ...pages)).toBe('0001');
});

it('a marker is no page', () => {
  const world = new HugetlbWorld();
  const task = world.process();
  world.mapHuge(task, 0, 2 * HUGE, { flags: MAP_SHARED });
  world.put(task, 0, 1);
  const uffd = world.run(task, sysUserfaultfd(task, O_NONBLOCK));
  if (typeof uffd === 'number') throw new Error(`userfaultfd gave ${uffd}`);
  world.run(task, userfaultfdApi(task, uffd, UFFD_API, 0n));
  const range = [at(0), BigInt(2 * HUGE) << 12n] as const;
  expect(world.run(task, userfaultfdRegister(task, uffd, ...range, UFFDIO_REGISTER_MODE_WP)).error).toBe(0);
  const protect = userfaultfdWriteprotect(task, uffd, ...range, UFFDIO_WRITEPROTECT_MODE_WP);
  expect(world.run(task, protect)).toBe(0);
  expect(world.entry(task, HUGE)).toBe('marker');
  expect(incore(world, task, 0, HUGE)).toBe('10');
});
