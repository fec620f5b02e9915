/** One huge page of small ones, asked for or by khugepaged. @see Linux mm/khugepaged.c */
import { describe, expect, it } from 'vitest';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPagesRemote } from '../../../../src/kernel/gup/get-user-pages-remote.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import {
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_GUARD_INSTALL,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { PmdKind } from '../../../../src/kernel/mm/page-table.ts';
import { khugepagedDefaults, khugepagedDoScan } from '../../../../src/kernel/mm/thp/khugepaged.ts';
import { rootCredentials } from '../../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { createTask } from '../../../../src/kernel/process/fork.ts';
import { advise, pages } from '../madvise/support.ts';
import { BASE_PAGE, mmOf } from '../process-world.ts';
import {
  expectNothingLeft,
  expectSound,
  FIRST,
  HUGE,
  type HugeScene,
  hugeScene,
  pmdKindAt,
  type SceneOptions,
} from './support.ts';

/** Small pages with their numbers in them; then the VMA is advised. */
function smallPages(at: readonly number[], options: SceneOptions = {}): HugeScene {
  const scene = hugeScene({ advised: false, memoryBytes: 0x400_0000, ...options });
  const { world, task } = scene;
  for (const page of at) world.store(task, FIRST + page, page % 251);
  advise(world, task, FIRST, HUGE * (options.count ?? 1), MADV_HUGEPAGE);
  return scene;
}

function collapse({ world, task }: HugeScene, page = FIRST, count = HUGE): string {
  return advise(world, task, page, count, MADV_COLLAPSE);
}

