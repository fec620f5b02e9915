/** Huge pages of memfds: made by faults, and what becomes of them. @see Linux mm/memory.c, `do_set_pmd`; mm/shmem.c */
import { describe, expect, it } from 'vitest';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../../src/kernel/mm/fallocate.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { memoryFailure } from '../../../../src/kernel/mm/memory-failure.ts';
import { sysMincore } from '../../../../src/kernel/mm/mincore.ts';
import { MAP_PRIVATE, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { PmdKind } from '../../../../src/kernel/mm/page-table.ts';
import { tryToFreePages } from '../../../../src/kernel/mm/reclaim/direct.ts';
import { softOfflinePage } from '../../../../src/kernel/mm/soft-offline.ts';
import { SIGBUS } from '../../../../src/kernel/signal.ts';
import { advise, bytes, lock, pages } from '../madvise/support.ts';
import { addressOf, mmOf } from '../process-world.ts';
import { expectAllGone, type FileScene, fileScene, mapFile, writeFile } from './file-support.ts';
import { expectSound, FIRST, HUGE, hugeFrame, pmdKindAt, RW } from './support.ts';

/** A memfd with one huge page, which is mapped by a pmd; pages 3 and 300 hold their numbers. */
function huge(options: Parameters<typeof fileScene>[0] = {}): FileScene {
  const scene = fileScene(options);
  const { world, task } = scene;
  for (const page of [3, 300]) writeFile(scene, page, page % 251);
  expect(advise(world, task, FIRST, HUGE * (options.count ?? 1), MADV_COLLAPSE)).toBe('ok');
  return scene;
}

const contents = ({ world, task }: FileScene, from = FIRST) =>
  [3, 7, 300].map((page) => world.load(task, from + page));

const punch = ({ world, task, file }: FileScene, page: number, count: number): number =>
  world.run(
    task,
    fileFallocate(task, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, bytes(page), bytes(count)),
  );

describe('a fault on shared memory', () => {
  it.each([
    ['never', true, HUGE, false],
    ['advise', false, HUGE, false],
    ['advise', true, HUGE, true],
    ['within_size', false, HUGE, true],
    ['within_size', false, HUGE - 1, false],
    ['within_size', true, HUGE - 1, true],
    ['always', false, 1, true],
    ['force', false, 1, true],
    ['deny', true, HUGE, false],
  ] as const)(
    'with shmem_enabled=%s, advised: %s, of a file of %i pages makes a huge page: %s',
    (shmemEnabled, advised, filePages, made) => {
      const scene = fileScene({ bytes: filePages * 4096, kernel: { shmemEnabled } });
      const { world, task } = scene;
      if (advised) advise(world, task, FIRST, HUGE, MADV_HUGEPAGE);
      expect(world.store(task, FIRST, 5)).toBeNull();
      expect(pmdKindAt(scene, FIRST)).toBe(made ? PmdKind.Huge : PmdKind.Table);
      expect(mmOf(task).residentPages).toBe(made ? HUGE : 1);
      expect(world.load(task, FIRST)).toBe(5);
      if (made) expect(world.load(task, FIRST + 511)).toBe(0);
      expectSound(scene);
      expectAllGone(scene);
    },
  );

  it('makes a small page where the file has one already, and where the VMA cannot map the huge one', () => {
    const scene = fileScene({ count: 2, kernel: { shmemEnabled: 'always' } });
    const { world, task, file } = scene;
    writeFile(scene, 100, 1);
    world.store(task, FIRST, 5);
    expect(pages(task)).toEqual([`${FIRST}+1 PFX`]);
    mapFile(world, task, file, { page: FIRST + 8 * HUGE, count: 1, offset: bytes(1) });
    world.store(task, FIRST + 8 * HUGE + 511, 6);
    expect(pmdKindAt(scene, FIRST + 8 * HUGE)).toBe(PmdKind.Table);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('of a mapping that refuses huge pages maps all small pages of one at once', () => {
    const scene = huge();
    const { world, task } = scene;
    advise(world, task, FIRST, HUGE, MADV_DONTNEED);
    advise(world, task, FIRST, HUGE, MADV_NOHUGEPAGE);
    world.store(task, FIRST + 7, 7);
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Table);
    expect(mmOf(task).residentPages).toBe(HUGE);
    expect(contents(scene)).toEqual([3, 7, 300 % 251]);
    expect(pages(task)).toEqual([`${FIRST}+512 PFXH`]);
    advise(world, task, FIRST + 5, 3, MADV_DONTNEED);
    expect(mmOf(task).residentPages).toBe(HUGE - 3);
    expectSound(scene);
    expectAllGone(scene);
  });
});

describe('a private mapping of a huge page of a file', () => {
  it('maps it for reading; a write takes the pmd away and copies one small page', () => {
    const scene = huge();
    const { world, file } = scene;
    const other = world.process('other');
    mapFile(world, other, file, { flags: MAP_PRIVATE });
    const theirs = { ...scene, task: other };
    expect(contents(theirs)).toEqual([3, 0, 300 % 251]);
    expect(hugeFrame(theirs, FIRST)).toBe(hugeFrame(scene, FIRST));
    world.store(other, FIRST + 7, 77);
    expect(pmdKindAt(theirs, FIRST)).toBe(PmdKind.Table);
    expect(contents(theirs)).toEqual([3, 77, 300 % 251]);
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Huge);
    expectSound(scene);
    expectAllGone(scene, other);
  });
});

describe('a huge page of a file', () => {
  it('is unmapped, not split, where a part of the mapping changes', () => {
    const scene = huge();
    const { world, task } = scene;
    const folio = hugeFrame(scene, FIRST);
    world.run(task, sysMprotect(task, addressOf(FIRST + 16), bytes(16), PROT_READ));
    expect([pmdKindAt(scene, FIRST), mmOf(task).residentPages]).toEqual([PmdKind.None, 0]);
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Table);
    expect(world.kernel.frames.order(folio)).toBe(9);
    expect(world.store(task, FIRST + 16, 1)).not.toBeNull();
    expectSound(scene);
    expectAllGone(scene);
  });

  it('goes with mprotect, mincore, MADV_COLD, MADV_DONTNEED and munmap as a whole', () => {
    const scene = huge();
    const { world, task } = scene;
    const folio = hugeFrame(scene, FIRST);
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), PROT_READ));
    expect(hugeFrame(scene, FIRST)).toBe(folio);
    expect(world.store(task, FIRST, 1)).not.toBeNull();
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(HUGE), RW));
    expect(world.store(task, FIRST, 1)).toBeNull();
    expect(advise(world, task, FIRST, HUGE, MADV_COLD)).toBe('ok');
    advise(world, task, FIRST, HUGE, MADV_DONTNEED);
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.None);
    const vector = new Uint8Array(HUGE);
    expect(world.run(task, sysMincore(task, addressOf(FIRST), bytes(HUGE), vector))).toBe(0);
    expect(vector.every((byte) => byte === 1)).toBe(true);
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expect(hugeFrame(scene, FIRST)).toBe(folio);
    world.run(task, sysMunmap(task, addressOf(FIRST), bytes(HUGE)));
    expect(world.kernel.frames.refcount(folio)).toBe(HUGE);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('is not copied by fork: the child faults it in', () => {
    const scene = huge();
    const { world } = scene;
    const child = world.fork(scene.task);
    const theirs = { ...scene, task: child };
    expect(mmOf(child).residentPages).toBe(0);
    expect(contents(theirs)).toEqual([3, 0, 300 % 251]);
    expect(hugeFrame(theirs, FIRST)).toBe(hugeFrame(scene, FIRST));
    expectSound(scene);
    expectAllGone(scene, child);
  });

  it('moves with mremap where its new place is as aligned, else it is unmapped', () => {
    const scene = huge({ memoryBytes: 0x800_0000 });
    const { world, task } = scene;
    const folio = hugeFrame(scene, FIRST);
    const move = (from: number, to: number) =>
      world.run(task, sysMremap(task, addressOf(from), bytes(HUGE), bytes(HUGE), 3, addressOf(to)));
    expect(move(FIRST, FIRST + 4 * HUGE)).toBe(addressOf(FIRST + 4 * HUGE));
    expect(hugeFrame(scene, FIRST + 4 * HUGE)).toBe(folio);
    expect(move(FIRST + 4 * HUGE, FIRST + 8 * HUGE + 1)).toBe(addressOf(FIRST + 8 * HUGE + 1));
    expect(contents(scene, FIRST + 8 * HUGE + 1)).toEqual([3, 0, 300 % 251]);
    expectSound(scene);
    expectAllGone(scene);
  });
});

