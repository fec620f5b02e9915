/** fork, mremap and munmap of registered memory: what is told to the reader, and what becomes of the registration. */
import { describe, expect, it } from 'vitest';
import { EAGAIN } from '../../../../src/kernel/errno.ts';
import { sysMlock } from '../../../../src/kernel/mm/mlock.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import type { UffdMessage } from '../../../../src/kernel/mm/userfaultfd/context.ts';
import { userfaultfdPut } from '../../../../src/kernel/mm/userfaultfd/context.ts';
import { encodeMessage } from '../../../../src/kernel/mm/userfaultfd/message.ts';
import { userfaultfdRead } from '../../../../src/kernel/mm/userfaultfd/read.ts';
import {
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_UNMAP,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdRelease } from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { VM_UFFD_MISSING } from '../../../../src/kernel/mm/vma-flags.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import { SIGKILL } from '../../../../src/kernel/signal.ts';
import { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { bytesOf, MISSING, RW, UffdWorld, WP } from './uffd-world.ts';

function registered(features: number): UffdWorld {
  const world = new UffdWorld({ kernel: { lockdep: true } }, features);
  world.map(world.owner, 0, 4, RW);
  world.register(0, 4, MISSING);
  return world;
}

function readMessage(world: UffdWorld): UffdMessage | undefined {
  const { manager, uffd } = world;
  return world.run(manager, userfaultfdRead(manager, uffd, 32)).messages[0];
}

const isArmed = (task: TaskStruct, page: number): boolean => {
  const vma = mmOf(task).vmas.lookup(BASE_PAGE + page);
  if (vma === null) throw new Error('nothing is mapped');
  // The flags and the context say the same.
  expect((vma.flags & VM_UFFD_MISSING) !== 0).toBe(vma.userfaultfd !== null);
  return vma.userfaultfd !== null;
};

describe('fork', () => {
  it('does not hand the registration on', () => {
    const world = registered(0);
    const child = world.fork(world.owner);
    expect([isArmed(world.owner, 0), isArmed(child, 0)]).toEqual([true, false]);
    expect(world.load(child, 1)).toBe(0);
    world.expectConsistent();
  });

  it('with EVENT_FORK waits until the reader has the userfaultfd of the child', () => {
    const world = registered(UFFD_FEATURE_EVENT_FORK);
    const { owner, manager } = world;
    const fork = world.begin(owner, sysFork(owner, 'child'));
    expect(fork.ended).toBe(false);
    // Nothing is filled in meanwhile.
    expect(world.copy(0, 1)).toEqual({ error: -EAGAIN, done: -EAGAIN });
    expect(world.protect(0, 1)).toBe(-EAGAIN);
    const message = readMessage(world);
    if (message?.event !== 'fork') throw new Error(`no fork event: ${message?.event}`);
    world.settle();
    const child = fork.result;
    if (!(child instanceof TaskStruct)) throw new Error(`fork gave ${child}`);
    expect(message.child.mm).toBe(child.mm);
    expect(isArmed(child, 0)).toBe(true);
    expect(world.copy(0, 1).error).toBe(0);
    const load = world.beginLoad(child, 2);
    expect(load.ended).toBe(false);
    expect(world.event(message.child)).toBe('2 0');
    world.run(manager, userfaultfdRelease(manager, message.child));
    world.settle();
    expect(load.result).toBe(0);
    expect(isArmed(child, 0)).toBe(false);
    world.expectConsistent();
  });

  it('whose event nobody reads ends when the descriptor is closed; the child is not registered', () => {
    const world = registered(UFFD_FEATURE_EVENT_FORK);
    const { owner, manager, uffd } = world;
    const fork = world.begin(owner, sysFork(owner, 'child'));
    world.run(manager, userfaultfdRelease(manager, uffd));
    world.settle();
    const child = fork.result;
    if (!(child instanceof TaskStruct)) throw new Error(`fork gave ${child}`);
    expect([isArmed(owner, 0), isArmed(child, 0)]).toEqual([false, false]);
    expect(uffd.refcount).toBe(0);
    world.expectConsistent();
  });
});

/** The first two pages, to page 8. */
const move = (task: TaskStruct) =>
  sysMremap(task, addressOf(0), bytesOf(2), bytesOf(2), MREMAP_MAYMOVE | MREMAP_FIXED, addressOf(8));

describe('mremap', () => {
  it('to another address ends the registration', () => {
    const world = registered(0);
    world.copy(0, 3);
    expect(world.run(world.owner, move(world.owner))).toBe(addressOf(8));
    expect([isArmed(world.owner, 8), isArmed(world.owner, 2)]).toEqual([false, true]);
    expect([world.load(world.owner, 8), world.load(world.owner, 9)]).toEqual([3, 0]);
    world.expectConsistent();
  });

  it('with EVENT_REMAP keeps it and tells where the memory went', () => {
    const world = registered(UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP);
    world.copy(0, 3);
    const remap = world.begin(world.owner, move(world.owner));
    expect(remap.ended).toBe(false);
    expect(readMessage(world)).toEqual({
      event: 'remap',
      from: addressOf(0),
      to: addressOf(8),
      length: bytesOf(2),
    });
    world.settle();
    // Then what is not mapped any more.
    expect(remap.ended).toBe(false);
    expect(readMessage(world)).toEqual({ event: 'unmap', start: addressOf(0), end: addressOf(2) });
    world.settle();
    expect(remap.result).toBe(addressOf(8));
    expect(isArmed(world.owner, 8)).toBe(true);
    const load = world.beginLoad(world.owner, 9);
    expect(world.event()).toBe('9 0');
    expect(world.copy(9, 4).error).toBe(0);
    world.settle();
    expect(load.result).toBe(4);
    world.expectConsistent();
  });
});

describe('the events of one mremap', () => {
  it('onto registered memory: its end is told first, then the move, then the end of the old place', () => {
    const world = new UffdWorld({}, UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP);
    const { owner } = world;
    world.map(owner, 0, 4, RW);
    world.map(owner, 8, 2, RW);
    world.register(0, 4, MISSING);
    world.register(8, 2, MISSING);
    const remap = world.begin(owner, move(owner));
    const told: (string | undefined)[] = [];
    while (!remap.ended) {
      const message = readMessage(world);
      told.push(message?.event === 'unmap' ? `unmap ${message.start === addressOf(8)}` : message?.event);
      world.settle();
    }
    expect(told).toEqual(['unmap true', 'remap', 'unmap false']);
    world.expectConsistent();
  });

  it('of locked memory that grows has the new part there before it is told of', () => {
    const world = new UffdWorld({}, UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP);
    const { owner } = world;
    world.map(owner, 0, 2, RW);
    world.register(0, 2, WP);
    expect(world.run(owner, sysMlock(owner, addressOf(0), bytesOf(2), 0))).toBe(0);
    const to = addressOf(8);
    const both = MREMAP_MAYMOVE | MREMAP_FIXED;
    const remap = world.begin(owner, sysMremap(owner, addressOf(0), bytesOf(2), bytesOf(4), both, to));
    expect([remap.ended, readMessage(world)?.event]).toEqual([false, 'remap']);
    expect([8, 9, 10, 11].map((page) => world.pte(owner, page).frame >= 0)).toEqual([true, true, true, true]);
    world.settle();
    expect(readMessage(world)?.event).toBe('unmap');
    world.settle();
    expect(remap.result).toBe(to);
    world.expectConsistent();
  });
});

describe('munmap with EVENT_UNMAP', () => {
  it('is through, mmap_lock released, when the reader hears of it', () => {
    const world = registered(UFFD_FEATURE_EVENT_UNMAP);
    const { owner } = world;
    const unmap = world.begin(owner, sysMunmap(owner, addressOf(1), bytesOf(2)));
    expect(unmap.ended).toBe(false);
    expect(mmOf(owner).mmapLock.isLocked()).toBe(false);
    expect(mmOf(owner).vmas.lookup(BASE_PAGE + 1)).toBeNull();
    expect(readMessage(world)).toEqual({ event: 'unmap', start: addressOf(1), end: addressOf(3) });
    world.settle();
    expect(unmap.result).toBe(0);
    world.expectConsistent();
  });

  it('a killed caller does not wait', () => {
    const world = registered(UFFD_FEATURE_EVENT_UNMAP);
    const { owner, uffd } = world;
    const unmap = world.begin(owner, sysMunmap(owner, addressOf(0), bytesOf(4)));
    owner.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    world.settle();
    expect(unmap.ended).toBe(true);
    expect([uffd.events.length, uffd.mmapChanging]).toEqual([0, 0]);
    expect(readMessage(world)).toBeUndefined();
    world.expectConsistent();
  });
});

describe('the end of the process', () => {
  it('leaves the descriptor usable: nothing is registered any more', () => {
    const world = registered(0);
    const { owner, manager, uffd } = world;
    world.copy(1, 1);
    world.run(owner, doExit(owner, 0));
    expect(uffd.mm.mmUsers).toBe(0);
    expect(world.copy(0, 1)).toEqual({ error: -3, done: null });
    expect(world.event()).toBe('-');
    world.run(manager, userfaultfdRelease(manager, uffd));
    expect(uffd.mm.mmCount).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a reference too few is a mistake of ours', () => {
    const world = registered(0);
    world.run(world.manager, userfaultfdRelease(world.manager, world.uffd));
    expect(() => world.run(world.manager, userfaultfdPut(world.uffd))).toThrow('put once too often');
  });
});

describe('messages as user space reads them', () => {
  it.each([
    [{ event: 'remap', from: 1n, to: 2n, length: 3n }, 0x14, [1n, 2n, 3n]],
    [{ event: 'remove', start: 4n, end: 5n }, 0x15, [4n, 5n, 0n]],
    [{ event: 'unmap', start: 4n, end: 5n }, 0x16, [4n, 5n, 0n]],
  ] as const)('%s', (message, event, words) => {
    const bytes = encodeMessage(message);
    const view = new DataView(bytes.buffer);
    expect(bytes.length).toBe(32);
    expect(bytes[0]).toBe(event);
    expect([8, 16, 24].map((at) => view.getBigUint64(at, true))).toEqual(words);
  });
});
