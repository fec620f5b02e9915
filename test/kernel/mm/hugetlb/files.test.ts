/** Files of huge pages: their size, holes in them, fallocate, reading; and mremap of their mappings. */
import { describe, expect, it } from 'vitest';
import { EINVAL, ENOMEM, ENOSPC, EPERM } from '../../../../src/kernel/errno.ts';
import { NO_FRAME } from '../../../../src/kernel/frame/buddy.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../../src/kernel/mm/fallocate.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { fput, type MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import { fileRead, fileWrite } from '../../../../src/kernel/mm/memfd.ts';
import { MFD_ALLOW_SEALING } from '../../../../src/kernel/mm/memfd-flags.ts';
import { MAP_HUGE_1GB, MAP_PRIVATE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { F_SEAL_SHRINK } from '../../../../src/kernel/mm/seals.ts';
import { SIGBUS } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { at, HUGE, HugetlbWorld } from './hugetlb-world.ts';

const MIB2 = 0x20_0000n;
const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const MREMAP_DONTUNMAP = 4;

function memfd(world: HugetlbWorld): MappedFile {
  const file = hugetlbMemfdCreate(world.kernel, 'a', MFD_ALLOW_SEALING);
  if (typeof file === 'number') throw new Error(`memfd_create gave ${file}`);
  return file;
}

/** A file of four pages, shared by one process that has written each, and mapped privately by another. */
function shared(): { world: HugetlbWorld; file: MappedFile; owner: TaskStruct; other: TaskStruct } {
  const world = new HugetlbWorld();
  const [owner, other] = [world.process('owner'), world.process('other')];
  const file = memfd(world);
  world.mapHuge(owner, 0, 4 * HUGE, { file, flags: MAP_SHARED });
  for (let n = 0; n < 4; n++) world.put(owner, n * HUGE, n + 1);
  world.mapHuge(other, 0, 4 * HUGE, { file, flags: MAP_PRIVATE });
  return { world, file, owner, other };
}

describe('memfd_create with MFD_HUGETLB', () => {
  it('refuses a size of pages that there is not', () => {
    expect(hugetlbMemfdCreate(new HugetlbWorld().kernel, 'a', 16 << 26)).toBe(-EINVAL);
    expect(hugetlbMemfdCreate(new HugetlbWorld().kernel, 'a', MAP_HUGE_1GB)).not.toBeTypeOf('number');
  });

  it('gives a file that can be read and not be written by its descriptor', () => {
    const { world, file, owner } = shared();
    const bytes = new Uint8Array(4);
    expect(world.run(owner, fileRead(owner, file, 3 * 0x20_0000, bytes))).toBe(4);
    expect([...bytes]).toEqual([4, 0, 0, 0]);
    expect(world.run(owner, fileWrite(owner, file, 0, bytes))).toBe(-EINVAL);
  });

  it('gives everything back with the last mapping and the last descriptor', () => {
    const { world, file, owner, other } = shared();
    world.put(other, 0, 9);
    expect(world.counters).toBe('3/3');
    world.exit(other);
    expect(world.counters).toBe('4/0');
    world.exit(owner);
    expect(world.counters).toBe('4/0');
    world.run(world.process(), fput(world.kernel.frames, file));
    expect(world.counters).toBe('8/0');
  });
});

describe('ftruncate', () => {
  it('unmaps what lies beyond, private copies too, and takes the promises back', () => {
    const { world, file, owner, other } = shared();
    world.put(other, 2 * HUGE, 9);
    expect(world.run(owner, fileTruncate(owner, file, MIB2))).toBe(0);
    expect([world.get(owner, 0), world.entry(owner, HUGE), world.entry(other, 2 * HUGE)]).toEqual([
      1,
      '-',
      '-',
    ]);
    expect(world.put(owner, HUGE, 1)?.signal).toBe(SIGBUS);
    // One page is in the file; four are promised to the private mapping, of which one was used and given back.
    expect(world.counters).toBe('7/4');
    world.run(owner, fileTruncate(owner, file, 4n * MIB2));
    expect(world.get(owner, HUGE)).toBe(0);
    expect(world.stale()).toEqual([]);
  });

  it.each([
    ['no whole huge pages', MIB2 + 0x1000n, 0, -EINVAL],
    ['a sealed file', MIB2, F_SEAL_SHRINK, -EPERM],
  ])('refuses %s', (_, size, seals, error) => {
    const { world, file, owner } = shared();
    file.mapping.seals = seals;
    expect(world.run(owner, fileTruncate(owner, file, size))).toBe(error);
  });
});

describe('fallocate', () => {
  it('of a hole gives whole pages back, and zeroes what is left of others', () => {
    const { world, file, owner } = shared();
    world.put(owner, 511, 7);
    world.put(owner, 512, 8);
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    expect(world.run(owner, fileFallocate(owner, file, mode, MIB2 - 0x1000n, MIB2 + 0x1000n))).toBe(0);
    expect([world.get(owner, 0), world.get(owner, 511), world.entry(owner, HUGE)]).toEqual([1, 0, '-']);
    expect(world.get(owner, HUGE)).toBe(0);
  });

  it('fills a file, until no page is left', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    const file = memfd(world);
    expect(world.run(task, fileFallocate(task, file, 0, 0n, MIB2 + 1n))).toBe(0);
    expect([file.mapping.sizeBytes, world.counters]).toEqual([0x20_0001, '6/0']);
    expect(world.run(task, fileFallocate(task, file, 0, 0n, 9n * MIB2))).toBe(-ENOSPC);
    expect(world.counters).toBe('0/0');
  });
});

