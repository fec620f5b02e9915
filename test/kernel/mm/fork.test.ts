/** fork and copy on write, as the recorded kernel does it. are the rules of the kernel traces. */
import { describe, expect, it } from 'vitest';
import { EINTR } from '../../../src/kernel/errno.ts';
import { MM_ANONPAGES, MMF_HAS_PINNED } from '../../../src/kernel/mm/mm.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { VM_DONTCOPY, VM_LOCKED, VM_WIPEONFORK } from '../../../src/kernel/mm/vma-flags.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import { pokeVma } from './poke-vma.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function family(flags = MAP_PRIVATE) {
  const world = new ProcessWorld();
  const parent = world.process('parent');
  world.map(parent, 0, 4, RW, flags);
  return { world, parent };
}

describe('private pages after a fork', () => {
  it('are shared read-only and exclusive to nobody', () => {
    const { world, parent } = family();
    world.store(parent, 0, 1);
    const child = world.fork(parent);
    expect([world.page(parent, 0), world.page(child, 0)]).toEqual(['Ad2', 'Ad2']);
    expect([mmOf(child).rss[MM_ANONPAGES], world.load(child, 0), child.minFlt]).toEqual([1, 1, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each(['parent', 'child'])('the first write, of the %s, copies; the other reuses', (writer) => {
    const { world, parent } = family();
    world.store(parent, 0, 1);
    const child = world.fork(parent);
    const [first, second] = writer === 'parent' ? [parent, child] : [child, parent];
    const before = [first.minFlt, second.minFlt];
    const { frame } = world.pte(second, 0);
    world.store(first, 0, 2);
    expect([world.page(first, 0), world.page(second, 0), world.load(second, 0)]).toEqual(['Xwd', 'Ad', 1]);
    world.store(second, 0, 3);
    expect([world.page(second, 0), world.pte(second, 0).frame]).toEqual(['Xwd', frame]);
    expect([first.minFlt - (before[0] ?? 0), second.minFlt - (before[1] ?? 0)]).toEqual([1, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('after the child has gone, the parent still faults once and keeps its page', () => {
    const { world, parent } = family();
    world.store(parent, 0, 1);
    const { frame } = world.pte(parent, 0);
    const child = world.fork(parent);
    world.run(child, doExit(child, 0));
    expect(world.page(parent, 0)).toBe('Ad');
    const before = parent.minFlt;
    world.store(parent, 0, 2);
    expect([world.page(parent, 0), world.pte(parent, 0).frame, parent.minFlt - before]).toEqual([
      'Xwd',
      frame,
      1,
    ]);
  });

  it('are not copied where nothing was ever written: not even the zero page', () => {
    const { world, parent } = family();
    world.load(parent, 0);
    const child = world.fork(parent);
    expect([world.page(child, 0), mmOf(child).pgtablesBytes]).toEqual(['-', 0]);
    // With one written page in the VMA, the zero page beside it is copied.
    world.store(parent, 1, 1);
    const second = world.fork(parent, 'second');
    expect([world.page(second, 0), world.page(second, 1)]).toEqual(['Z', 'Ad2']);
  });

  it('an unreadable page is copied as it is', () => {
    const { world, parent } = family();
    world.store(parent, 0, 9);
    world.run(parent, sysMprotect(parent, addressOf(0), 0x4000n, PROT_NONE));
    const child = world.fork(parent);
    world.run(child, sysMprotect(child, addressOf(0), 0x4000n, PROT_READ));
    expect(world.load(child, 0)).toBe(9);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('what else fork copies', () => {
  it('shared memory stays shared, and the child faults its pages in again', () => {
    const { world, parent } = family(MAP_SHARED);
    world.store(parent, 0, 1);
    const child = world.fork(parent);
    expect(world.page(child, 0)).toBe('-');
    expect([world.load(child, 0), child.minFlt]).toEqual([1, 1]);
    world.store(child, 0, 7);
    expect(world.load(parent, 0)).toBe(7);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('no DONTFORK mapping; a WIPEONFORK one empty and with its flag; no lock', () => {
    const world = new ProcessWorld();
    const parent = world.process('parent');
    // Apart from each other, so that they do not merge.
    for (const page of [0, 4, 8]) world.map(parent, page, 2, RW);
    const [plain, wiped, left] = [...mmOf(parent).vmas];
    if (!plain || !wiped || !left) throw new Error('three mappings');
    mmOf(parent).lockedVm = plain.pages;
    const flagged = [
      [plain, VM_LOCKED] as const,
      [wiped, VM_WIPEONFORK] as const,
      [left, VM_DONTCOPY] as const,
    ];
    for (const [of, flag] of flagged) {
      pokeVma(of, (vma) => {
        vma.flags |= flag;
      });
    }
    for (const page of [0, 4, 8]) world.store(parent, page, 1);
    const child = world.fork(parent);
    const [first, second, third] = [...mmOf(child).vmas];
    expect(
      [first?.flags ?? 0, second?.flags ?? 0].map((flags) => flags & (VM_LOCKED | VM_WIPEONFORK)),
    ).toEqual([0, VM_WIPEONFORK]);
    expect([third, mmOf(child).totalVm, mmOf(child).mapCount]).toEqual([undefined, 4, 2]);
    expect([world.load(child, 0), world.load(child, 4), second?.anonVma]).toEqual([1, 0, null]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a page that may be pinned is copied at once and stays with the parent', () => {
    const { world, parent } = family();
    world.store(parent, 0, 5);
    const { frames } = world.kernel;
    const { frame } = world.pte(parent, 0);
    mmOf(parent).flagBits |= MMF_HAS_PINNED;
    frames.tryPin(frame);
    const child = world.fork(parent);
    expect([world.page(parent, 0), world.page(child, 0), world.load(child, 0)]).toEqual(['Xwd', 'Xwd', 5]);
    expect(world.pte(parent, 0).frame).toBe(frame);
    frames.unpin(frame);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('more pages than one round under the locks takes, over two pte tables', () => {
    const world = new ProcessWorld();
    const parent = world.process('parent');
    world.map(parent, 0, 40, RW);
    for (let page = 0; page < 40; page++) world.store(parent, page, page);
    const child = world.fork(parent);
    expect(Array.from({ length: 40 }, (_, page) => world.load(child, page))).toEqual([...Array(40).keys()]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a fork that fails', () => {
  it('for want of memory leaves the parent as it was, all frames given back', () => {
    const world = new ProcessWorld({ memoryBytes: 0x40_0000 });
    const parent = world.process('parent');
    world.map(parent, 0, 4, RW);
    for (const page of [0, 1, 2, 3]) world.store(parent, page, page + 1);
    const { frames } = world.kernel;
    // Two frames: one for the child's root, one for its next table.
    const taken: number[] = [];
    while (frames.freeFrames > 2) taken.push(frames.allocate());
    expect(world.run(parent, sysFork(parent, 'child'))).toBe(-12);
    expect(frames.freeFrames).toBe(2);
    for (const frame of taken) frames.put(frame);
    expect([0, 1, 2, 3].map((page) => world.load(parent, page))).toEqual([1, 2, 3, 4]);
    expect(world.store(parent, 0, 9)).toBeNull();
    expect(world.inconsistencies()).toEqual([]);
  });

  it('killed while another holds mmap_lock: -EINTR', () => {
    const world = new ProcessWorld({ cpus: 2 });
    const parent = world.process('parent', 0);
    const holder = world.thread(parent, 'holder', 1);
    const { mmapLock } = mmOf(parent);
    world.run(holder, mmapLock.downRead(holder));
    const { loop } = world.system;
    loop.start(parent, sysFork(parent, 'child'));
    expect(loop.run().kind).toBe('deadlock');
    parent.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    loop.run();
    expect(parent.result).toBe(-EINTR);
    world.run(holder, mmapLock.upRead(holder));
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a fork', () => {
  it('killed while it copies stops at the next VMA: -EINTR, and what was copied goes again', () => {
    const world = new ProcessWorld();
    const parent = world.process('parent');
    for (const page of [0, 4, 8]) {
      // Every other VMA between them keeps them from being merged.
      world.map(parent, page, 2, RW);
      world.map(parent, page + 2, 2, PROT_READ);
      world.store(parent, page, 1);
    }
    const copied = () => world.kernel.frames.mapcount(world.pte(parent, 0).frame) === 2;
    const { loop } = world.system;
    loop.start(parent, sysFork(parent, 'child'));
    loop.run({ afterStep: () => !copied() });
    expect([copied(), world.pte(parent, 8).frame]).toEqual([true, expect.any(Number)]);
    parent.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    const mapcounts: number[] = [];
    loop.run({
      afterStep: () => mapcounts.push(world.kernel.frames.mapcount(world.pte(parent, 8).frame)) > 0,
    });
    expect([parent.result, Math.max(...mapcounts)]).toEqual([-EINTR, 1]);
    expect([0, 4, 8].map((page) => world.page(parent, page))).toEqual(['Ad', 'Xwd', 'Xwd']);
    expect(world.inconsistencies()).toEqual([]);
  });
});
