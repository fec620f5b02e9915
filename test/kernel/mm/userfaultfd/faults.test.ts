/** Which accesses wait for user space, which end at once, and how a wait ends. */
import { describe, expect, it } from 'vitest';
import { EFAULT, EIO } from '../../../../src/kernel/errno.ts';
import { gupPopulate } from '../../../../src/kernel/gup/populate.ts';
import { MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { copyFromUser, copyToUser } from '../../../../src/kernel/mm/user-access.ts';
import { userfaultfdContinue } from '../../../../src/kernel/mm/userfaultfd/continue.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import { userfaultfdRead } from '../../../../src/kernel/mm/userfaultfd/read.ts';
import {
  O_NONBLOCK,
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_THREAD_ID,
  UFFD_USER_MODE_ONLY,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import {
  userfaultfdRelease,
  userfaultfdUnregister,
} from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { userfaultfdWake } from '../../../../src/kernel/mm/userfaultfd/wake.ts';
import { userfaultfdZeropage } from '../../../../src/kernel/mm/userfaultfd/zeropage.ts';
import { openProcMem, readProcMem, writeProcMem } from '../../../../src/kernel/remote/proc-pid-mem.ts';
import { BUS_ADRERR, SIGBUS, SIGKILL, SIGTRAP } from '../../../../src/kernel/signal.ts';
import { addressOf } from '../process-world.ts';
import { bytesOf, MINOR, MISSING, pagesOf, processVm, RW, UffdWorld } from './uffd-world.ts';

const PAGE = 4096n;

/** Fault under the VMA's own lock first, and under mmap_lock only. */
const LOCKS = [
  ['the VMA lock', true],
  ['mmap_lock', false],
] as const;

function missing(features = 0, flags = O_NONBLOCK, perVmaLocks = true): UffdWorld {
  const world = new UffdWorld({ kernel: { perVmaLocks, lockdep: true } }, features, flags);
  world.map(world.owner, 0, 6, RW);
  world.register(0, 6, MISSING);
  return world;
}

describe.each(LOCKS)('a missing page, faulted under %s', (_name, perVmaLocks) => {
  it.each([
    ['load', 0],
    ['store', 1],
  ] as const)('holds a %s up until it is filled in; one minor fault is counted', (kind, flags) => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner } = world;
    const before = owner.minFlt + owner.majFlt;
    const begun = kind === 'load' ? world.beginLoad(owner, 2) : world.beginStore(owner, 2, 9);
    expect(begun.ended).toBe(false);
    expect(owner.mm?.mmapLock.isLocked()).toBe(false);
    expect(world.event()).toBe(`2 ${flags}`);
    expect(world.event()).toBe('-');
    expect(world.copy(2, 4)).toEqual({ error: 0, done: 4096 });
    world.settle();
    expect(begun.result).toBe(kind === 'load' ? 4 : null);
    expect(world.load(owner, 2)).toBe(kind === 'load' ? 4 : 9);
    expect(owner.minFlt + owner.majFlt - before).toBe(1);
    // A retry under mmap_lock after one under the VMA lock is a first try; after mmap_lock it is not.
    expect(owner.majFlt).toBe(perVmaLocks ? 0 : 1);
    expect(world.page(owner, 2)).toBe('Xwd');
    world.expectConsistent();
  });

  it('a store to a page that ZEROPAGE filled in gets one of its own', () => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner, manager, uffd } = world;
    const store = world.beginStore(owner, 1, 8);
    world.run(manager, userfaultfdZeropage(manager, uffd, addressOf(1), PAGE, 0n));
    world.settle();
    expect(store.result).toBeNull();
    expect(world.page(owner, 1)).toBe('Xwd');
    world.expectConsistent();
  });

  it('that was filled in without a wake waits until it is woken', () => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner, manager, uffd } = world;
    const load = world.beginLoad(owner, 2);
    expect(world.copy(2, 4, 1, 1n).error).toBe(0);
    world.settle();
    expect(load.ended).toBe(false);
    world.run(manager, userfaultfdWake(manager, uffd, addressOf(3), PAGE));
    world.settle();
    expect(load.ended).toBe(false);
    world.run(manager, userfaultfdWake(manager, uffd, addressOf(1), bytesOf(2)));
    world.settle();
    expect(load.result).toBe(4);
    world.expectConsistent();
  });
});