describe('MADV_DONTNEED', () => {
  it.each([
    ['a whole page and a part', 0, HUGE + 1, 0, ['-', 'Xwd', 'Xwd']],
    ['less than a page', 0, HUGE - 1, 0, ['Xwd', 'Xwd', 'Xwd']],
    ['two pages but one small page', HUGE, 2 * HUGE - 1, 0, ['Xwd', '-', 'Xwd']],
    ['a start inside a page', 1, HUGE, -EINVAL, ['Xwd', 'Xwd', 'Xwd']],
  ])('of %s loses only the huge pages that are named whole', (_, page, pages, expected, left) => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 3 * HUGE);
    for (const n of [0, 1, 2]) world.put(task, n * HUGE, 1);
    const call = sysMadvise(task, at(page), BigInt(pages) << 12n, MADV_DONTNEED);
    expect(world.run(task, call)).toBe(expected);
    expect([0, 1, 2].map((n) => world.entry(task, n * HUGE))).toEqual(left);
  });
});

describe('mremap', () => {
  it.each([
    ['private', MAP_PRIVATE, 'Xwd'],
    ['shared', MAP_SHARED, 'Fwd'],
  ])('moves %s pages, and the promise goes along', (_, flags, entry) => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE, { flags });
    world.put(task, 0, 7);
    const move = sysMremap(task, at(0), 2n * MIB2, 2n * MIB2, MREMAP_MAYMOVE | MREMAP_FIXED, at(8 * HUGE));
    expect(world.run(task, move)).toBe(at(8 * HUGE));
    expect([world.entry(task, 8 * HUGE), world.get(task, 8 * HUGE), world.counters]).toEqual([
      entry,
      7,
      '7/1',
    ]);
    expect(world.get(task, 0)).toMatchObject({ signal: 11 });
    expect(world.put(task, 9 * HUGE, 1)).toBeNull();
    world.unmapHuge(task, 8 * HUGE, 2 * HUGE);
    expect(world.counters).toBe('8/0');
    expect(world.stale()).toEqual([]);
  });

  it.each([
    ['growing', 0, MIB2, 2n * MIB2, MREMAP_MAYMOVE, 0n],
    ['a target inside a huge page', 0, MIB2, MIB2, MREMAP_MAYMOVE | MREMAP_FIXED, at(8 * HUGE + 1)],
    ['to leave the source mapped', 0, MIB2, MIB2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0n],
    ['a source inside a huge page', 1, MIB2, MIB2, MREMAP_MAYMOVE | MREMAP_FIXED, at(8 * HUGE)],
  ])('refuses %s', (_, page, oldLength, newLength, flags, target) => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 2 * HUGE);
    expect(world.run(task, sysMremap(task, at(page), oldLength, newLength, flags, target))).toBe(
      BigInt(-EINVAL),
    );
  });

  it('without memory for a table moves back, and every promise is as before', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    const { frames } = world.kernel;
    world.mapHuge(task, 0, 4 * HUGE);
    world.put(task, 0, 7);
    expect(world.counters).toBe('7/3');
    const taken: number[] = [];
    for (let frame = frames.allocate(); frame !== NO_FRAME; frame = frames.allocate()) taken.push(frame);
    const move = sysMremap(task, at(0), 4n * MIB2, 4n * MIB2, MREMAP_MAYMOVE | MREMAP_FIXED, at(512 * HUGE));
    expect(world.run(task, move)).toBe(BigInt(-ENOMEM));
    expect([world.counters, world.get(task, 0)]).toEqual(['7/3', 7]);
    for (const frame of taken) frames.put(frame);
    for (const n of [1, 2, 3]) expect(world.put(task, n * HUGE, 1)).toBeNull();
    expect(world.counters).toBe('4/0');
    expect(world.inconsistencies()).toEqual([]);
    world.exit(task);
    expect(world.counters).toBe('8/0');
  });

  it('shrinks by unmapping the end', () => {
    const world = new HugetlbWorld();
    const task = world.process();
    world.mapHuge(task, 0, 3 * HUGE);
    expect(world.run(task, sysMremap(task, at(0), 3n * MIB2, 1n, 0, 0n))).toBe(at(0));
    expect(world.counters).toBe('8/1');
  });
});
