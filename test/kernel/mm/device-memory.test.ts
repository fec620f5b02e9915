/** Device memory in page tables: what GUP, debuggers, fork and the rest make of entries without pages, and that all adds up. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { EEXIST, EFAULT, EINVAL, ENOMEM } from '../../../src/kernel/errno.ts';
import { FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPages } from '../../../src/kernel/gup/get-user-pages.ts';
import { getUserPagesFastOnly } from '../../../src/kernel/gup/get-user-pages-fast.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { DeviceFile, type DeviceFill } from '../../../src/kernel/mm/device-file.ts';
import { followPfnmapStart } from '../../../src/kernel/mm/follow-pfnmap.ts';
import { genericAccessPhys } from '../../../src/kernel/mm/generic-access-phys.ts';
import { fput } from '../../../src/kernel/mm/mapped-file.ts';
import {
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { pteIndex, type TablePage } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { VM_IO, VM_MIXEDMAP, VM_PFNMAP } from '../../../src/kernel/mm/vma-flags.ts';
import { accessRemoteVm } from '../../../src/kernel/remote/access-remote-vm.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld, type ProcessWorldOptions } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const FILLS: readonly DeviceFill[] = ['remap', 'fault', 'mixed'];

interface Devices {
  readonly world: ProcessWorld;
  readonly task: TaskStruct;
  readonly device: DeviceFile;
}

/** A process with a device of 16 pages at page 0 of the arena, over two page tables. */
function devices(fill: DeviceFill, flags = MAP_SHARED, options: ProcessWorldOptions = {}): Devices {
  const world = new ProcessWorld(options);
  const task = world.process();
  const device = new DeviceFile(world.kernel, { pages: 16, fill, access: true, noncached: false });
  const length = 16n << 12n;
  const got = world.run(task, sysMmap(task, addressOf(0), length, RW, flags | MAP_FIXED, device, 0n));
  expect(got).toBe(addressOf(0));
  return { world, task, device };
}

const vmaOf = (task: TaskStruct): VmArea => mmOf(task).vmas.lookup(BASE_PAGE) as VmArea;

/** The last user of the device goes, and nothing is left over. */
function end({ world, task, device }: Devices): void {
  world.run(task, fput(world.kernel.frames, device));
  expect(world.inconsistencies()).toEqual([]);
}

/** Under mmap_lock for reading. */
function locked<T>({ world, task }: Devices, path: () => Generator<never, T, never>): T {
  const mm = mmOf(task);
  world.run(task, mmapReadLock(task, mm));
  const result = world.run(task, path() as never) as T;
  world.run(task, mmapReadUnlock(task, mm));
  return result;
}

describe('entries of device memory', () => {
  it.each(FILLS)("are special, and name frames that are not the kernel's (%s)", (fill) => {
    const all = devices(fill);
    const { world, task, device } = all;
    for (const page of [0, 7, 8, 15]) {
      expect(world.store(task, page, page)).toBeNull();
      const { flags, frame } = world.pte(task, page);
      expect(flags & EntryFlag.Special).toBe(EntryFlag.Special);
      expect(frame).toBe(device.firstFrame + page);
      expect(world.kernel.frames.owns(frame)).toBe(false);
    }
    const flags = vmaOf(task).flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP);
    expect(flags).toBe(fill === 'mixed' ? VM_MIXEDMAP : VM_IO | VM_PFNMAP);
    end(all);
  });

  it.each(FILLS)('survive fork, mprotect and the unmapping of a part (%s)', (fill) => {
    const all = devices(fill);
    const { world, task } = all;
    for (let page = 0; page < 16; page++) world.store(task, page, page);
    const child = world.fork(task);
    expect(world.load(child, 9)).toBe(9);
    expect(world.run(task, sysMprotect(task, addressOf(0), 8n << 12n, PROT_NONE))).toBe(0);
    expect(world.load(task, 1)).toMatchObject({ signal: 11 });
    expect(world.run(task, sysMprotect(task, addressOf(0), 8n << 12n, RW))).toBe(0);
    expect(world.load(task, 1)).toBe(1);
    expect(world.run(child, sysMunmap(child, addressOf(4), 8n << 12n))).toBe(0);
    expect(world.store(child, 15, 99)).toBeNull();
    expect(world.load(task, 15)).toBe(99);
    end(all);
  });

  it.each(['remap', 'mixed'] as const)('private: a written page is a copy, in fork too (%s)', (fill) => {
    const all = devices(fill, MAP_PRIVATE);
    const { world, task, device } = all;
    world.kernel.machine.memory.writeBytes(device.firstFrame, 0, Uint8Array.of(1, 2));
    expect(world.store(task, 0, 7)).toBeNull();
    const { flags, frame } = world.pte(task, 0);
    expect([flags & EntryFlag.Special, world.kernel.frames.owns(frame)]).toEqual([0, true]);
    expect([world.load(task, 0), world.load(task, 0, 1)]).toEqual([7, 2]);
    const child = world.fork(task);
    world.store(child, 0, 8);
    world.store(child, 1, 9);
    expect([world.load(task, 0), world.load(task, 1)]).toEqual([7, 0]);
    const byte = new Uint8Array(1);
    world.kernel.machine.memory.readBytes(device.firstFrame, 0, byte);
    expect([...byte]).toEqual([1]);
    end(all);
  });
});

