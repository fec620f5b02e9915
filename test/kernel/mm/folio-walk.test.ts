/** folio_walk_start: what it finds, what it takes for no page, and the lock that it insists on. mm/pagewalk.c. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { DeviceFile, type DeviceFill } from '../../../src/kernel/mm/device-file.ts';
import {
  type FolioWalk,
  FW_INTERRUPTS_OFF,
  FW_VMA_LOCKED,
  FW_ZEROPAGE,
  folioWalkEnd,
  folioWalkStart,
} from '../../../src/kernel/mm/folio-walk.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { fput } from '../../../src/kernel/mm/mapped-file.ts';
import { MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { vmaEndRead } from '../../../src/kernel/mm/vma-lock.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function setUp() {
  const world = new ProcessWorld({ kernel: { lockdep: true } });
  const task = world.process();
  world.map(task, 0, 4, RW);
  world.store(task, 0, 7);
  world.load(task, 1);
  const vmaAt = (page: number) => mmOf(task).vmas.lookup(BASE_PAGE + page) as VmArea;
  return { world, task, vmaAt };
}

/** A walk that is ended at once. */
function* look(task: TaskStruct, vma: VmArea, page: number, flags: number): Task<FolioWalk | null> {
  const walk = yield* folioWalkStart(task, vma, BASE_PAGE + page, flags);
  if (walk !== null) yield* folioWalkEnd(task, walk);
  return walk;
}

function* underMmapLock(task: TaskStruct, path: Task<FolioWalk | null>): Task<FolioWalk | null> {
  yield* mmapReadLock(task, mmOf(task));
  const walk = yield* path;
  yield* mmapReadUnlock(task, mmOf(task));
  return walk;
}

function* underVmaLock(task: TaskStruct, page: number, flags: number): Task<FolioWalk | null> {
  const vma = (yield* lockVmaUnderRcu(task, mmOf(task), BASE_PAGE + page)) as VmArea;
  const walk = yield* look(task, vma, page, flags | FW_VMA_LOCKED);
  yield* vmaEndRead(task, vma);
  return walk;
}

describe('what a walk finds', () => {
  it.each([
    ['a page', 0, 0, 'page'],
    ['the zero page', 1, 0, 'nothing'],
    ['the zero page, where it is wanted', 1, FW_ZEROPAGE, 'zero page'],
    ['nothing, where nothing is mapped', 2, 0, 'nothing'],
  ])('%s, under either lock', (_name, page, flags, expected) => {
    const { world, task, vmaAt } = setUp();
    const { frame } = world.pte(task, page);
    const paths = [
      underMmapLock(task, look(task, vmaAt(page), page, flags)),
      underVmaLock(task, page, flags),
    ];
    for (const path of paths) {
      const walk = world.run(task, path);
      if (expected === 'nothing') expect(walk).toBe(null);
      else expect([walk?.folio, walk?.frame]).toEqual([frame, expected === 'page' ? frame : -1]);
    }
    expect(world.inconsistencies()).toEqual([]);
    expect(world.kernel.lockdep?.reports).toEqual([]);
  });

  it.each(['remap', 'fault', 'mixed'] as readonly DeviceFill[])(
    'no page in memory of a device, whose entries are special (%s)',
    (fill) => {
      const { world, task, vmaAt } = setUp();
      const device = new DeviceFile(world.kernel, { pages: 1, fill, access: true, noncached: false });
      const path = sysMmap(task, addressOf(8), 4096n, RW, MAP_SHARED | MAP_FIXED, device, 0n);
      expect(world.run(task, path)).toBe(addressOf(8));
      expect(world.store(task, 8, 5)).toBe(null);
      expect(world.run(task, underMmapLock(task, look(task, vmaAt(8), 8, 0)))).toBe(null);
      expect(world.run(task, underVmaLock(task, 8, 0))).toBe(null);
      world.run(task, fput(world.kernel.frames, device));
      expect(world.inconsistencies()).toEqual([]);
    },
  );
});

describe('a walk does not begin', () => {
  it('without mmap_lock', () => {
    const { world, task, vmaAt } = setUp();
    expect(() => world.run(task, look(task, vmaAt(0), 0, 0))).toThrow(/mmap_lock/);
  });

  it('without the lock of the VMA, where that is what the caller says it holds', () => {
    const { world, task, vmaAt } = setUp();
    expect(() => world.run(task, look(task, vmaAt(0), 0, FW_VMA_LOCKED))).toThrow(/vma/);
  });

  it('with the lock of a VMA that another task holds', () => {
    const { world, task, vmaAt } = setUp();
    const other = world.thread(task, 'other', 0);
    expect(world.run(other, lockVmaUnderRcu(other, mmOf(task), BASE_PAGE))).toBe(vmaAt(0));
    expect(() => world.run(task, look(task, vmaAt(0), 0, FW_VMA_LOCKED))).toThrow(/vma/);
  });

  it('with interrupts on, where the caller says that they are off', () => {
    const { world, task } = setUp();
    expect(() => world.run(task, underVmaLock(task, 0, FW_INTERRUPTS_OFF))).toThrow(/interrupts enabled/);
  });

  it('outside of its VMA', () => {
    const { world, task, vmaAt } = setUp();
    const path = underMmapLock(task, look(task, vmaAt(0), 4, 0));
    expect(() => world.run(task, path)).toThrow(/does not hold it/);
  });
});
