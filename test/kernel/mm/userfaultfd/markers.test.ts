/** Write protection where no page is mapped: markers in memory of a file, through everything that walks page tables. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { ENOMEM } from '../../../../src/kernel/errno.ts';
import { NO_FRAME } from '../../../../src/kernel/frame/buddy.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { pageRuns } from '../../../../src/kernel/mm/pagemap.ts';
import { UFFD_FEATURE_WP_UNPOPULATED } from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdUnregister } from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { bytesOf, RW, UffdWorld, WP } from './uffd-world.ts';

/** Pages 0…3 of shared memory, page 0 written; all protected. */
function shared(): UffdWorld {
  const world = new UffdWorld();
  world.map(world.owner, 0, 4, RW, MAP_SHARED);
  world.store(world.owner, 0, 1);
  world.register(0, 4, WP);
  expect(world.protect(0, 4)).toBe(0);
  return world;
}

/** As /proc/PID/pagemap shows pages 0…3: runs of `count×flags`. */
function pagemap(task: TaskStruct, first = 0): string {
  const runs = pageRuns(mmOf(task), BASE_PAGE + first, BASE_PAGE + first + 4);
  return runs.map(({ count, flags }) => `${count}×${flags}`).join(' ');
}

describe('absent pages of a file', () => {
  it('get markers', () => {
    expect(pagemap(shared().owner)).toBe('1×PFXW 3×SW');
  });

  it('beyond the last page table that can be had: ENOMEM, and what lies before is protected', () => {
    const world = new UffdWorld();
    const { owner, kernel } = world;
    world.map(owner, 0, 16, RW, MAP_SHARED);
    world.store(owner, 0, 1);
    world.register(0, 16, WP);
    const taken: number[] = [];
    for (let frame = kernel.frames.allocate(); frame !== NO_FRAME; frame = kernel.frames.allocate()) {
      taken.push(frame);
    }
    expect(world.protect(0, 16)).toBe(-ENOMEM);
    // Pages 8 and up have their ptes in the next table. Reclaim, tried first, has unmapped page 0.
    expect([pagemap(owner), pagemap(owner, 8)]).toEqual(['4×SW', '']);
    for (const frame of taken) kernel.frames.put(frame);
    expect(world.protect(0, 16)).toBe(0);
    expect(pagemap(owner, 8)).toBe('4×SW');
    world.expectConsistent();
  });

  it('a read maps the page protected; a write waits, also the first one', () => {
    const world = shared();
    const { owner } = world;
    expect(world.load(owner, 1)).toBe(0);
    expect(pagemap(owner)).toBe('2×PFXW 2×SW');
    // The write brings the page in first and then finds it protected.
    const before = owner.minFlt;
    const store = world.beginStore(owner, 2, 5);
    expect(store.ended).toBe(false);
    expect(owner.minFlt - before).toBe(1);
    expect(world.event()).toBe('2 3');
    expect(world.protect(0, 4, 0n)).toBe(0);
    world.settle();
    expect(store.result).toBeNull();
    expect(pagemap(owner)).toBe('3×PFX');
    expect(world.load(owner, 2)).toBe(5);
    world.expectConsistent();
  });

  it('COPY replaces a marker', () => {
    const world = shared();
    expect(world.copy(3, 8)).toEqual({ error: 0, done: 4096 });
    expect(pagemap(world.owner)).toBe('1×PFXW 2×SW 1×PFX');
    expect(world.copy(2, 8, 1, 2n)).toEqual({ error: 0, done: 4096 });
    expect(pagemap(world.owner)).toBe('1×PFXW 1×SW 1×PFXW 1×PFX');
    world.expectConsistent();
  });
});

