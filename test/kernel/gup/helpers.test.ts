/** What stands around GUP: faults by hand, buffers that are faulted in, pins of a file's folios. mm/gup.c. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EINTR, EINVAL, ENOMEM } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import {
  faultInSafeWriteable,
  faultInSubpageWriteable,
  faultInWriteable,
} from '../../../src/kernel/gup/fault-in.ts';
import { fixupUserFault } from '../../../src/kernel/gup/fixup-user-fault.ts';
import { memfdPinFolios } from '../../../src/kernel/gup/memfd-pin-folios.ts';
import { unpinFolios } from '../../../src/kernel/gup/unpin-folio.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { FAULT_FLAG_KILLABLE, FAULT_FLAG_WRITE } from '../../../src/kernel/mm/fault/fault-flags.ts';
import { hugetlbMemfdCreate } from '../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { fileRead, fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { faultInReadable } from '../../../src/kernel/mm/user-access.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, PAGE, World } from '../support/world.ts';
import { expectQuiet, FIRST, locked, mmOf, RW, setUp, slots } from './support.ts';

describe('fixup_user_fault', () => {
  const cases = [
    ['a write to what may be written', RW, FAULT_FLAG_WRITE, 0, 'Xw'],
    ['a read', RW, 0, 0, 'Z'],
    ['a write to what may be read only', PROT_READ, FAULT_FLAG_WRITE, -EFAULT, '-'],
    ['a read of what may not be read', PROT_NONE, 0, -EFAULT, '-'],
  ] as const;

  it.each(cases)('%s', (_name, prot, flags, result, state) => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, prot);
    const path = fixupUserFault(caller, mm, FIRST, flags, { happened: false });
    expect(locked(world, caller, mm, path)).toBe(result);
    expect(world.state(target, BASE)).toBe(state);
    expectQuiet(world, mm);
  });

  it('asks the handler although the page is there, and counts the fault for who asked', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [1]);
    const before = target.minFlt;
    const path = fixupUserFault(caller, mm, FIRST, FAULT_FLAG_WRITE, null);
    expect(locked(world, caller, mm, path)).toBe(0);
    expect([caller.minFlt, target.minFlt - before]).toEqual([1, 0]);
  });

  it('finds no VMA in a hole, and makes no stack grow, of which the kernel warns', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 16, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    const at = (page: number) => locked(world, caller, mm, fixupUserFault(caller, mm, FIRST + page, 0, null));
    expect([at(17), world.kernel.warnings.list.length]).toEqual([-EFAULT, 0]);
    expect(at(15)).toBe(-EFAULT);
    expect(world.kernel.warnings.list.map(({ place }) => place)).toEqual(['gup_vma_lookup']);
    expect(mm.vmas.find(FIRST)?.start).toBe(FIRST + 16);
  });

  it.each([
    ['may be killed, as with unlocked', { happened: false }, 0, -EINTR],
    ['may be killed, by its flag', null, FAULT_FLAG_KILLABLE, -EINTR],
    ['may not', null, 0, 0],
  ] as const)('a caller that is killed and %s', (_name, unlocked, flags, result) => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    caller.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(locked(world, caller, mm, fixupUserFault(caller, mm, FIRST, flags, unlocked))).toBe(result);
  });
});

type FaultIn = (task: TaskStruct, address: bigint, length: number) => Task<number>;

describe.each<[string, FaultIn, boolean]>([
  ['fault_in_readable', faultInReadable, false],
  ['fault_in_writeable', faultInWriteable, true],
  ['fault_in_safe_writeable', faultInSafeWriteable, true],
  ['fault_in_subpage_writeable', faultInSubpageWriteable, true],
])('%s', (name, faultIn, write) => {
  const scene = () => {
    const { world, target } = setUp();
    world.map(target, 0, 3, RW);
    world.map(target, 3, 1, write ? PROT_READ : PROT_NONE);
    return {
      world,
      target,
      left: (at: bigint, length: number) => world.run(target, faultIn(target, at, length)),
    };
  };

  it('says how many bytes lie behind the first page that fails', () => {
    const { left } = scene();
    expect([left(BASE, 3 * 4096), left(BASE + 100n, 2 * 4096)]).toEqual([0, 0]);
    expect([left(BASE + 100n, 3 * 4096), left(BASE, 4 * 4096), left(BASE + 3n * PAGE + 5n, 7)]).toEqual([
      100, 4096, 7,
    ]);
  });

  it('brings the pages in', () => {
    const { world, target, left } = scene();
    expect(left(BASE + 4095n, 2)).toBe(0);
    const state = write ? 'Xw' : 'Z';
    const states = [0n, 1n, 2n].map((page) => world.state(target, BASE + page * PAGE));
    expect(states).toEqual([state, state, '-']);
  });

  it('reaches nothing of a range that is not user space, and 0 of 0 bytes anywhere', () => {
    const { left } = scene();
    expect(left(2n ** 64n - 4096n, 8192)).toBe(8192);
    expect(left(0xffff_8000_0000_0000n, 16)).toBe(16);
    expect(left(1n, 0)).toBe(0);
  });

  it('tries nothing of a range that begins at address 0, though memory is mapped there', () => {
    const { world, target, left } = scene();
    const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
    expect(world.run(target, sysMmap(target, 0n, PAGE, RW, flags, null, 0n))).toBe(0n);
    expect([left(0n, 16), left(0n, 0), left(1n, 16)]).toEqual([16, 0, 0]);
  });

  it('changes the first byte of each page only if it writes itself', () => {
    const { world, target, left } = scene();
    for (const page of [0n, 1n]) world.store(target, BASE + page * PAGE, [5, 6]);
    expect(left(BASE, 8192)).toBe(0);
    const writes = name === 'fault_in_writeable' || name === 'fault_in_subpage_writeable';
    for (const page of [0n, 1n]) {
      expect(world.load(target, BASE + page * PAGE, 2)).toEqual([writes ? 0 : 5, 6]);
    }
  });

  it('leaves no lock behind', () => {
    const { world, target, left } = scene();
    left(BASE, 4 * 4096);
    expectQuiet(world, mmOf(target));
  });
});

function fileWorld(kernel: Partial<KernelConfig> = {}) {
  const world = new World(1, undefined, kernel);
  const task = world.process('driver');
  const offset = { value: -1 };
  const file = memfdCreate(world.kernel, 'm');
  file.mapping.sizeBytes = 4 * 4096;
  const pin = (start: number, end: number, folios: number[], of = file) =>
    world.run(task, memfdPinFolios(task, of, start, end, folios, folios.length, offset));
  return { world, task, file, pin, offset, frames: world.kernel.frames };
}

describe('memfd_pin_folios', () => {
  it('finds pages or makes them, pins each once, and says where the range begins', () => {
    const { world, task, file, pin, offset, frames } = fileWorld();
    world.run(task, fileWrite(task, file, 4096, Uint8Array.of(7)));
    const folios = slots(4);
    expect(pin(4096 + 10, 3 * 4096, folios)).toBe(3);
    expect(folios.slice(0, 3)).toEqual([1, 2, 3].map((index) => file.mapping.frameAt(index)));
    expect([folios[3], offset.value, file.mapping.frameAt(0)]).toEqual([-1, 10, -1]);
    expect(folios.slice(0, 3).map((folio) => frames.refcount(folio))).toEqual([1025, 1025, 1025]);
    world.run(task, unpinFolios(task, folios, 3));
    expect(frames.refcount(folios[0] as number)).toBe(1);
  });

  it('stops where there is no room for more', () => {
    const { pin } = fileWorld();
    expect(pin(0, 4 * 4096 - 1, slots(2))).toBe(2);
  });

  it.each([
    ['an offset below 0', -1, 0, 1],
    ['an end before the start', 4096, 4095, 1],
    ['no room at all', 0, 0, 0],
    ['an end at the end of the file', 0, 4 * 4096, 1],
  ])('refuses %s', (_name, start, end, room) => {
    const { pin, frames } = fileWorld();
    expect(pin(start, end, slots(room))).toBe(-EINVAL);
    expect(frames.pinsAcquired).toBe(0);
  });

  it('moves what lies in memory that must stay movable, and its bytes with it', () => {
    const { world, task, file, pin, frames } = fileWorld({ movablePages: 256 });
    world.run(task, fileWrite(task, file, 0, Uint8Array.of(7)));
    const before = file.mapping.frameAt(0);
    expect(frames.zoneOf(before)).toBe('movable');
    const folios = slots(2);
    expect(pin(0, 4096, folios)).toBe(2);
    expect(folios.map((folio) => frames.zoneOf(folio))).toEqual(['normal', 'normal']);
    const read = new Uint8Array(1);
    world.run(task, fileRead(task, file, 0, read));
    expect([read[0], file.mapping.frameAt(0) === before]).toEqual([7, false]);
  });

  it('gives back what it has when there is no memory', () => {
    const { pin, frames } = fileWorld();
    while (frames.freeFrames > 1) frames.allocate();
    expect(pin(0, 4 * 4096 - 1, slots(4))).toBe(-ENOMEM);
    expect(frames.pinsAcquired).toBe(frames.pinsReleased);
  });

  it('takes a huge page of a pool as one folio', () => {
    const { world, pin, offset, frames } = fileWorld({ hugepages2M: 2 });
    const huge = hugetlbMemfdCreate(world.kernel, 'h', 0);
    if (typeof huge === 'number') throw new Error(`no file: ${huge}`);
    huge.mapping.sizeBytes = 2 ** 22;
    const folios = slots(3);
    expect(pin(2 ** 21 - 1, 2 ** 21, folios, huge)).toBe(2);
    expect(offset.value).toBe(2 ** 21 - 1);
    expect(folios.slice(0, 2).map((folio) => frames.hasFlag(folio, FrameFlag.Hugetlb))).toEqual([true, true]);
    expect(frames.refcount(folios[0] as number)).toBe(2);
  });
});