describe.each(LOCKS)('a wait under %s', (_name, perVmaLocks) => {
  it('of a page that is woken without being filled in begins again', () => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner, manager, uffd } = world;
    const load = world.beginLoad(owner, 2);
    expect(world.event()).toBe('2 0');
    world.run(manager, userfaultfdWake(manager, uffd, addressOf(2), PAGE));
    world.settle();
    expect(load.ended).toBe(false);
    expect(world.event()).toBe('2 0');
    world.copy(2, 6);
    world.settle();
    expect(load.result).toBe(6);
    world.expectConsistent();
  });

  it.each([
    ['unregistering', (w: UffdWorld) => userfaultfdUnregister(w.manager, w.uffd, addressOf(0), bytesOf(6))],
    ['closing the descriptor', (w: UffdWorld) => userfaultfdRelease(w.manager, w.uffd)],
  ])('%s lets those who wait go on with ordinary memory', (_what, call) => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner } = world;
    const second = world.thread(owner, 'second', 0);
    const begun = [world.beginLoad(owner, 1), world.beginStore(second, 2, 3)];
    // One of the two has been read.
    expect(world.event()).toBe('1 0');
    world.run<unknown>(world.manager, call(world));
    world.settle();
    expect(begun.map(({ result }) => result)).toEqual([0, null]);
    expect([1, 2].map((page) => world.page(owner, page))).toEqual(['Z', 'Xwd']);
    world.expectConsistent();
  });

  it('a killed waiter leaves the queue and its access ends', () => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner } = world;
    const load = world.beginLoad(owner, 1);
    owner.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    world.settle();
    expect(load.result).toMatchObject({ signal: SIGKILL });
    expect(world.event()).toBe('-');
    expect(world.uffd.pending.length + world.uffd.faults.length).toBe(0);
    world.expectConsistent();
  });

  it('whose mapping goes away while it waits ends in a fault once it is woken', () => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner, manager, uffd } = world;
    const other = world.thread(owner, 'other', 0);
    const load = world.beginLoad(owner, 1);
    expect(world.run(other, sysMunmap(other, addressOf(0), bytesOf(6)))).toBe(0);
    world.settle();
    expect(load.ended).toBe(false);
    world.run(manager, userfaultfdWake(manager, uffd, addressOf(1), PAGE));
    world.settle();
    expect(load.result).toMatchObject({ signal: 11, code: 1 });
    world.expectConsistent();
  });
});

describe.each(LOCKS)('a signal during a wait under %s', (_name, perVmaLocks) => {
  it('is delivered instead of the access, which can be made again', () => {
    const world = missing(0, O_NONBLOCK, perVmaLocks);
    const { owner } = world;
    const load = world.beginLoad(owner, 1);
    owner.sendSignal({ signal: SIGTRAP, code: 0, address: 0n });
    world.settle();
    expect([load.result, owner.signalPending()]).toEqual([{ signal: SIGTRAP, code: 0, address: 0n }, false]);
    expect(world.uffd.pending.length + world.uffd.faults.length).toBe(0);
    const again = world.beginLoad(owner, 1);
    expect([again.ended, world.event()]).toEqual([false, '1 0']);
    world.copy(1, 7);
    world.settle();
    expect(again.result).toBe(7);
    world.expectConsistent();
  });
});