describe('GUP and device memory', () => {
  it.each([
    ['remap', true, -EFAULT],
    ['remap', false, -EFAULT],
    ['fault', true, -EFAULT],
    ['mixed', true, -EEXIST],
    ['mixed', false, 3],
  ] as const)('%s, with pages %s: %d', (fill, wantsPages, expected) => {
    const all = devices(fill);
    const pages = wantsPages ? [0, 0, 0] : null;
    const got = locked(all, () => getUserPages(all.task, BASE_PAGE, 3, FOLL_WRITE, pages) as never);
    expect(got).toBe(expected);
    // Nothing but the entry itself can tell that the memory was wanted for writing.
    if (fill === 'mixed') expect(all.world.pte(all.task, 0).flags & EntryFlag.Dirty).toBe(EntryFlag.Dirty);
    end(all);
  });

  it.each(FILLS)('gup-fast stops at the first special entry (%s)', (fill) => {
    const all = devices(fill);
    all.world.store(all.task, 0, 1);
    expect(all.world.run(all.task, getUserPagesFastOnly(all.task, BASE_PAGE, 2, 0, [0, 0]))).toBe(0);
    end(all);
  });
});

describe('generic_access_phys', () => {
  const access = (all: Devices, page: number, write: boolean): number =>
    locked(
      all,
      () =>
        genericAccessPhys(all.task, vmaOf(all.task), BASE_PAGE + page, 0, new Uint8Array(8), write) as never,
    );

  it('moves bytes where an entry is, and none where none is', () => {
    const all = devices('fault');
    all.world.store(all.task, 3, 1);
    expect([access(all, 3, false), access(all, 3, true), access(all, 4, false)]).toEqual([8, 8, -EINVAL]);
    all.world.run(all.task, sysMprotect(all.task, addressOf(0), 16n << 12n, PROT_READ));
    expect([access(all, 3, false), access(all, 3, true)]).toEqual([8, -EINVAL]);
    end(all);
  });

  it("cannot map the kernel's own memory once more", () => {
    const all = devices('remap', MAP_PRIVATE);
    all.world.store(all.task, 0, 1);
    expect([access(all, 0, false), access(all, 1, false), access(all, 1, true)]).toEqual([
      -ENOMEM,
      8,
      -EINVAL,
    ]);
    end(all);
  });

  it('is not tried without CONFIG_HAVE_IOREMAP_PROT', () => {
    for (const haveIoremapProt of [true, false]) {
      const all = devices('remap', MAP_SHARED, { kernel: { haveIoremapProt } });
      const { world, task } = all;
      const moved = world.run(
        task,
        accessRemoteVm(task, mmOf(task), addressOf(0, 100), new Uint8Array(9000), 9000, 0),
      );
      expect(moved).toBe(haveIoremapProt ? 9000 : 0);
      end(all);
    }
  });

  it('looks at no entry without a lock that keeps it', () => {
    const all = devices('remap');
    const walk = (): unknown =>
      all.world.run(all.task, followPfnmapStart(all.task, vmaOf(all.task), BASE_PAGE));
    expect(walk).toThrow('without mmap_lock');
  });
});

describe('generic_access_phys beside a driver that maps something else', () => {
  it('looks again where another page is there by the time that the memory is mapped', () => {
    const director = new Director();
    const all = devices('remap', MAP_SHARED, { policy: director.policy });
    const { world, task, device } = all;
    director.loop = world.system.loop;
    for (const page of [0, 1]) world.store(task, page, 40 + page);
    const bytes = new Uint8Array(8);
    const mm = mmOf(task);
    function* read() {
      yield* mmapReadLock(task, mm);
      const moved = yield* genericAccessPhys(task, vmaOf(task), BASE_PAGE, 0, bytes, false);
      yield* mmapReadUnlock(task, mm);
      return moved;
    }
    const { pageTables } = world.kernel;
    const table = pageTables.lookup(rootTable(mm), BASE_PAGE, pageTables.lastLevel) as TablePage;
    const index = pteIndex(pageTables, BASE_PAGE);
    pageTables.read(table, index);
    const flags = pageTables.flags(table.level);
    director.start(task, read());
    // Once locked, and let go: the first look is over.
    while (!table.lock.isHeldBy(task)) director.step(task);
    while (table.lock.isHeldBy(task)) director.step(task);
    pageTables.setLeaf(table, index, device.firstFrame + 1, flags);
    expect([director.finish(task), bytes[0]]).toEqual([8, 41]);
    pageTables.setLeaf(table, index, device.firstFrame, flags);
    end(all);
  });
});
