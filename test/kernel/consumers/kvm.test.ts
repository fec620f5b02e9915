/** Pages of a guest: who may ask, which way finds them, what is dirty afterwards, and the worker that waits for one. */
import { describe, expect, it } from 'vitest';
import { Kvm } from '../../../src/kernel/consumers/kvm.ts';
import { AsyncPageFault } from '../../../src/kernel/consumers/kvm-async-pf.ts';
import { EINTR, EIO } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { mmdrop, mmgrab } from '../../../src/kernel/mm/mm-count.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysCloneVm } from '../../../src/kernel/process/clone-vm.ts';
import { sysExecve } from '../../../src/kernel/process/exec.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { faultInRemotePage } from '../../../src/kernel/remote/remote-lock.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { BASE, MAP_PRIVATE, MAP_SHARED, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const PAGE_NUMBER = Number(BASE >> 12n);

/** A process whose first page is the guest's page 0, in a slot. */
function setUp(readOnly = false, flags = MAP_PRIVATE, world = new World()) {
  const task = world.process('vcpu');
  world.map(task, 0, 1, RW, flags);
  const mm = task.mm as MmStruct;
  const kvm = new Kvm(mm, [{ guestPage: 0, pages: 1, hostPage: PAGE_NUMBER, readOnly }], null);
  const access = (who: TaskStruct, write: boolean): number =>
    world.run(who, kvm.access(who, 0, 0, Uint8Array.of(7), write));
  return { world, task, mm, kvm, access };
}

describe('a virtual machine', () => {
  it('runs in the address space that it was made in: threads may, a child may not, nor the program after execve', () => {
    const { world, task, mm, kvm, access } = setUp();
    const thread = world.run(task, sysCloneVm(task, 'thread')) as TaskStruct;
    const child = world.fork(task, 'child');
    const before = world.kernel.frames.freeFrames;
    expect([access(child, false), access(child, true)]).toEqual([-EIO, -EIO]);
    expect([world.kernel.frames.freeFrames, world.state(task, BASE), world.state(child, BASE)]).toEqual([
      before,
      '-',
      '-',
    ]);
    expect(access(thread, true)).toBe(0);
    expect(world.load(task, BASE, 1)).toEqual([7]);
    world.run(task, mmgrab(mm));
    expect(world.run(task, sysExecve(task, { filename: 'a', argv: ['a'], envp: [] }))).toBe(0);
    expect(access(task, false)).toBe(-EIO);
    expect(kvm.counters).toEqual({ fast: 0, slow: 1, remapped: 0, async: 0 });
    world.run(task, mmdrop(mm));
  });

  it.each([
    ['of a slot that is read-only is found for reading only', true, { fast: 0, slow: 1 }],
    ['is found by gup-fast for writing as well', false, { fast: 1, slow: 0 }],
  ])('a written page %s', (_name, readOnly, expected) => {
    const { world, task, kvm, access } = setUp(readOnly);
    world.store(task, BASE, [1]);
    const { frames } = world.kernel;
    const frame = world.frameAt(task, BASE);
    frames.clearFlags(frame, FrameFlag.Dirty);
    expect(access(task, false)).toBe(0);
    expect(kvm.counters).toMatchObject(expected);
    // What the guest may write without another fault counts as written.
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(!readOnly);
    expect(frames.refcount(frame)).toBe(1);
  });
});

describe('a page of a guest', () => {
  it.each([
    ['may be written: mapped for that at once', false],
    ['is read-only: for reading', true],
  ])('of shared memory that was read in a slot that %s', (_name, readOnly) => {
    const { world, task, kvm, access } = setUp(readOnly, MAP_SHARED);
    expect(access(task, false)).toBe(0);
    const { frames } = world.kernel;
    const frame = world.frameAt(task, BASE);
    expect(kvm.counters).toMatchObject({ fast: 0, slow: 1 });
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(!readOnly);
    // The page cache's reference and the entry's.
    expect([frames.refcount(frame), frames.mapcount(frame)]).toEqual([2, 1]);
    frames.clearFlags(frame, FrameFlag.Dirty);
    expect(access(task, false)).toBe(0);
    expect([kvm.counters.fast, frames.hasFlag(frame, FrameFlag.Dirty)]).toEqual(
      readOnly ? [0, false] : [1, true],
    );
  });

  it('is dirty when the guest wrote it, whatever its entry says', () => {
    const { world, task, access } = setUp();
    world.store(task, BASE, [1]);
    const { frames } = world.kernel;
    const frame = world.frameAt(task, BASE);
    frames.clearFlags(frame, FrameFlag.Dirty);
    expect(access(task, true)).toBe(0);
    expect([frames.hasFlag(frame, FrameFlag.Dirty), frames.refcount(frame)]).toEqual([true, 1]);
  });

  it('is no more waited for when the vCPU is killed while it waits for mmap_lock: -EINTR', () => {
    const director = new Director();
    const world = new World(2, director.policy);
    director.loop = world.system.loop;
    const { task, mm, kvm } = setUp(false, MAP_PRIVATE, world);
    const thread = world.run(task, sysCloneVm(task, 'thread', 1)) as TaskStruct;
    world.run(thread, mmapWriteLock(thread, mm));
    director.start(task, kvm.access(task, 0, 0, Uint8Array.of(1), false));
    director.block(task);
    task.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(director.finish(task)).toBe(-EINTR);
    world.run(thread, mmapWriteUnlock(thread, mm));
    expect(mm.mmapLock.holders()).toEqual([]);
  });
});

describe('the worker of an asynchronous page fault', () => {
  it('makes the page writable, not only present', () => {
    const { world, task, mm } = setUp();
    const worker = world.process('worker');
    expect(world.run(worker, faultInRemotePage(worker, mm, PAGE_NUMBER))).toBe(1);
    expect(world.state(task, BASE)).toBe('Xw');
  });

  it('keeps the memory of the process as long as it is at work, and no longer', () => {
    const { world, mm } = setUp();
    const worker = world.process('worker');
    const fault = new AsyncPageFault(mm, PAGE_NUMBER);
    let [most, atWork] = [0, 0];
    world.system.loop.start(worker, fault.execute(worker));
    world.system.loop.run({
      afterStep: () => {
        most = Math.max(most, mm.mmUsers);
        if (mm.mmapLock.isHeldBy(worker)) atWork = mm.mmUsers;
        return true;
      },
    });
    expect([most, atWork, mm.mmUsers, fault.done]).toEqual([2, 2, 1, true]);
  });

  it('has nothing to do for a process that is gone', () => {
    const { world, task, mm } = setUp();
    const worker = world.process('worker');
    world.run(worker, mmgrab(mm));
    world.run(task, doExit(task, 0));
    const calls = world.kernel.remoteCounters.calls;
    const fault = new AsyncPageFault(mm, PAGE_NUMBER);
    world.run(worker, fault.execute(worker));
    expect([fault.done, mm.mmUsers, world.kernel.remoteCounters.calls]).toEqual([true, 0, calls]);
    world.run(worker, mmdrop(mm));
  });
});