describe('what the event says', () => {
  it.each([
    ['the page', 0, 0n, 0],
    ['the address, with EXACT_ADDRESS', UFFD_FEATURE_EXACT_ADDRESS, 0x123n, 0],
    ['the thread, with THREAD_ID', UFFD_FEATURE_THREAD_ID, 0n, 1],
  ])('%s', (_name, features, offset, thread) => {
    const world = missing(features);
    const { owner, manager, uffd } = world;
    world.beginLoad(owner, 3, 0x123);
    const { messages } = world.run(manager, userfaultfdRead(manager, uffd, 32));
    expect(messages).toEqual([
      { event: 'pagefault', flags: 0, address: addressOf(3) + offset, threadId: thread * owner.pid },
    ]);
    // Whatever it says, a wake of the page finds it.
    world.copy(3, 1);
    world.settle();
    world.expectConsistent();
  });
});

describe('accesses by others', () => {
  it('process_vm_readv and writev wait, without the lock of the target, and count no fault for it', () => {
    const world = missing();
    const { manager, owner } = world;
    const reader = world.process('reader');
    const { buffer, call } = processVm(world, reader, 1, 8);
    const read = world.begin(reader, call);
    expect(read.ended).toBe(false);
    expect(owner.mm?.mmapLock.isLocked()).toBe(false);
    expect(world.event()).toBe('1 0');
    world.copy(1, 6);
    world.settle();
    expect(read.result).toBe(8);
    expect(buffer).toEqual(new Uint8Array(8).fill(6));
    expect(reader.minFlt).toBe(0);
    const write = world.begin(reader, processVm(world, reader, 2, 8, true).call);
    expect(world.event()).toBe('2 1');
    world.run(manager, userfaultfdZeropage(manager, world.uffd, addressOf(2), PAGE, 0n));
    world.settle();
    expect(write.result).toBe(8);
    expect(world.load(owner, 2)).toBe(0x5a);
    world.expectConsistent();
  });

  it('a killed reader gives back what it had pinned', () => {
    const world = missing();
    const reader = world.process('reader');
    world.copy(0, 1);
    const read = world.begin(reader, processVm(world, reader, 0, 8192).call);
    expect(read.ended).toBe(false);
    reader.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    world.settle();
    // The page that was pinned before is copied: the count so far.
    expect(read.result).toBe(4096);
    world.expectConsistent();
  });
});

describe("accesses of the kernel's own", () => {
  it('/proc/PID/mem does not wait, and nobody is told', () => {
    const world = missing();
    const { manager, owner } = world;
    world.copy(0, 1);
    const file = world.run(manager, openProcMem(manager, owner.pid));
    if (typeof file === 'number') throw new Error('not opened');
    const buffer = new Uint8Array(8192);
    expect(world.run(manager, readProcMem(manager, file, addressOf(1), buffer, 8n))).toBe(-EIO);
    expect(world.run(manager, writeProcMem(manager, file, addressOf(1), buffer, 8n))).toBe(-EIO);
    expect(world.run(manager, readProcMem(manager, file, addressOf(0), buffer, 8192n))).toBe(4096);
    expect(world.event()).toBe('-');
    world.expectConsistent();
  });

  it('populating waits too', () => {
    const world = missing();
    const { owner } = world;
    const populate = world.begin(owner, gupPopulate.mmPopulate(owner, Number(addressOf(0) >> 12n), 2));
    expect(world.event()).toBe('0 1');
    world.copy(0, 1);
    world.settle();
    expect(populate.ended).toBe(false);
    expect(world.event()).toBe('1 1');
    world.copy(1, 1);
    world.settle();
    expect(populate.ended).toBe(true);
    world.expectConsistent();
  });

  it('copies of system calls wait', () => {
    const world = missing();
    const { owner } = world;
    const target = new Uint8Array(4);
    const copy = world.begin(owner, copyFromUser(owner, target, addressOf(0, 4094)));
    expect(world.event()).toBe('0 0');
    world.copy(0, 1, 2);
    world.settle();
    expect(copy.result).toBe(0);
    expect(target).toEqual(new Uint8Array(4).fill(1));
    world.expectConsistent();
  });
});

