/** Pages of secret memory in the kernel's books: out of the direct map, unevictable, never moved, zeroed when they go. */
import { describe, expect, it } from 'vitest';
import { auditKernel } from '../../../src/check/mm-invariants.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { FOLL_GET, FOLL_PIN } from '../../../src/kernel/gup/foll-flags.ts';
import { gupFast } from '../../../src/kernel/gup/gup-fast.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import { fput } from '../../../src/kernel/mm/mapped-file.ts';
import { migrateFolio } from '../../../src/kernel/mm/migrate-folio.ts';
import { MAP_FIXED } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { folioIsolateLru, folioPutbackLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { secretmemFileCreate } from '../../../src/kernel/mm/secretmem.ts';
import { copyRemotePage } from '../../../src/kernel/remote/copy-remote-page.ts';
import { FIRST, mmOf, RW, slots } from '../gup/support.ts';
import { BASE, MAP_SHARED, PAGE, World } from '../support/world.ts';

/** One page of secret memory, written to. */
function setUp() {
  const world = new World(1, undefined, { movablePages: 512 });
  const target = world.process('target');
  const { kernel } = world;
  world.map(target, 8, 1, RW);
  world.store(target, BASE + 8n * PAGE, [1]);
  const free = kernel.frames.freeFrames;
  const file = secretmemFileCreate(kernel);
  world.run(target, fileTruncate(target, file, PAGE));
  world.run(target, sysMmap(target, BASE, PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0n));
  world.store(target, BASE, [1, 2, 3]);
  return { world, target, kernel, frames: kernel.frames, file, free, frame: world.frameAt(target, BASE) };
}

describe('a page of secret memory', () => {
  it('lies outside the direct map and the movable part, unevictable, in the counter of files', () => {
    const { world, target, kernel, frames, frame } = setUp();
    const flags = FrameFlag.NoDirectMap | FrameFlag.Unevictable | FrameFlag.Uptodate;
    expect(frames.flags(frame) & flags).toBe(flags);
    expect(frames.hasFlag(frame, FrameFlag.SwapBacked)).toBe(false);
    expect(frames.zoneOf(frame)).toBe('normal');
    expect(mmOf(target).lockedVm).toBe(1);
    expect(auditKernel(kernel, world.system.tlbView)).toEqual([]);
  });

  it('comes back to the direct map full of zeros with its last user', () => {
    const { world, target, kernel, frames, file, free, frame } = setUp();
    world.run(target, sysMunmap(target, BASE, PAGE));
    expect(frames.hasFlag(frame, FrameFlag.NoDirectMap)).toBe(true);
    world.run(target, fput(frames, file));
    const bytes = new Uint8Array(3);
    kernel.machine.memory.readBytes(frame, 0, bytes);
    expect([frames.refcount(frame), frames.flags(frame) & FrameFlag.NoDirectMap]).toEqual([0, 0]);
    expect(bytes).toEqual(Uint8Array.of(0, 0, 0));
    expect(frames.freeFrames - free).toBeGreaterThanOrEqual(-1);
    expect(mmOf(target).lockedVm).toBe(0);
    expect(auditKernel(kernel, world.system.tlbView)).toEqual([]);
  });

  it.each([FOLL_GET, FOLL_PIN])('is given back by gup-fast, which has no VMA to ask (%i)', (flag) => {
    const { world, target, frames, frame } = setUp();
    const before = frames.refcount(frame);
    expect(world.run(target, gupFast(target, mmOf(target), FIRST, 1, flag, slots(1)))).toBe(0);
    expect(frames.refcount(frame)).toBe(before);
  });

  it('is not moved', () => {
    const { world, target, kernel, frames, frame } = setUp();
    expect(folioIsolateLru(frames, frame)).toBe(true);
    expect(world.run(target, migrateFolio(target, frame))).toBeLessThan(0);
    folioPutbackLru(frames, frame);
    expect(world.frameAt(target, BASE)).toBe(frame);
    expect(world.load(target, BASE, 3)).toEqual([1, 2, 3]);
    expect(auditKernel(kernel, world.system.tlbView)).toEqual([]);
  });

  it('shows itself to no copy of the kernel, which is warned of', () => {
    const { target, kernel, frame } = setUp();
    const buffer = Uint8Array.of(9, 9, 9);
    copyRemotePage(target, frame, 0, buffer, 0, 3, false);
    expect(buffer).toEqual(Uint8Array.of(0, 0, 0));
    expect(kernel.warnings.list).toHaveLength(1);
  });
});
