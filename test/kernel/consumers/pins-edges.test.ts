/** Drivers that pin: what is dirty afterwards, what a failed attach leaves, who counts for a process that is gone. */
import { describe, expect, it } from 'vitest';
import { ioasAttach, ioasMap, iommufdOpen } from '../../../src/kernel/consumers/iommufd.ts';
import { vfioMapDma, vfioOpen, vfioUnmapDma } from '../../../src/kernel/consumers/vfio-type1.ts';
import { EFAULT } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { credentials } from '../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { PAGE, World } from '../support/world.ts';
import { counted, DRIVERS, PAGES } from './pins-world.ts';

const RW = PROT_READ | PROT_WRITE;
const BYTES = BigInt(PAGES) * PAGE;

function setUp() {
  const world = new World();
  const task = world.process('owner', 0, credentials(1000, 1000));
  const start = world.map(task, 0, 2 * PAGES, RW);
  for (let page = 0; page < 2 * PAGES; page++) world.store(task, start + BigInt(page) * PAGE, [page + 1]);
  const frames = Array.from({ length: 2 * PAGES }, (_, page) =>
    world.frameAt(task, start + BigInt(page) * PAGE),
  );
  return { world, task, start, frames };
}

describe.each(DRIVERS.map((driver) => [driver.name, driver] as const))('%s', (name, driver) => {
  // io_uring leaves it to the entries: what it read into a buffer is not marked when the buffer goes.
  const marks = !name.startsWith('io_uring');
  it(`gives back pages that its device could write ${marks ? 'dirty' : 'as they are'}`, () => {
    const { world, task, start, frames } = setUp();
    const device = driver.open(world, task);
    expect(world.run(task, driver.map(task, device, start))).toBeGreaterThanOrEqual(0);
    // Written back meanwhile, as far as the kernel can know.
    for (const frame of frames) world.kernel.frames.clearFlags(frame, FrameFlag.Dirty);
    world.run(task, driver.unmap(task, device));
    const dirty = frames.map((frame) => world.kernel.frames.hasFlag(frame, FrameFlag.Dirty));
    expect(dirty).toEqual(frames.map((_frame, page) => marks && page < PAGES));
  });
});

describe('iommufd', () => {
  it.each(['user', 'mm'] as const)('a failed attach gives back what was pinned before (%s)', (account) => {
    const { world, task, start, frames } = setUp();
    const ioas = iommufdOpen(task, account);
    const area = (iova: bigint, address: bigint): number =>
      world.run(task, ioasMap(task, ioas, { iova, address, bytes: BYTES, read: true, write: true }));
    expect([area(0n, start), area(BYTES, start + BYTES)]).toEqual([0, 0]);
    world.run(task, sysMunmap(task, start + BYTES + PAGE, PAGE));
    expect(world.run(task, ioasAttach(task, ioas))).toBe(-EFAULT);
    expect(frames.filter((frame) => world.kernel.frames.maybeDmaPinned(frame))).toEqual([]);
    expect(counted(task)).toEqual({ pinned: 0, locked: 0, user: 0 });
    expect([ioas.attached, ioas.frameAt(0n, true)]).toEqual([false, -1]);
    world.run(task, ioas.release(task));
  });
});

describe('vfio', () => {
  it('leaves the count of a process alone that is gone, and gives its pages back', () => {
    const { world, task, start, frames } = setUp();
    const other = world.process('other');
    const mm = task.mm as MmStruct;
    const container = vfioOpen(task);
    const request = { iova: 0n, address: start, bytes: BYTES, read: true, write: true };
    expect(world.run(task, vfioMapDma(task, container, request))).toBe(0);
    expect(mm.lockedVm).toBe(PAGES);
    world.run(task, doExit(task, 0));
    expect(world.run(other, vfioUnmapDma(other, container, 0n, BYTES, false))).toBe(Number(BYTES));
    expect([mm.lockedVm, mm.mmUsers]).toEqual([PAGES, 0]);
    expect(frames.slice(0, PAGES).map((frame) => world.kernel.frames.refcount(frame))).toEqual(
      Array(PAGES).fill(0),
    );
  });
});
