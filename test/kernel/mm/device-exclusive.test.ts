/** Device-exclusive entries: counts, references and the rmap stay as with a pte, whatever happens to them. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { MirrorDevice } from '../../../src/kernel/consumers/mirror-device.ts';
import { ENOMEM } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { deviceExclusiveFrameRead } from '../../../src/kernel/mm/device-exclusive-entry.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { tryToFreePages } from '../../../src/kernel/mm/reclaim/direct.ts';
import { uffdWpRange } from '../../../src/kernel/mm/userfaultfd/write-protect.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { sysCloneVm } from '../../../src/kernel/process/clone-vm.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld, type ProcessWorldOptions } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

/** A process with 4 written pages, and a device that has them all. */
function taken(options: ProcessWorldOptions = {}) {
  const world = new ProcessWorld(options);
  const task = world.process();
  world.map(task, 0, 4, RW);
  for (let page = 0; page < 4; page++) world.store(task, page, 10 + page);
  const frames = [0, 1, 2, 3].map((page) => world.pte(task, page).frame);
  const device = world.run(task, MirrorDevice.open(task, mmOf(task)));
  expect(world.run(task, device.exclusive(task, addressOf(0), 4n << 12n))).toBe(0);
  return { world, task, frames, device };
}

/** The frame that the device has at a page of the arena, by its entry. */
function exclusiveFrame(world: ProcessWorld, task: TaskStruct, page: number): number {
  const { pageTables } = world.kernel;
  pageTables.lookupPte(rootTable(mmOf(task)), BASE_PAGE + page);
  return deviceExclusiveFrameRead(pageTables, pageTables.lastLevel);
}

describe('a device-exclusive entry', () => {
  it('names the frame, and keeps its reference, its map count and its place in rss', () => {
    const { world, task, frames, device } = taken();
    expect([0, 1, 2, 3].map((page) => exclusiveFrame(world, task, page))).toEqual(frames);
    const first = frames[0] as number;
    expect([world.kernel.frames.refcount(first), world.kernel.frames.mapcount(first)]).toEqual([1, 1]);
    expect(world.inconsistencies()).toEqual([]);
    world.run(task, device.close());
  });

  it('becomes an old pte again, writable and dirty as the page is, by the fault that finds it', () => {
    const { world, task, frames, device } = taken();
    const before = task.minFlt;
    expect(world.load(task, 0)).toBe(10);
    const { flags, frame } = world.pte(task, 0);
    expect(frame).toBe(frames[0]);
    expect(flags & (EntryFlag.Write | EntryFlag.Dirty)).toBe(EntryFlag.Write | EntryFlag.Dirty);
    expect([task.minFlt - before, device.addresses.length]).toEqual([1, 3]);
    expect(world.inconsistencies()).toEqual([]);
    world.run(task, device.close());
  });

  it('is a page as any other in a child', () => {
    const { world, task, device } = taken();
    const child = world.fork(task);
    expect([device.addresses, world.page(task, 0), world.page(child, 0)]).toEqual([[], 'Ad2', 'Ad2']);
    world.store(child, 0, 77);
    expect(world.load(task, 0)).toBe(10);
    expect(world.inconsistencies()).toEqual([]);
    world.run(task, device.close());
  });

  it('stops fork while the device is being given the page', () => {
    const { world, task, frames, device } = taken();
    world.kernel.frames.setFlags(frames[2] as number, FrameFlag.Locked);
    expect(world.run(task, sysFork(task, 'child'))).toBe(-ENOMEM);
    world.kernel.frames.clearFlags(frames[2] as number, FrameFlag.Locked);
    // Those before it are back, and the device knows of none: it was told of the whole mapping.
    expect([exclusiveFrame(world, task, 1), exclusiveFrame(world, task, 3)]).toEqual([-1, frames[3]]);
    expect(device.addresses).toEqual([]);
    world.run(task, device.close());
  });

  it('goes to swap as a page does, and comes back with what the device wrote', () => {
    const { world, task, device } = taken({ kernel: { swapPages: 64 } });
    expect(world.run(task, device.fetchAdd(task, addressOf(1), 5n))).toBe(11n);
    // MADV_PAGEOUT passes entries over that are not present: reclaim finds the page by itself.
    expect(world.run(task, tryToFreePages(task, 4)).reclaimed).toBeGreaterThan(0);
    expect(world.page(task, 1)).toBe('Sx');
    expect(device.addresses).not.toContain(addressOf(1));
    expect(world.load(task, 1)).toBe(16);
    expect(world.inconsistencies()).toEqual([]);
    world.run(task, device.close());
  });
});

describe('a device', () => {
  it('leaves a page dirty that it has changed, as the entry says nothing', () => {
    const { world, task, frames, device } = taken();
    const frame = frames[1] as number;
    world.kernel.frames.clearFlags(frame, FrameFlag.Dirty);
    expect(world.run(task, device.fetchAdd(task, addressOf(1), 5n))).toBe(11n);
    expect(world.kernel.frames.hasFlag(frame, FrameFlag.Dirty)).toBe(true);
    world.run(task, device.close());
  });

  it('is given a page only while its entry is writable: else it is looked for, and faulted in, again', () => {
    const director = new Director();
    const world = new ProcessWorld({ cpus: 2, policy: director.policy });
    director.loop = world.system.loop;
    const task = world.process();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 10);
    const mm = mmOf(task);
    const other = world.run(task, sysCloneVm(task, 'other', 1)) as TaskStruct;
    const device = world.run(task, MirrorDevice.open(task, mm));
    const { frame } = world.pte(task, 0);
    const before = task.minFlt;
    director.start(task, device.exclusive(task, addressOf(0), 4096n));
    // The reference of GUP, before the second look.
    while (world.kernel.frames.refcount(frame) === 1) director.step(task);
    function* protect() {
      yield* mmapReadLock(other, mm);
      yield* uffdWpRange(other, mm.vmas.lookup(BASE_PAGE) as VmArea, BASE_PAGE, BASE_PAGE + 1, true);
      yield* mmapReadUnlock(other, mm);
    }
    director.start(other, protect());
    director.finish(other);
    expect(director.finish(task)).toBe(0);
    expect([task.minFlt - before, exclusiveFrame(world, task, 0)]).toEqual([1, frame]);
    expect(world.kernel.frames.refcount(frame)).toBe(1);
    world.run(task, device.close());
  });
});

describe('an address space with a device', () => {
  it('tells it of its end, and is not kept by it', () => {
    const { world, task, device } = taken();
    const free = world.kernel.frames.freeFrames;
    world.run(task, doExit(task, 0));
    expect(device.addresses).toEqual([]);
    expect(world.kernel.frames.freeFrames).toBeGreaterThanOrEqual(free + 4);
    expect(world.run(task, device.exclusive(task, addressOf(0), 4096n))).toBeLessThan(0);
    world.run(task, device.close());
  });
});
