/** Write faults on shared memory: when the page becomes dirty, and who lets the lock of the fault go. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { markFolioDirtyLock } from '../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import {
  FAULT_FLAG_DEFAULT,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
} from '../../../src/kernel/mm/fault/fault-flags.ts';
import { handleMmFault } from '../../../src/kernel/mm/fault/handle-mm-fault.ts';
import { MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { pteIndex, type TablePage } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { shmemZeroSetup } from '../../../src/kernel/mm/shmem.ts';
import { flushTlbPage } from '../../../src/kernel/mm/tlb.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { sysProcessVmWritev } from '../../../src/kernel/remote/process-vm.ts';
import { userStore } from '../../../src/userland/calls/access.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const WRITE = FAULT_FLAG_DEFAULT | FAULT_FLAG_WRITE;

function sharedFile() {
  const director = new Director();
  const world = new ProcessWorld({ cpus: 2, policy: director.policy, kernel: { lockdep: true } });
  director.loop = world.system.loop;
  const task = world.process('task');
  const file = shmemZeroSetup(world.kernel, 4);
  const mapped = sysMmap(task, addressOf(0), 0x4000n, RW, MAP_SHARED | MAP_FIXED, file, 0n);
  expect(world.run(task, mapped)).toBe(addressOf(0));
  const vma = mmOf(task).vmas.lookup(BASE_PAGE) as VmArea;
  const { mmapLock } = mmOf(task);
  /** A write fault on the first page: its answer, and whether mmap_lock is still held; it is let go then. */
  const fault = (flags: number): { readonly completed: boolean; readonly locked: boolean } => {
    world.run(task, mmapReadLock(task, mmOf(task)));
    const result = world.run(task, handleMmFault(task, vma, BASE_PAGE, flags));
    const locked = mmapLock.isHeldBy(task);
    if (locked) world.run(task, mmapReadUnlock(task, mmOf(task)));
    return { completed: (result & VM_FAULT_COMPLETED) !== 0, locked };
  };
  /** Maps the first page without the right to write, as the end of a watch by userfaultfd leaves it. */
  const mapReadOnly = (): number => {
    world.load(task, 0);
    const { pageTables } = world.kernel;
    const table = pageTables.lookup(rootTable(mmOf(task)), BASE_PAGE, pageTables.lastLevel) as TablePage;
    pageTables.change(table, pteIndex(pageTables, BASE_PAGE), 0, EntryFlag.Write);
    world.run(task, flushTlbPage(task, mmOf(task), BASE_PAGE));
    return world.pte(task, 0).frame;
  };
  const isDirty = () => world.kernel.frames.hasFlag(world.pte(task, 0).frame, FrameFlag.Dirty);
  return { director, world, task, file, fault, mapReadOnly, isDirty };
}

describe.each([
  ['of an absent page', false],
  ['of a page that is mapped read-only', true],
])('the first write fault %s', (_what, readBefore) => {
  it('ends with the lock let go, the file as often open as before; the next keeps it', () => {
    const { world, task, file, fault, mapReadOnly, isDirty } = sharedFile();
    if (readBefore) mapReadOnly();
    const { count } = file;
    expect(fault(WRITE)).toEqual({ completed: true, locked: false });
    expect([isDirty(), file.count, task.minFlt]).toEqual([true, count, readBefore ? 2 : 1]);
    expect(fault(WRITE)).toEqual({ completed: false, locked: true });
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['a second attempt', WRITE | FAULT_FLAG_TRIED],
    ['one that may not let it go', FAULT_FLAG_WRITE],
  ])('keeps the lock on %s', (_name, flags) => {
    const { world, fault, mapReadOnly, isDirty } = sharedFile();
    if (readBefore) mapReadOnly();
    expect(fault(flags)).toEqual({ completed: false, locked: true });
    expect(isDirty()).toBe(true);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a page that is mapped read-only', () => {
  it('becomes dirty under the folio lock, after its pte and without the lock of the table', () => {
    const { director, world, task, mapReadOnly, isDirty } = sharedFile();
    const frame = mapReadOnly();
    const { frames } = world.kernel;
    frames.setFlags(frame, FrameFlag.Locked);
    director.start(task, userStore(task, addressOf(0), Uint8Array.of(1)));
    expect(director.block(task)).toBe('folio_lock');
    expect([world.page(task, 0), isDirty(), task.atomic()]).toEqual(['Fwd', false, false]);
    frames.clearFlags(frame, FrameFlag.Locked);
    director.finish(task);
    expect([isDirty(), frames.hasFlag(frame, FrameFlag.Locked)]).toEqual([true, false]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a mapping that goes once its lock was let go', () => {
  it('leaves the fault the file, until it is done with it', () => {
    const { director, world, task, file } = sharedFile();
    const other = world.thread(task, 'other', 1);
    director.start(task, userStore(task, addressOf(0), Uint8Array.of(1)));
    director.until(task, 'vma_end_read');
    director.step(task);
    director.start(other, sysMunmap(other, addressOf(0), 0x4000n));
    director.finish(other);
    // The one of `shmemZeroSetup`'s caller and that of the fault.
    expect(file.count).toBe(2);
    expect(director.finish(task)).toMatchObject({ signal: 11 });
    expect(file.count).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a remote write to a shared page', () => {
  it('takes mmap_lock again after the fault that let it go', () => {
    const { world, task, isDirty } = sharedFile();
    const writer = world.process('writer', 1);
    const local = [{ base: new Uint8Array(8192).fill(7), length: 8192n }];
    const remote = [{ base: addressOf(0), length: 8192n }];
    const call = { pid: task.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    world.system.loop.start(writer, sysProcessVmWritev(writer, call));
    let acquired = 0;
    let held = false;
    world.system.loop.run({
      afterStep: () => {
        const now = mmOf(task).mmapLock.isHeldBy(writer);
        if (now && !held) acquired++;
        held = now;
        return true;
      },
    });
    // To begin with, and once after the fault of each page.
    expect([writer.result, isDirty(), acquired]).toEqual([8192, true, 3]);
    expect([world.load(task, 0), world.load(task, 1)]).toEqual([7, 7]);
    expect(world.kernel.lockdep?.reports).toEqual([]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('marks the page dirty under its lock', () => {
    const { director, world, task } = sharedFile();
    world.load(task, 0);
    const { frame } = world.pte(task, 0);
    const { frames } = world.kernel;
    frames.setFlags(frame, FrameFlag.Locked);
    director.start(task, markFolioDirtyLock(task, frame));
    expect(director.block(task)).toBe('folio_lock');
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(false);
    frames.clearFlags(frame, FrameFlag.Locked);
    director.finish(task);
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(true);
  });
});