describe('a part of a huge page of a file', () => {
  it.each([
    ['begins in the middle of a page', 299.5, [3, 0, 0]],
    ['ends before page 300', 300, [3, 0, 'SIGBUS']],
    ['ends before page 4', 4, [3, 'SIGBUS', 'SIGBUS']],
  ] as const)('goes when the file %s', (_, end, expected) => {
    const scene = huge();
    const { world, task, file } = scene;
    world.run(task, fileTruncate(task, file, BigInt(end * 4096)));
    const got = contents(scene).map((value) => (typeof value === 'number' ? value : 'SIGBUS'));
    expect(got.slice(0, 2)).toEqual(expected.slice(0, 2));
    expect(got[2]).toBe('SIGBUS');
    expect(file.mapping.pageCount).toBe(Math.ceil(end));
    expectSound(scene);
    expectAllGone(scene);
  });

  it('is a hole after it was punched: the rest are small pages', () => {
    const scene = huge();
    const { file } = scene;
    expect(punch(scene, 2, 100)).toBe(0);
    expect(file.mapping.pageCount).toBe(HUGE - 100);
    expect(contents(scene)).toEqual([0, 0, 300 % 251]);
    expectSound(scene);
    expectAllGone(scene);
  });
});

describe('a hole in huge pages of a file', () => {
  it('is zeroed where the page is pinned, and stays', () => {
    const scene = huge();
    const { world, file } = scene;
    const { frames } = world.kernel;
    const folio = hugeFrame(scene, FIRST);
    frames.get(folio);
    expect(punch(scene, 2, 100)).toBe(0);
    expect([file.mapping.pageCount, frames.order(folio)]).toEqual([HUGE, 9]);
    expect(contents(scene)).toEqual([0, 0, 300 % 251]);
    frames.put(folio);
    expect(punch(scene, 2, 100)).toBe(0);
    expect(file.mapping.pageCount).toBe(HUGE - 100);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('goes at both ends of a hole that covers a whole huge page in between', () => {
    const scene = fileScene({ count: 3, memoryBytes: 0x800_0000 });
    const { world, task, file } = scene;
    for (const page of [3, HUGE + 3, 3 * HUGE - 1]) writeFile(scene, page, 9);
    expect(advise(world, task, FIRST, 3 * HUGE, MADV_COLLAPSE)).toBe('ok');
    expect(punch(scene, 500, HUGE + 100)).toBe(0);
    expect(file.mapping.pageCount).toBe(3 * HUGE - HUGE - 100);
    expect([3, HUGE + 3, 3 * HUGE - 1].map((page) => world.load(task, FIRST + page))).toEqual([9, 0, 9]);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('that fallocate has reserved beyond the end survives a split, the rest beyond does not', () => {
    const scene = fileScene({ bytes: 100 * 4096, kernel: { shmemEnabled: 'always' } });
    const { world, task, file } = scene;
    world.store(task, FIRST, 1);
    expect(file.mapping.pageCount).toBe(HUGE);
    const keep = fileFallocate(task, file, FALLOC_FL_KEEP_SIZE, bytes(100), bytes(50));
    expect(world.run(task, keep)).toBe(0);
    expect(punch(scene, 10, 1)).toBe(0);
    expect(file.mapping.pageCount).toBe(149);
    expectSound(scene);
    expectAllGone(scene);
  });
});

describe('reclaim of a huge page of a file', () => {
  it('without swap unmaps it and keeps it', () => {
    const scene = huge();
    const { world, task } = scene;
    const folio = hugeFrame(scene, FIRST);
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect([pmdKindAt(scene, FIRST), mmOf(task).residentPages]).toEqual([PmdKind.None, 0]);
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expect(hugeFrame(scene, FIRST)).toBe(folio);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('with swap splits it and writes its pages out', () => {
    const scene = huge({ kernel: { swapPages: 1024 } });
    const { world, task, file } = scene;
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect([file.mapping.swappedCount, file.mapping.pageCount]).toEqual([HUGE, 0]);
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expectSound(scene);
    expect(advise(world, task, FIRST, HUGE, MADV_COLLAPSE)).toBe('ok');
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('leaves nothing that comes back when the file is emptied, though all of it is in swap', () => {
    const scene = huge({ kernel: { swapPages: 1024 } });
    const { world, task, file } = scene;
    advise(world, task, FIRST, HUGE, MADV_PAGEOUT);
    for (const size of [0n, bytes(HUGE)]) world.run(task, fileTruncate(task, file, size));
    expect(file.mapping.swappedCount).toBe(0);
    expect(contents(scene)).toEqual([0, 0, 0]);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('drops one that was only read, as a whole', () => {
    const scene = fileScene({ kernel: { shmemEnabled: 'always' } });
    const { world, task, file } = scene;
    expect(world.load(task, FIRST + 5)).toBe(0);
    expect(file.mapping.pageCount).toBe(HUGE);
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect(file.mapping.pageCount).toBe(0);
    expect(world.load(task, FIRST + 5)).toBe(0);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('leaves one alone that is mapped in locked memory', () => {
    const scene = huge({ kernel: { swapPages: 1024 } });
    const { world, task } = scene;
    lock(scene, FIRST, HUGE);
    for (let i = 0; i < 4; i++) world.run(task, tryToFreePages(task, 600));
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Huge);
    expectSound(scene);
    expectAllGone(scene);
  });
});

describe('broken memory in a huge page of a file', () => {
  it('makes small pages of it; only the broken one is lost', () => {
    const scene = huge();
    const { world, task } = scene;
    const frame = hugeFrame(scene, FIRST) + 7;
    world.kernel.frames.get(frame);
    expect(world.run(task, memoryFailure(task, frame))).toBe(0);
    expect(world.load(task, FIRST + 3)).toBe(3);
    expect(world.load(task, FIRST + 7)).toMatchObject({ signal: SIGBUS });
    expect(world.load(task, FIRST + 300)).toBe(300 % 251);
    expectSound(scene);
  });

  it('that may break before long moves; nobody notices', () => {
    const scene = huge();
    const { world, task } = scene;
    const frame = hugeFrame(scene, FIRST) + 300;
    world.kernel.frames.get(frame);
    expect(world.run(task, softOfflinePage(task, frame))).toBe(0);
    expect(contents(scene)).toEqual([3, 0, 300 % 251]);
    expect(world.pte(task, FIRST + 300).frame).not.toBe(frame);
    expectSound(scene);
  });
});
