/** Page faults of one process, as the recorded kernel handles them. are the rules of the kernel traces. */
import { describe, expect, it } from 'vitest';
import {
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV } from '../../../src/kernel/signal.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { architectureName } from '../../support/architecture.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function processWith(prot: number, flags = MAP_PRIVATE, pages = 4) {
  const world = new ProcessWorld();
  const task = world.process();
  world.map(task, 0, pages, prot, flags);
  return { world, task };
}

describe('the first touch of private anonymous memory', () => {
  it('a read maps the zero page, which is not resident', () => {
    const { world, task } = processWith(RW);
    expect(world.load(task, 0)).toBe(0);
    expect([world.page(task, 0), task.minFlt, mmOf(task).residentPages]).toEqual(['Z', 1, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a write maps a page of its own, exclusive, writable and dirty', () => {
    const { world, task } = processWith(RW);
    expect(world.store(task, 0, 7)).toBeNull();
    expect([world.page(task, 0), task.minFlt, mmOf(task).residentPages]).toEqual(['Xwd', 1, 1]);
    expect([world.load(task, 0), world.load(task, 0, 4095), task.minFlt]).toEqual([7, 0, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a write after a read replaces the zero page and counts a second fault', () => {
    const { world, task } = processWith(RW);
    world.load(task, 0);
    expect(world.store(task, 0, 7)).toBeNull();
    expect([world.page(task, 0), world.load(task, 0), task.minFlt]).toEqual(['Xwd', 7, 2]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('gives the VMA its anon_vma with the first write, not with a read', () => {
    const { world, task } = processWith(RW);
    const vma = mmOf(task).vmas.first();
    world.load(task, 0);
    expect(vma?.anonVma).toBeNull();
    world.store(task, 0, 1);
    expect(vma?.anonVma).not.toBeNull();
  });
});

describe('accesses that end in a signal', () => {
  const segv = (code: number, page: number, offset = 0) => ({
    signal: SIGSEGV,
    code,
    address: addressOf(page, offset),
  });

  it.each([
    ['nothing mapped, read', RW, 8, 'load', SEGV_MAPERR],
    ['nothing mapped, write', RW, 8, 'store', SEGV_MAPERR],
    ['PROT_NONE, read', PROT_NONE, 0, 'load', SEGV_ACCERR],
    ['PROT_NONE, write', PROT_NONE, 0, 'store', SEGV_ACCERR],
    ['read-only, write', PROT_READ, 0, 'store', SEGV_ACCERR],
    ['exec-only, write', PROT_EXEC, 0, 'store', SEGV_ACCERR],
  ] as const)('%s', (_name, prot, page, access, code) => {
    const { world, task } = processWith(prot);
    const result = access === 'load' ? world.load(task, page, 5) : world.store(task, page, 1, 5);
    expect(result).toEqual(segv(code, page, 5));
    expect([task.minFlt, world.page(task, page)]).toEqual([0, '-']);
  });

  it('write-only memory can be read', () => {
    const { world, task } = processWith(PROT_WRITE);
    expect(world.load(task, 0)).toBe(0);
  });

  it('exec-only memory can be read on x86-64, not on arm64 with EPAN', () => {
    const { world, task } = processWith(PROT_EXEC);
    expect(world.load(task, 0)).toEqual({ x86_64: 0, arm64: segv(SEGV_ACCERR, 0) }[architectureName]);
    expect(world.fetch(task, 0)).toBe(null);
    expect(world.load(task, 0)).toEqual({ x86_64: 0, arm64: segv(SEGV_ACCERR, 0) }[architectureName]);
  });

  it('a fetch from untouched memory that is not executable fails; x86-64 faults it in first', () => {
    const { world, task } = processWith(RW);
    expect(world.fetch(task, 1)).toEqual(segv(SEGV_ACCERR, 1));
    const expected = { x86_64: ['Z', 1], arm64: ['-', 0] }[architectureName];
    expect([world.page(task, 1), task.minFlt]).toEqual(expected);
  });

  it('shared memory beyond the end of its object: SIGBUS, not counted', () => {
    const { world, task } = processWith(RW, MAP_SHARED, 2);
    const vma = mmOf(task).vmas.first();
    if (vma?.file == null) throw new Error('no object');
    vma.file.mapping.sizeBytes = 4096;
    expect(world.load(task, 1)).toEqual({ signal: SIGBUS, code: BUS_ADRERR, address: addressOf(1) });
    expect(task.minFlt).toBe(0);
    expect(world.load(task, 0)).toBe(0);
  });
});

describe('an access over the end of a page', () => {
  const word = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

  it('faults at the first byte of the second page, and stores nothing', () => {
    const { world, task } = processWith(RW, MAP_PRIVATE, 1);
    const signal = world.run(task, userStore(task, addressOf(0, 4092), word));
    expect(signal).toEqual({ signal: SIGSEGV, code: SEGV_MAPERR, address: addressOf(1) });
    expect([world.load(task, 0, 4092), world.load(task, 0, 4095)]).toEqual([0, 0]);
  });

  it('faults at its own address when the first page is the bad one', () => {
    const { world, task } = processWith(RW, MAP_PRIVATE, 1);
    const signal = world.run(task, userLoad(task, addressOf(-1, 4092), new Uint8Array(8)));
    expect(signal?.address).toBe(addressOf(-1, 4092));
  });

  it('faults both pages in, each counted, and goes through', () => {
    const { world, task } = processWith(RW);
    expect(world.run(task, userStore(task, addressOf(0, 4092), word))).toBeNull();
    expect([world.load(task, 0, 4095), world.load(task, 1, 0), task.minFlt]).toEqual([4, 5, 2]);
  });
});

describe('shared anonymous memory', () => {
  it('a read fault allocates the page and maps it writable, so that a write costs no second fault', () => {
    const { world, task } = processWith(RW, MAP_SHARED);
    expect(world.load(task, 0)).toBe(0);
    expect(world.page(task, 0)).toBe('Fw');
    expect(world.store(task, 0, 9)).toBeNull();
    expect([world.page(task, 0), task.minFlt]).toEqual(['Fwd', 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a read fault maps the cached neighbours of a 64 KiB window', () => {
    const { world, task } = processWith(RW, MAP_SHARED, 8);
    const other = world.fork(task, 'other');
    for (const page of [0, 1, 3]) world.store(task, page, page);
    expect(world.load(other, 1)).toBe(1);
    const seen = [0, 1, 2, 3].map((page) => world.page(other, page) !== '-');
    expect([seen, other.minFlt]).toEqual([[true, true, false, true], 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a write fault maps one page only', () => {
    const { world, task } = processWith(RW, MAP_SHARED, 4);
    const other = world.fork(task, 'other');
    for (const page of [0, 1]) world.store(task, page, page);
    world.store(other, 1, 5);
    expect([world.page(other, 0), world.page(other, 1)]).toEqual(['-', 'Fwd2']);
    expect(world.load(task, 1)).toBe(5);
  });
});

describe('mprotect and munmap on touched pages', () => {
  it('read-only and back: an exclusive page is writable at once, no fault', () => {
    const { world, task } = processWith(RW);
    world.store(task, 0, 1);
    world.load(task, 1);
    const protect = (prot: number) => world.run(task, sysMprotect(task, addressOf(0), 0x4000n, prot));
    expect(protect(PROT_READ)).toBe(0);
    expect([world.page(task, 0), world.page(task, 1)]).toEqual(['Xd', 'Z']);
    expect(world.store(task, 0, 2)).toMatchObject({ code: SEGV_ACCERR });
    expect(protect(RW)).toBe(0);
    expect([world.page(task, 0), world.page(task, 1)]).toEqual(['Xwd', 'Z']);
    const before = task.minFlt;
    expect([world.store(task, 0, 3), task.minFlt - before]).toEqual([null, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('PROT_NONE hides the page and gives it back unchanged', () => {
    const { world, task } = processWith(RW);
    world.store(task, 0, 42);
    world.run(task, sysMprotect(task, addressOf(0), 0x1000n, PROT_NONE));
    expect(world.load(task, 0)).toMatchObject({ code: SEGV_ACCERR });
    expect(world.inconsistencies()).toEqual([]);
    world.run(task, sysMprotect(task, addressOf(0), 0x1000n, PROT_READ));
    expect(world.load(task, 0)).toBe(42);
  });

  it('munmap frees pages, and the tables that nothing else needs', () => {
    const world = new ProcessWorld();
    const task = world.process();
    const free = world.kernel.frames.freeFrames;
    world.map(task, 0, 16, RW);
    for (let page = 0; page < 16; page++) world.store(task, page, page);
    // Pages 0 to 7 are in one pte table, 8 to 15 in the next; pud, pmd and two pte tables.
    expect([mmOf(task).pgtablesBytes, free - world.kernel.frames.freeFrames]).toEqual([4 * 4096, 20]);
    world.run(task, sysMunmap(task, addressOf(0), 0xc000n));
    expect([mmOf(task).pgtablesBytes, mmOf(task).residentPages]).toEqual([3 * 4096, 4]);
    expect(world.inconsistencies()).toEqual([]);
    world.run(task, sysMunmap(task, addressOf(12), 0x4000n));
    expect([mmOf(task).pgtablesBytes, world.kernel.frames.freeFrames]).toEqual([0, free]);
  });
});
