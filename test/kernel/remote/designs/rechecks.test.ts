/**
 * What V4, V5 and V6 must not forget: which lock is held after a fault has let one go, that a page which was written is dirty, and
 * that nothing is believed before the sequence number of mmap_lock has been looked at again.
 */
import { describe, expect, it } from 'vitest';
import { atomically, type SchedPoint, type Task } from '../../../../src/base/task.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { DeviceFile } from '../../../../src/kernel/mm/device-file.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { fput } from '../../../../src/kernel/mm/mapped-file.ts';
import { MAP_FIXED, MAP_SHARED, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import type { VmAccess, VmArea, VmOperations } from '../../../../src/kernel/mm/vma.ts';
import { VM_IO, VM_PFNMAP } from '../../../../src/kernel/mm/vma-flags.ts';
import {
  getLockedRemotePage,
  lockRemotePage,
  unlockRemotePage,
} from '../../../../src/kernel/remote/remote-lock.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf } from '../../mm/process-world.ts';
import { DesignWorld, logged, RW } from './support.ts';
import { TurnsWorld } from './turns.ts';

/** Has mmap_lock for writing for a moment. */
function* holding(writer: TaskStruct): Task<void> {
  yield* mmapWriteLock(writer, mmOf(writer));
  yield* mmapWriteUnlock(writer, mmOf(writer));
}

describe('v4', () => {
  it('releases mmap_lock, not the lock of the VMA, when that was lost in a fault', () => {
    const world = new TurnsWorld('v4');
    const { director, reader, writer, target, kernel } = world;
    world.map(target, 0, 1, RW);
    const mm = mmOf(target);
    // The first write needs an anon_vma, and for that mmap_lock, which is only tried under the VMA's.
    director.start(writer, holding(writer));
    director.until(writer, 'vma_end_write_all');
    const out: { pages: [number]; vma: VmArea | null } = { pages: [0], vma: null };
    const path = (function* (): Task<readonly unknown[]> {
      const lock = yield* lockRemotePage(reader, mm, BASE_PAGE);
      const own = lock.vma !== null;
      const got = yield* getLockedRemotePage(reader, lock, BASE_PAGE, FOLL_WRITE, out);
      const held = [own, lock.vma === null, mm.mmapLock.isReadBy(reader)];
      kernel.frames.put(out.pages[0]);
      yield* unlockRemotePage(reader, lock);
      return [got, ...held];
    })();
    director.start(reader, path);
    expect(director.block(reader)).toMatch(/^down_read/);
    director.finishAll(writer, reader);
    expect(reader.result).toEqual([0, true, true, true]);
    expect(out.vma?.start).toBe(BASE_PAGE);
    expect(world.fallbacks).toEqual({ 'lock lost in a fault': 1 });
    expect(world.leftovers()).toEqual([]);
  });

  it('takes mmap_lock for a mapping with an access operation of its own, whatever its flags', () => {
    const world = new DesignWorld('v4');
    const { target, reader, kernel } = world;
    const device = new DeviceFile(kernel, { pages: 1, fill: 'mixed', access: false, noncached: false });
    const path = sysMmap(target, addressOf(0), 4096n, RW, MAP_SHARED | MAP_FIXED, device, 0n);
    expect(world.run(target, path)).toBe(addressOf(0));
    const mm = mmOf(target);
    const vma = mm.vmas.lookup(BASE_PAGE) as VmArea;
    expect(vma.flags & (VM_IO | VM_PFNMAP)).toBe(0);
    const held: boolean[] = [];
    const access: VmAccess = (current, _vma, _page, _offset, buffer) => {
      held.push(mm.mmapLock.isReadBy(current));
      buffer.fill(5);
      return atomically(() => buffer.length);
    };
    vma.ops = { ...(vma.ops as VmOperations), access };
    const buffer = new Uint8Array(8);
    expect(world.run(reader, world.transfer(0, buffer))).toBe(8);
    expect([buffer[0], held, world.fallbacks]).toEqual([5, [true], { 'device memory': 1 }]);
    world.run(target, fput(kernel.frames, device));
    expect(world.leftovers()).toEqual([]);
  });
});

describe('v5', () => {
  it.each([
    [FOLL_WRITE, true],
    [0, false],
  ])('marks the page dirty, when it has written to it (%i)', (flags, dirty) => {
    const world = new DesignWorld('v5');
    world.map(world.target, 0, 1, RW);
    world.fill(0, 1);
    const { frames } = world.kernel;
    const { frame } = world.pte(world.target, 0);
    frames.clearFlags(frame, FrameFlag.Dirty);
    expect(world.run(world.reader, world.transfer(0, new Uint8Array(8).fill(9), flags))).toBe(8);
    expect([frames.hasFlag(frame, FrameFlag.Dirty), world.fallbacks]).toEqual([dirty, {}]);
    expect(world.leftovers()).toEqual([]);
  });
});

describe('v6', () => {
  /** A reader of page 0, and what it passes. */
  function scene() {
    const world = new TurnsWorld('v6');
    world.map(world.target, 0, 1, RW);
    world.map(world.target, 8, 1, RW);
    world.fill(0, 1, 5);
    const log: SchedPoint[] = [];
    const buffer = new Uint8Array(8);
    world.director.start(world.reader, logged(world.transfer(0, buffer), log));
    const write = (path: Task<unknown>): void => {
      world.director.start(world.writer, path);
      expect(world.director.finish(world.writer)).toBe(0);
    };
    return { world, log, buffer, write };
  }
  const elsewhere = (task: TaskStruct) => sysMprotect(task, addressOf(8), 4096n, PROT_READ);

  it('looks at the number twice in a read, and once more before it begins', () => {
    const { world, log } = scene();
    expect(world.director.finish(world.reader)).toBe(8);
    const looks = log.filter(({ operation }) => operation === 'mmap_lock_speculate');
    expect([looks.length, world.fallbacks]).toEqual([3, {}]);
    expect(world.leftovers()).toEqual([]);
  });

  it('does not walk the tables for a VMA that a writer may have changed meanwhile', () => {
    const { world, log, buffer, write } = scene();
    const { director, reader, writer } = world;
    director.until(reader, 'vma_start_read');
    write(elsewhere(writer));
    log.length = 0;
    expect([director.finish(reader), buffer[0]]).toEqual([8, 5]);
    expect(log.map(({ operation }) => operation)).not.toContain('ptep_get');
    expect(world.fallbacks).toEqual({ 'a writer ran': 1 });
    expect(world.leftovers()).toEqual([]);
  });

  it.each([
    ['before the entries are seen again', 'ptep_get'],
    ['before the copy', 'copy_from_user_page'],
    ['after the copy', 'mmap_lock_speculate'],
  ])('throws away what it reads when a writer runs %s', (_, operation) => {
    const { world, log, buffer, write } = scene();
    const { director, reader, writer, target } = world;
    director.until(reader, 'page_ref');
    director.until(reader, operation);
    write(elsewhere(writer));
    world.system.machine.memory.writeBytes(world.pte(target, 0).frame, 0, Uint8Array.of(6));
    expect(buffer[0]).toBe(0);
    expect([director.finish(reader), buffer[0]]).toEqual([8, 6]);
    expect(log.map((point) => point.operation)).toContain('down_read');
    expect(world.fallbacks).toEqual({ 'a writer ran': 1 });
    expect(world.leftovers()).toEqual([]);
  });

  it('keeps what it has read when nobody has had mmap_lock, even if the page is gone by then', () => {
    const { world, log, buffer, write } = scene();
    const { director, reader, writer } = world;
    director.until(reader, 'copy_from_user_page');
    write(sysMadvise(writer, addressOf(0), 4096n, MADV_DONTNEED));
    expect([director.finish(reader), buffer[0]]).toEqual([8, 5]);
    expect(log.map(({ operation }) => operation)).not.toContain('down_read');
    expect(world.fallbacks).toEqual({});
    expect(world.leftovers()).toEqual([]);
  });
});
