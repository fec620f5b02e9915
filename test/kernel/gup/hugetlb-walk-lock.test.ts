/**
 * Walks in huge pages of a pool hold that VMA's hugetlb lock, so that who takes pages out of the file waits for them.
 * mm/memory.c, `vma_pgtable_walk_begin`; mm/hugetlb.c, `hugetlb_vma_lock_read`.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { getUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import { putUserPage } from '../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { folioWalkEnd, folioWalkStart } from '../../../src/kernel/mm/folio-walk.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import { hugetlbMemfdCreate } from '../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { hugetlbVmaLockOf } from '../../../src/kernel/mm/hugetlb/hugetlb-vma.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { MAP_SHARED } from '../../../src/kernel/mm/mman.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { at, HUGE, HugetlbWorld } from '../mm/hugetlb/hugetlb-world.ts';
import { mmOf } from '../mm/process-world.ts';
import { Director } from '../support/director.ts';

const PAGE = Number(at(0) >> 12n);

function scene() {
  const director = new Director();
  const world = new HugetlbWorld({
    cpus: 3,
    policy: director.policy,
    kernel: { hugepages2M: 8, lockdep: true },
  });
  director.loop = world.system.loop;
  const file = hugetlbMemfdCreate(world.kernel, 'a', 0) as MappedFile;
  const owner = world.process('owner', 0);
  const other = world.process('other', 1);
  const walker = world.process('walker', 2);
  world.mapHuge(owner, 0, HUGE, { file, flags: MAP_SHARED });
  world.put(owner, 0, 1);
  const vma = mmOf(owner).vmas.lookup(PAGE) as VmArea;
  return { director, world, file, owner, other, walker, vma, lock: hugetlbVmaLockOf(vma) };
}

const WALKS: Readonly<Record<string, (current: TaskStruct, vma: VmArea) => Task<void>>> = {
  *GUP(current, vma) {
    const pages = [-1];
    yield* mmapReadLock(current, vma.mm);
    expect(yield* getUserPagesRemote(current, vma.mm, PAGE, 1, 0, pages, null)).toBe(1);
    yield* mmapReadUnlock(current, vma.mm);
    yield* putUserPage(current, pages[0] as number);
  },
  *'a folio walk'(current, vma) {
    yield* mmapReadLock(current, vma.mm);
    const walk = yield* folioWalkStart(current, vma, PAGE, 0);
    if (walk === null) throw new Error('no page');
    yield* folioWalkEnd(current, walk);
    yield* mmapReadUnlock(current, vma.mm);
  },
};

describe.each(Object.entries(WALKS))('%s in huge pages', (_name, walk) => {
  it('is waited for by a truncation of the file', () => {
    const { director, world, file, other, walker, vma, lock } = scene();
    director.start(walker, walk(walker, vma));
    // The lock of the table is taken next.
    director.untilPoint(
      walker,
      ({ operation, object }) => operation === 'spin_lock' && object.name.startsWith('ptl'),
    );
    expect(lock?.isLocked()).toBe(true);
    director.start(other, fileTruncate(other, file, 0n));
    expect(director.block(other)).toBe('down_write');
    director.finish(walker);
    expect(director.finish(other)).toBe(0);
    expect(lock?.isLocked()).toBe(false);
    expect(world.kernel.lockdep?.reports).toEqual([]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('lets it go where nothing is mapped, too', () => {
    const { world, owner, walker, vma, lock } = scene();
    world.unmapHuge(owner, HUGE, HUGE);
    const file = hugetlbMemfdCreate(world.kernel, 'b', 0) as MappedFile;
    world.mapHuge(owner, HUGE, HUGE, { file, flags: MAP_SHARED });
    const empty = mmOf(owner).vmas.lookup(PAGE + HUGE) as VmArea;
    const path = (function* (): Task<unknown> {
      yield* mmapReadLock(walker, vma.mm);
      const found = yield* folioWalkStart(walker, empty, PAGE + HUGE, 0);
      yield* mmapReadUnlock(walker, vma.mm);
      return found;
    })();
    expect(world.run(walker, path)).toBeNull();
    expect([hugetlbVmaLockOf(empty)?.isLocked(), lock?.isLocked()]).toEqual([false, false]);
  });
});