describe('markers', () => {
  it('survive MADV_DONTNEED, which leaves one for a protected page', () => {
    const world = shared();
    const { owner } = world;
    world.run(owner, sysMadvise(owner, addressOf(0), bytesOf(4), MADV_DONTNEED));
    expect(pagemap(owner)).toBe('4×SW');
    expect(world.load(owner, 0)).toBe(1);
    expect(pagemap(owner)).toBe('1×PFXW 3×SW');
    world.expectConsistent();
  });

  it('survive mprotect', () => {
    const world = shared();
    const { owner } = world;
    for (const prot of [1, RW]) world.run(owner, sysMprotect(owner, addressOf(0), bytesOf(4), prot));
    expect(pagemap(owner)).toBe('1×PFXW 3×SW');
    world.expectConsistent();
  });

  it('go with munmap, and with unregistering', () => {
    const world = shared();
    const { owner, manager, uffd } = world;
    world.run(owner, sysMunmap(owner, addressOf(3), bytesOf(1)));
    expect(pagemap(owner)).toBe('1×PFXW 2×SW');
    world.run(manager, userfaultfdUnregister(manager, uffd, addressOf(0), bytesOf(3)));
    expect(pagemap(owner)).toBe('1×PFX');
    expect(world.store(owner, 0, 2)).toBeNull();
    world.expectConsistent();
  });

  it('are not inherited, nor moved', () => {
    const world = shared();
    const { owner } = world;
    const child = world.fork(owner);
    expect(pagemap(child)).toBe('');
    expect(world.store(child, 0, 3)).toBeNull();
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    world.run(owner, sysMremap(owner, addressOf(0), bytesOf(4), bytesOf(4), flags, addressOf(8)));
    expect(pagemap(owner, 8)).toBe('1×PFm2');
    expect(world.store(owner, 8, 4)).toBeNull();
    world.expectConsistent();
  });
});

describe('anonymous memory', () => {
  it('a protected private page is protected neither in the child nor after a move', () => {
    const world = new UffdWorld();
    const { owner } = world;
    world.map(owner, 0, 4, RW);
    world.store(owner, 0, 1);
    world.register(0, 4, WP);
    world.protect(0, 4);
    expect(pagemap(owner)).toBe('1×PXW');
    const child = world.fork(owner);
    expect([pagemap(owner), pagemap(child)]).toEqual(['1×PWm2', '1×Pm2']);
    expect(world.store(child, 0, 2)).toBeNull();
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    world.run(owner, sysMremap(owner, addressOf(0), bytesOf(4), bytesOf(4), flags, addressOf(8)));
    expect(pagemap(owner, 8)).toBe('1×PX');
    expect(world.store(owner, 8, 3)).toBeNull();
    world.expectConsistent();
  });

  it('MADV_DONTNEED leaves no marker', () => {
    const world = new UffdWorld();
    const { owner } = world;
    world.map(owner, 0, 4, RW);
    world.store(owner, 0, 1);
    world.register(0, 4, WP);
    world.protect(0, 4);
    world.run(owner, sysMadvise(owner, addressOf(0), bytesOf(4), MADV_DONTNEED));
    expect(pagemap(owner)).toBe('');
    world.expectConsistent();
  });

  it('with WP_UNPOPULATED absent pages have markers too', () => {
    const world = new UffdWorld({}, UFFD_FEATURE_WP_UNPOPULATED);
    const { owner } = world;
    world.map(owner, 0, 4, RW);
    world.register(0, 4, WP);
    world.protect(0, 2);
    expect(pagemap(owner)).toBe('2×SW');
    expect(world.load(owner, 0)).toBe(0);
    expect(pagemap(owner)).toBe('1×PWZ 1×SW');
    const store = world.beginStore(owner, 1, 5);
    expect(world.event()).toBe('1 3');
    world.protect(0, 2, 0n);
    world.settle();
    expect(store.result).toBeNull();
    expect(world.pte(owner, 1).flags & EntryFlag.UffdWp).toBe(0);
    world.run(owner, sysMunmap(owner, addressOf(0), bytesOf(4)));
    world.expectConsistent();
  });
});
