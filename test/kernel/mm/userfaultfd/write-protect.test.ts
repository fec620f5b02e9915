/** Faults on pages that are write-protected or poisoned for userfaultfd. */
import { describe, expect, it } from 'vitest';
import { EAGAIN, EFAULT } from '../../../../src/kernel/errno.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { userfaultfdPoison } from '../../../../src/kernel/mm/userfaultfd/poison.ts';
import { UFFD_FEATURE_WP_ASYNC } from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdWake } from '../../../../src/kernel/mm/userfaultfd/wake.ts';
import { BUS_ADRERR, BUS_MCEERR_AR, SIGBUS } from '../../../../src/kernel/signal.ts';
import { addressOf } from '../process-world.ts';
import { bytesOf, MISSING, processVm, RW, UffdWorld, WP } from './uffd-world.ts';

const PAGE = 4096n;

/** Pages 0 and 1 written by the owner; pages 0…3 protected. */
function protectedPages(features = 0): UffdWorld {
  const world = new UffdWorld({ kernel: { lockdep: true } }, features);
  world.map(world.owner, 0, 4, RW);
  world.store(world.owner, 0, 1);
  world.store(world.owner, 1, 2);
  world.register(0, 4, WP);
  expect(world.protect(0, 4)).toBe(0);
  return world;
}

describe('write protection', () => {
  it('lets reads through and holds writes up until the protection is taken off', () => {
    const world = protectedPages();
    const { owner } = world;
    expect(world.load(owner, 0)).toBe(1);
    const store = world.beginStore(owner, 0, 7);
    expect(world.event()).toBe('0 3');
    expect(world.protect(0, 1, 0n)).toBe(0);
    world.settle();
    expect(store.result).toBeNull();
    expect([0, 1].map((page) => world.load(owner, page))).toEqual([7, 2]);
    expect([0, 1].map((page) => world.page(owner, page))).toEqual(['Xwd', 'Xd']);
    world.expectConsistent();
  });

  it('an unprotecting call may leave the waiters asleep', () => {
    const world = protectedPages();
    const { owner, manager, uffd } = world;
    const store = world.beginStore(owner, 0, 7);
    expect(world.protect(0, 1, 2n)).toBe(0);
    world.settle();
    expect(store.ended).toBe(false);
    world.run(manager, userfaultfdWake(manager, uffd, addressOf(0), PAGE));
    world.settle();
    expect(store.result).toBeNull();
  });

  it('holds remote writes up, not remote reads', () => {
    const world = protectedPages();
    const reader = world.process('reader');
    expect(world.run(reader, processVm(world, reader, 0, 8).call)).toBe(8);
    const write = world.begin(reader, processVm(world, reader, 0, 8, true).call);
    expect(world.event()).toBe('0 3');
    world.protect(0, 4, 0n);
    world.settle();
    expect(write.result).toBe(8);
    expect(world.load(world.owner, 0)).toBe(0x5a);
    world.expectConsistent();
  });
});

describe('write protection and what else happens to the page', () => {
  it('survives mprotect to read-only and back, which alone does not make the page writable', () => {
    const world = protectedPages();
    const { owner } = world;
    for (const prot of [1, RW]) world.run(owner, sysMprotect(owner, addressOf(0), bytesOf(4), prot));
    const store = world.beginStore(owner, 0, 7);
    expect(world.event()).toBe('0 3');
    world.protect(0, 4, 0n);
    world.settle();
    expect(store.ended).toBe(true);
    world.expectConsistent();
  });

  it('of an absent anonymous page is nothing', () => {
    const world = protectedPages();
    expect(world.pte(world.owner, 2).flags).toBe(0);
    expect(world.store(world.owner, 2, 1)).toBeNull();
    world.expectConsistent();
  });

  it('with WP_ASYNC asks nobody: the first write shows in the page table', () => {
    const world = protectedPages(UFFD_FEATURE_WP_ASYNC);
    const { owner } = world;
    expect(world.page(owner, 0)).toBe('Xd');
    expect(world.store(owner, 0, 9)).toBeNull();
    expect([0, 1].map((page) => world.page(owner, page))).toEqual(['Xwd', 'Xd']);
    // Absent pages are protected too; a read keeps it, a write takes it off.
    expect(world.store(owner, 2, 4)).toBeNull();
    expect(world.event()).toBe('-');
    expect(world.load(owner, 2)).toBe(4);
    world.expectConsistent();
  });
});

describe('UFFDIO_POISON', () => {
  it.each([
    ['knows broken memory', true, { signal: SIGBUS, code: BUS_MCEERR_AR, addressLsb: 12 }],
    ['does not', false, { signal: SIGBUS, code: BUS_ADRERR }],
  ])('ends accesses in SIGBUS; the kernel %s', (_name, memoryFailure, expected) => {
    const world = new UffdWorld({ kernel: { memoryFailure } });
    const { owner, manager, uffd } = world;
    world.map(owner, 0, 2, RW);
    world.register(0, 2, MISSING);
    const load = world.beginLoad(owner, 0);
    world.run(manager, userfaultfdPoison(manager, uffd, addressOf(0), PAGE, 0n));
    world.settle();
    expect(load.result).toEqual({ ...expected, address: addressOf(0) });
    const reader = world.process('reader');
    expect(world.run(reader, processVm(world, reader, 0, 8).call)).toBe(-EFAULT);
    // A child inherits it, a copy takes its place.
    const child = world.fork(owner);
    expect(world.load(child, 0)).toMatchObject({ signal: SIGBUS });
    expect(world.copy(0, 5)).toEqual({ error: 0, done: 4096 });
    expect(world.load(owner, 0)).toBe(5);
    world.expectConsistent();
  });

  it('answers -EAGAIN with the pages done when it is stopped halfway', () => {
    const world = new UffdWorld();
    const { owner, manager, uffd } = world;
    world.map(owner, 0, 2, RW);
    world.register(0, 2, MISSING);
    world.copy(1, 1);
    const call = userfaultfdPoison(manager, uffd, addressOf(0), bytesOf(2), 0n);
    expect(world.run(manager, call)).toEqual({ error: -EAGAIN, done: 4096 });
  });
});