describe("a signal during a wait of the kernel's own", () => {
  it('is not taken: the fault begins anew until the page is there', () => {
    const world = missing();
    const { owner, manager } = world;
    const bytes = new Uint8Array(1);
    const { loop } = world.system;
    loop.start(owner, copyFromUser(owner, bytes, addressOf(1)));
    loop.run();
    owner.sendSignal({ signal: SIGTRAP, code: 0, address: 0n });
    // As in Linux: it sleeps no more, and does not end.
    expect(loop.run({ maxSteps: 3000 }).kind).toBe('step-limit');
    const source = pagesOf(9);
    loop.start(manager, userfaultfdCopy(manager, world.uffd, addressOf(1), source, bytesOf(1), 0n));
    expect(loop.run().kind).toBe('finished');
    expect([owner.result, bytes[0], owner.signalPending()]).toEqual([0, 9, true]);
    world.expectConsistent();
  });
});

describe('UFFD_USER_MODE_ONLY', () => {
  it('the kernel fails at once, the program waits', () => {
    const world = missing(0, O_NONBLOCK | UFFD_USER_MODE_ONLY);
    const { owner } = world;
    const reader = world.process('reader');
    world.copy(0, 1);
    expect(world.run(reader, processVm(world, reader, 1, 8).call)).toBe(-EFAULT);
    expect(world.run(reader, processVm(world, reader, 0, 8192).call)).toBe(4096);
    expect(world.run(owner, copyToUser(owner, addressOf(0, 4092), new Uint8Array(8)))).toBe(4);
    expect(world.event()).toBe('-');
    const load = world.beginLoad(owner, 1);
    expect(load.ended).toBe(false);
    world.copy(1, 2);
    world.settle();
    expect(load.result).toBe(2);
    world.expectConsistent();
  });
});

describe('UFFD_FEATURE_SIGBUS', () => {
  it.each([
    ['load', (w: UffdWorld) => w.load(w.owner, 1)],
    ['store', (w: UffdWorld) => w.store(w.owner, 1, 1)],
  ])('a %s gets SIGBUS, others an error; nobody waits', (_name, access) => {
    const world = missing(UFFD_FEATURE_SIGBUS);
    const reader = world.process('reader');
    expect(access(world)).toEqual({ signal: SIGBUS, code: BUS_ADRERR, address: addressOf(1) });
    expect(world.owner.minFlt).toBe(0);
    expect(world.run(reader, processVm(world, reader, 1, 8).call)).toBe(-EFAULT);
    expect(world.event()).toBe('-');
    world.expectConsistent();
  });
});

describe('shared memory', () => {
  it('is missing where the object has no page', () => {
    const world = new UffdWorld();
    const { owner } = world;
    world.map(owner, 0, 4, RW, MAP_SHARED);
    const child = world.fork(owner);
    world.store(child, 0, 3);
    world.register(0, 4, MISSING);
    expect(world.load(owner, 0)).toBe(3);
    const load = world.beginLoad(owner, 1);
    expect(world.event()).toBe('1 0');
    // The child, which is not registered, fills the hole itself; the waiter has to be woken.
    world.store(child, 1, 4);
    world.settle();
    expect(load.ended).toBe(false);
    world.run(world.manager, userfaultfdWake(world.manager, world.uffd, addressOf(1), PAGE));
    world.settle();
    expect(load.result).toBe(4);
    world.expectConsistent();
  });

  it('registered for minor faults reports pages that the object has, until CONTINUE', () => {
    const world = new UffdWorld();
    const { owner, manager, uffd } = world;
    world.map(owner, 0, 4, RW, MAP_SHARED);
    const child = world.fork(owner);
    world.store(child, 0, 3);
    world.register(0, 4, MINOR);
    const store = world.beginStore(owner, 0, 5);
    expect(world.event()).toBe('0 5');
    world.run(manager, userfaultfdContinue(manager, uffd, addressOf(0), PAGE, 0n));
    world.settle();
    expect(store.result).toBeNull();
    expect(world.load(child, 0)).toBe(5);
    // A hole is filled as ever.
    expect(world.load(owner, 1)).toBe(0);
    world.expectConsistent();
  });
});
