/** Turns of a fault under the VMA’s lock: the first anon_vma, a locked folio, userfaultfd, munmap. */

import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import {
  mmapReadLock,
  mmapReadUnlock,
  mmapWriteLock,
  mmapWriteUnlock,
} from '../../../src/kernel/lock/mmap-lock.ts';
import {
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_USER,
  FAULT_FLAG_VMA_LOCK,
  VM_FAULT_SIGSEGV,
} from '../../../src/kernel/mm/fault/fault-flags.ts';
import { handleMmFault } from '../../../src/kernel/mm/fault/handle-mm-fault.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { UserfaultfdContext } from '../../../src/kernel/mm/userfaultfd/context.ts';
import { userfaultfdRegister } from '../../../src/kernel/mm/userfaultfd/register.ts';
import { UFFD_API, UFFDIO_REGISTER_MODE_MISSING } from '../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../src/kernel/mm/userfaultfd/userfaultfd.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { vmaEndRead } from '../../../src/kernel/mm/vma-lock.ts';
import { SEGV_MAPERR, SIGKILL } from '../../../src/kernel/signal.ts';
import { addressOf, BASE_PAGE } from './process-world.ts';
import {
  director,
  holder,
  load,
  makeWorld,
  mapTouched,
  mm,
  pageOut,
  RW,
  store,
  task,
  vmaAt,
  world,
} from './vma-lock-fault-world.ts';

beforeEach(() => makeWorld());

/** Has a forked child read a page in from swap, so that it is in the swap cache, and locks it there. */
function lockedInSwapCache(page: number): number {
  const child = world.fork(task);
  pageOut(page);
  world.load(child, page);
  const { frame } = world.pte(child, page);
  world.kernel.frames.setFlags(frame, FrameFlag.Locked);
  return frame;
}

describe('the anon_vma of a VMA under its own lock', () => {
  it('is made at once when mmap_lock is free, and when others read', () => {
    world.map(task, 0, 4, RW);
    world.run(holder, mmapReadLock(holder, mm()));
    world.store(task, 0, 1);
    world.run(holder, mmapReadUnlock(holder, mm()));
    expect(vmaAt(0).anonVma).not.toBe(null);
    expect(mm().vmaLockCounters).toMatchObject({ success: 1, retry: 0 });
    expect([mm().mmapLock.isLocked(), vmaAt(0).refcount]).toEqual([false, 1]);
  });
});

describe('a fault under the VMA’s lock that finds its folio locked', () => {
  it('lets the VMA go, waits, and is done again under mmap_lock', () => {
    mapTouched(0);
    pageOut(3);
    // Another process' fault has read the page in and is not done with it; ours finds it in the swap cache.
    const { frames } = world.kernel;
    const folio = lockedInSwapCache(3);
    director.start(task, load(3));
    expect(director.block(task)).toBe('folio_wait_locked');
    expect([vmaAt(3).refcount, mm().mmapLock.isLocked()]).toEqual([1, false]);
    frames.clearFlags(folio, FrameFlag.Locked);
    director.finish(task);
    expect(mm().vmaLockCounters).toMatchObject({ retry: 1 });
    expect([vmaAt(3).refcount, mm().mmapLock.isLocked()]).toEqual([1, false]);
  });
});

describe('a fault that user space is to resolve', () => {
  it('lets the VMA’s lock go and waits, whoever holds mmap_lock', () => {
    mapTouched(0);
    const uffd = world.run(task, sysUserfaultfd(task, 0)) as UserfaultfdContext;
    world.run(task, userfaultfdApi(task, uffd, UFFD_API, 0n));
    const mode = UFFDIO_REGISTER_MODE_MISSING;
    const { error } = world.run(task, userfaultfdRegister(task, uffd, addressOf(0), 0x4000n, mode));
    expect(error).toBe(0);
    world.run(holder, mmapWriteLock(holder, mm()));
    director.start(task, store(0));
    expect(director.block(task)).toBe('handle_userfault');
    expect(vmaAt(0).refcount).toBe(1);
    task.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(director.finish(task)).toMatchObject({ signal: SIGKILL });
    expect(mm().vmaLockCounters.retry).toBe(1);
    world.run(holder, mmapWriteUnlock(holder, mm()));
  });
});

describe('a fault and munmap', () => {
  it('munmap waits for the fault that has the VMA, and the fault’s page goes with the others', () => {
    mapTouched(0);
    director.start(task, store(0));
    director.until(task, 'set_pte_at');
    director.start(holder, sysMunmap(holder, addressOf(0), 0x4000n));
    expect(director.block(holder)).toBe('vma_start_write');
    director.finishAll(task, holder);
    expect([task.result, holder.result, mm().residentPages]).toEqual([null, 0, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a fault that comes later finds nothing', () => {
    mapTouched(0);
    director.start(holder, sysMunmap(holder, addressOf(0), 0x4000n));
    director.until(holder, 'vma_iter_store');
    director.start(task, store(0));
    expect(director.block(task)).toBe('down_read_killable');
    director.finishAll(holder, task);
    expect(task.result).toMatchObject({ code: SEGV_MAPERR });
  });
});

describe('handle_mm_fault', () => {
  it('refuses RETRY_NOWAIT under a VMA lock', () => {
    mapTouched(0);
    const path = function* (): Task<number> {
      const vma = (yield* lockVmaUnderRcu(task, mm(), BASE_PAGE)) as VmArea;
      const flags = FAULT_FLAG_USER | FAULT_FLAG_VMA_LOCK | FAULT_FLAG_RETRY_NOWAIT;
      const result = yield* handleMmFault(task, vma, BASE_PAGE, flags);
      yield* vmaEndRead(task, vma);
      return result;
    };
    expect(world.run(task, path())).toBe(VM_FAULT_SIGSEGV);
  });

  it('must be called with the lock that its flags name', () => {
    mapTouched(0);
    const flags = FAULT_FLAG_USER | FAULT_FLAG_VMA_LOCK;
    expect(() => handleMmFault(task, vmaAt(0), BASE_PAGE, flags).next()).toThrow('write-locked');
    const fault = () => handleMmFault(holder, vmaAt(0), BASE_PAGE, FAULT_FLAG_USER);
    expect(() => fault().next()).toThrow('held by nobody');
    // That another thread has it is not enough.
    world.run(task, mmapReadLock(task, mm()));
    expect(() => fault().next()).toThrow('held by task (read)');
    world.run(task, mmapReadUnlock(task, mm()));
  });
});