describe('MADV_COLLAPSE', () => {
  it('copies what is there, fills the rest with zeros, and leaves one exclusive huge page', () => {
    const scene = smallPages([3, 200, 511]);
    const { world, task } = scene;
    world.load(task, FIRST + 7);
    expect(collapse(scene)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect([3, 7, 200, 511].map((page) => world.load(task, FIRST + page))).toEqual([3, 0, 200, 511 % 251]);
    expect(mmOf(task).residentPages).toBe(512);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('of a range says 0 when all of its huge pages are there now, made or not', () => {
    const scene = smallPages([3, 512 + 5], { count: 3 });
    const { world, task } = scene;
    world.store(task, FIRST + 2 * HUGE, 1);
    expect(collapse(scene, FIRST, 3 * HUGE)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+1536 PXH`]);
    expectSound(scene);
  });

  it('copies pages that a child shares; the child keeps the small ones', () => {
    const scene = smallPages([3, 200]);
    const { world, task } = scene;
    const child = world.fork(task);
    expect(collapse(scene)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect(pages(child)).toEqual([`${FIRST + 3}+1 PX`, `${FIRST + 200}+1 PX`]);
    world.store(task, FIRST + 3, 99);
    expect([world.load(task, FIRST + 3), world.load(child, FIRST + 3)]).toEqual([99, 3]);
    expectSound(scene);
    expectNothingLeft(scene, child);
  });

  it('makes a new huge page of one that was split', () => {
    const scene = hugeScene({ memoryBytes: 0x400_0000 });
    const { world, task } = scene;
    world.store(task, FIRST + 5, 5);
    advise(world, task, FIRST + 9, 1, MADV_DONTNEED);
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Table);
    expect(collapse(scene)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect(world.load(task, FIRST + 5)).toBe(5);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('MADV_COLLAPSE that cannot be', () => {
  it.each([
    [
      'nothing was ever there',
      (scene: HugeScene) => advise(scene.world, scene.task, FIRST, HUGE, MADV_DONTNEED),
      'EINVAL',
    ],
    [
      'the VMA refuses huge pages',
      (scene: HugeScene) => advise(scene.world, scene.task, FIRST, HUGE, MADV_NOHUGEPAGE),
      'EINVAL',
    ],
    [
      'a guard is in it',
      (scene: HugeScene) => advise(scene.world, scene.task, FIRST + 9, 1, MADV_GUARD_INSTALL),
      'EINVAL',
    ],
  ])('does nothing when %s', (_, prepare, errno) => {
    const scene = smallPages([3]);
    prepare(scene);
    const before = pages(scene.task);
    expect(collapse(scene)).toBe(errno);
    expect(pages(scene.task)).toEqual(before);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('gives EINVAL for a range that holds no whole huge page', () => {
    expect(collapse(smallPages([3]), FIRST + 1, 500)).toBe('EINVAL');
  });

  it('gives EAGAIN while a page is pinned, and leaves everything as it was', () => {
    const scene = smallPages([3, 200]);
    const { world, task } = scene;
    const before = pages(task);
    const got: number[] = [];
    function* pin() {
      yield* mmapReadLock(task, mmOf(task));
      yield* pinUserPagesRemote(task, mmOf(task), BASE_PAGE + FIRST + 200, 1, FOLL_WRITE, got, null);
      yield* mmapReadUnlock(task, mmOf(task));
    }
    world.run(task, pin());
    expect(collapse(scene)).toBe('EAGAIN');
    expect(pages(task)).toEqual(before);
    world.run(task, unpinUserPages(task, got, 1));
    expect(collapse(scene)).toBe('ok');
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('gives ENOMEM without a block that is large enough', () => {
    const scene = smallPages([3], { memoryBytes: 0x20_0000 });
    expect(collapse(scene)).toBe('ENOMEM');
    expectSound(scene);
  });
});

describe('khugepaged', () => {
  function scan(scene: HugeScene, tunables = khugepagedDefaults): number {
    const { world } = scene;
    const thread = createTask(world.kernel, null, rootCredentials(), 'khugepaged', 0);
    const made = world.run(thread, khugepagedDoScan(thread, tunables));
    world.kernel.tasks.delete(thread.pid);
    return made;
  }

  it('finds the pages that are in use, whoever has entered its mm', () => {
    const scene = smallPages([3, 512 + 5], { count: 2 });
    expect(scan(scene)).toBe(2);
    expect(pages(scene.task)).toEqual([`${FIRST}+1024 PXH`]);
    expectSound(scene);
    expectNothingLeft(scene);
    expect(scene.world.kernel.khugepaged.mms).toEqual([]);
  });

  it.each([
    ['more of them are empty than max_ptes_none', { none: 510, swap: 64, shared: 256 }, 0],
    ['as many are empty as may be', { none: 511, swap: 64, shared: 256 }, 1],
  ])('when %s', (_, maxPtes, made) => {
    const scene = smallPages([3]);
    expect(scan(scene, { pagesToScan: 4096, maxPtes })).toBe(made);
    expectSound(scene);
  });

  it('leaves pages alone of which too many are shared', () => {
    const scene = smallPages(Array.from({ length: 300 }, (_, page) => page));
    const child = scene.world.fork(scene.task);
    expect(scan(scene)).toBe(0);
    scene.world.run(child, doExit(child, 0));
    expect(scan(scene)).toBe(1);
    expectSound(scene);
  });

  it('goes on where it stopped, mm after mm, and drops those that are gone', () => {
    const scene = smallPages([3, 512 + 5], { count: 2 });
    const child = scene.world.fork(scene.task);
    const { khugepaged } = scene.world.kernel;
    expect(khugepaged.mms).toEqual([mmOf(scene.task), mmOf(child)]);
    const one = { ...khugepagedDefaults, pagesToScan: 1 };
    expect([scan(scene, one), scan(scene, one)]).toEqual([1, 1]);
    expect(pages(scene.task)).toEqual([`${FIRST}+1024 PXH`]);
    scene.world.run(child, doExit(child, 0));
    expect(scan(scene)).toBe(0);
    expect(khugepaged.mms).toEqual([mmOf(scene.task)]);
    expect(khugepaged.fullScans).toBeGreaterThan(0);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});
