/** One huge page of the small pages of a memfd. @see Linux mm/khugepaged.c, `collapse_file`, `retract_page_tables` */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPagesRemote } from '../../../../src/kernel/gup/get-user-pages-remote.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import {
  MADV_COLLAPSE,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { memfdCreate } from '../../../../src/kernel/mm/memfd.ts';
import { MAP_PRIVATE, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { PmdKind } from '../../../../src/kernel/mm/page-table.ts';
import { smapsEntries } from '../../../../src/kernel/mm/smaps.ts';
import { khugepagedDoScan } from '../../../../src/kernel/mm/thp/khugepaged.ts';
import { rootCredentials } from '../../../../src/kernel/process/credentials.ts';
import { createTask } from '../../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { advise, pages } from '../madvise/support.ts';
import { BASE_PAGE, mmOf } from '../process-world.ts';
import { MISSING, UffdWorld, WP } from '../userfaultfd/uffd-world.ts';
import { expectAllGone, type FileScene, fileScene, mapFile, writeFile } from './file-support.ts';
import { expectSound, FIRST, HUGE, hugeFrame, pmdKindAt } from './support.ts';

const AT = [3, 200, 511];

/** A memfd with its page numbers in some of its pages, which are mapped. */
function written(options: Parameters<typeof fileScene>[0] = {}): FileScene {
  const scene = fileScene(options);
  for (const page of AT) scene.world.store(scene.task, FIRST + page, page % 251);
  return scene;
}

const collapse = ({ world, task }: FileScene, count = 1): string =>
  advise(world, task, FIRST, count * HUGE, MADV_COLLAPSE);

const contents = ({ world }: FileScene, task: TaskStruct) =>
  [3, 7, 200, 511].map((page) => world.load(task, FIRST + page));

describe('MADV_COLLAPSE of a memfd', () => {
  it('copies what is there, fills holes with zeros, and maps the huge page by a pmd', () => {
    const scene = written();
    const { world, task } = scene;
    const { frames } = world.kernel;
    expect(collapse(scene)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 PFXH`]);
    expect(contents(scene, task)).toEqual([3, 0, 200, 511 % 251]);
    const folio = hugeFrame(scene, FIRST);
    expect([frames.refcount(folio), frames.folioMapcount(folio)]).toEqual([HUGE + 1, 1]);
    expect(mmOf(task).residentPages).toBe(HUGE);
    const [entry] = smapsEntries(mmOf(task));
    expect([entry?.shmemPmdMapped, entry?.anonHugePages, entry?.rss]).toEqual([2048, 0, 2048]);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('takes the tables of all who map the pages, and their next fault maps the huge page', () => {
    const scene = written();
    const { world, file } = scene;
    const other = world.process('other');
    mapFile(world, other, file);
    for (const page of AT) expect(world.load(other, FIRST + page)).toBe(page % 251);
    const tables = world.kernel.pageTables.count;
    expect(collapse(scene)).toBe('ok');
    expect(world.kernel.pageTables.count).toBe(tables - 2);
    expect(pmdKindAt({ ...scene, task: other }, FIRST)).toBe(PmdKind.None);
    expect(mmOf(other).residentPages).toBe(0);
    expect(contents(scene, other)).toEqual([3, 0, 200, 511 % 251]);
    expect(hugeFrame({ ...scene, task: other }, FIRST)).toBe(hugeFrame(scene, FIRST));
    world.store(other, FIRST + 7, 77);
    expect(contents(scene, scene.task)).toEqual([3, 77, 200, 511 % 251]);
    expectSound(scene);
    expectAllGone(scene, other);
  });

  it('leaves private copies, and their table, alone', () => {
    const scene = written();
    const { world, task, file } = scene;
    const other = world.process('other');
    mapFile(world, other, file, { flags: MAP_PRIVATE });
    world.load(other, FIRST + 3);
    world.store(other, FIRST + 200, 99);
    expect(collapse(scene)).toBe('ok');
    expect(pmdKindAt({ ...scene, task: other }, FIRST)).toBe(PmdKind.Table);
    expect(pages(other)).toEqual([`${FIRST + 200}+1 PX`]);
    expect(contents(scene, other)).toEqual([3, 0, 99, 511 % 251]);
    expect(contents(scene, task)).toEqual([3, 0, 200, 511 % 251]);
    // By the one who has the copies: the file's page is huge already, but the copy is not of it.
    expect(advise(world, other, FIRST, HUGE, MADV_COLLAPSE)).toBe('EINVAL');
    expectSound(scene);
    expectAllGone(scene, other);
  });
});

describe('MADV_COLLAPSE of a memfd', () => {
  it('by another process maps by a pmd what is mapped by ptes, without another copy', () => {
    const scene = written();
    const { world, file } = scene;
    expect(collapse(scene)).toBe('ok');
    const other = world.process('other');
    mapFile(world, other, file);
    advise(world, other, FIRST, HUGE, MADV_NOHUGEPAGE);
    expect(world.load(other, FIRST + 3)).toBe(3);
    expect(pmdKindAt({ ...scene, task: other }, FIRST)).toBe(PmdKind.Table);
    const folio = hugeFrame(scene, FIRST);
    expect(advise(world, other, FIRST, HUGE, MADV_COLLAPSE)).toBe('EINVAL');
    advise(world, other, FIRST, HUGE, MADV_HUGEPAGE);
    expect(advise(world, other, FIRST, HUGE, MADV_COLLAPSE)).toBe('ok');
    expect(hugeFrame({ ...scene, task: other }, FIRST)).toBe(folio);
    expect(world.kernel.frames.folioMapcount(folio)).toBe(2);
    expectSound(scene);
    expectAllGone(scene, other);
  });

  it('brings pages back from swap, and makes pages of what fallocate reserved', () => {
    const scene = written({ kernel: { swapPages: 64 } });
    const { world, task, file } = scene;
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect(file.mapping.swappedCount).toBe(3);
    expect(collapse(scene)).toBe('ok');
    expect(file.mapping.swappedCount).toBe(0);
    expect(contents(scene, task)).toEqual([3, 0, 200, 511 % 251]);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('of pages that nobody maps needs no fault before', () => {
    const scene = fileScene();
    writeFile(scene, 9, 9);
    expect(collapse(scene)).toBe('ok');
    expect(scene.world.load(scene.task, FIRST + 9)).toBe(9);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('says 0 for several huge pages when all are there in the end', () => {
    const scene = fileScene({ count: 3 });
    for (const page of [1, 513, 1025]) writeFile(scene, page, page % 251);
    expect(collapse(scene, 3)).toBe('ok');
    expect(pages(scene.task)).toEqual([`${FIRST}+1536 PFXH`]);
    expect(collapse(scene, 3)).toBe('ok');
    expectSound(scene);
    expectAllGone(scene);
  });
});

/** Pins page 200 and gives what takes the pin off. */
function pinned({ world, task }: FileScene): () => void {
  const got: number[] = [];
  function* pin(): Task<void> {
    yield* mmapReadLock(task, mmOf(task));
    yield* pinUserPagesRemote(task, mmOf(task), BASE_PAGE + FIRST + 200, 1, FOLL_WRITE, got, null);
    yield* mmapReadUnlock(task, mmOf(task));
  }
  world.run(task, pin());
  expect(got).toHaveLength(1);
  return () => world.run(task, unpinUserPages(task, got, 1));
}

describe('MADV_COLLAPSE of a memfd that cannot be', () => {
  it.each([
    ['with shmem_enabled=deny', { kernel: { shmemEnabled: 'deny' } }, 'EINVAL'],
    ['without a block that is large enough', { memoryBytes: 0x20_0000 }, 'ENOMEM'],
  ] as const)('%s leaves everything as it was', (_, options, errno) => {
    const scene = written(options);
    expect(collapse(scene)).toBe(errno);
    expect(contents(scene, scene.task)).toEqual([3, 0, 200, 511 % 251]);
    expectSound(scene);
  });

  it('is EINVAL for a file with nothing in it', () => {
    const scene = fileScene();
    expect(collapse(scene)).toBe('EINVAL');
    expectSound(scene);
    expectAllGone(scene);
  });

  it('is EINVAL where the file lies askew to its huge pages', () => {
    const scene = written({ count: 2 });
    const { world, task, file } = scene;
    mapFile(world, task, file, { page: FIRST + 4 * HUGE, count: 1, offset: 0x1000n });
    world.load(task, FIRST + 4 * HUGE);
    expect(advise(world, task, FIRST + 4 * HUGE, HUGE, MADV_COLLAPSE)).toBe('EINVAL');
    expectSound(scene);
    expectAllGone(scene);
  });

  it('is EAGAIN while a page is pinned; its pte goes, and comes back with the next fault', () => {
    const scene = written();
    const { world, task } = scene;
    const unpin = pinned(scene);
    expect(collapse(scene)).toBe('EAGAIN');
    expect(contents(scene, task)).toEqual([3, 0, 200, 511 % 251]);
    unpin();
    expect(collapse(scene)).toBe('ok');
    expect(world.kernel.frames.freeFrames).toBeGreaterThan(0);
    expectSound(scene);
    expectAllGone(scene);
  });
});

describe('MADV_COLLAPSE of a memfd that a userfaultfd watches', () => {
  it('is EBUSY where a userfaultfd waits for missing pages', () => {
    const world = new UffdWorld({ memoryBytes: 0x400_0000, kernel: { lockdep: true } });
    const file = memfdCreate(world.kernel, 'f');
    const task = world.owner;
    world.run(task, fileTruncate(task, file, BigInt(HUGE) << 12n));
    mapFile(world, task, file);
    world.store(task, FIRST + 3, 3);
    world.register(FIRST, HUGE, MISSING);
    expect(advise(world, task, FIRST, HUGE, MADV_COLLAPSE)).toBe('EBUSY');
    expect(world.load(task, FIRST + 3)).toBe(3);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is EINVAL where a userfaultfd protects pages: others map the huge page, the protected VMA keeps its ptes', () => {
    const world = new UffdWorld({ memoryBytes: 0x400_0000, kernel: { lockdep: true } });
    const file = memfdCreate(world.kernel, 'f');
    const task = world.owner;
    world.run(task, fileTruncate(task, file, BigInt(HUGE) << 12n));
    mapFile(world, task, file);
    mapFile(world, task, file, { page: FIRST + 2 * HUGE });
    world.store(task, FIRST + 3, 3);
    world.register(FIRST, HUGE, WP);
    expect(advise(world, task, FIRST, HUGE, MADV_COLLAPSE)).toBe('EINVAL');
    expect(world.load(task, FIRST + 2 * HUGE + 3)).toBe(3);
    expect(pages(task)).toEqual([`${FIRST + 2 * HUGE}+512 PFXH`]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('khugepaged', () => {
  function scan({ world }: FileScene): number {
    const thread = createTask(world.kernel, null, rootCredentials(), 'khugepaged', 0);
    const made = world.run(thread, khugepagedDoScan(thread));
    world.kernel.tasks.delete(thread.pid);
    return made;
  }

  it.each([
    ['never', false, false],
    ['advise', false, false],
    ['advise', true, true],
    ['within_size', false, true],
    ['always', false, true],
    ['force', false, true],
    ['deny', true, false],
  ] as const)('with shmem_enabled=%s, advised: %s, makes one: %s', (shmemEnabled, advised, made) => {
    const scene = fileScene({ kernel: { shmemEnabled } });
    const { world, task } = scene;
    for (const page of AT) writeFile(scene, page, page % 251);
    if (advised) advise(world, task, FIRST, HUGE, MADV_HUGEPAGE);
    // What is there already counts once more in the second round.
    expect(scan(scene)).toBe(made ? 2 : 0);
    expect(contents(scene, task)).toEqual([3, 0, 200, 511 % 251]);
    expect(pmdKindAt(scene, FIRST)).toBe(made ? PmdKind.Huge : PmdKind.Table);
    expectSound(scene);
    expectAllGone(scene);
  });

  it('makes an address space ready for a huge page that is there already', () => {
    const scene = fileScene({ kernel: { shmemEnabled: 'always' } });
    const { world, file } = scene;
    writeFile(scene, 3, 3);
    const other = world.process('other');
    mapFile(world, other, file, { prot: PROT_READ });
    advise(world, other, FIRST, HUGE, MADV_NOHUGEPAGE);
    expect(collapse(scene)).toBe('ok');
    world.load(other, FIRST + 3);
    expect(pmdKindAt({ ...scene, task: other }, FIRST)).toBe(PmdKind.Table);
    advise(world, other, FIRST, HUGE, MADV_HUGEPAGE);
    scan(scene);
    expect(pmdKindAt({ ...scene, task: other }, FIRST)).toBe(PmdKind.None);
    expect(world.load(other, FIRST + 3)).toBe(3);
    expect(pmdKindAt({ ...scene, task: other }, FIRST)).toBe(PmdKind.Huge);
    expectSound(scene);
    expectAllGone(scene, other);
  });
});
