/**
 * From pages to the VMAs that map them: after any sequence of calls that make, split, merge, move and copy VMAs, every
 * page is found, and the locks were taken in the documented order. Then walks by hand.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { atomically, type Task } from '../../../src/base/task.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import { firstMapping, nextMapping } from '../../../src/kernel/mm/i-mmap.ts';
import { fput, type MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../src/kernel/mm/mremap-operation.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { rmapWalk } from '../../../src/kernel/mm/rmap-walk.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';
import { rmapInconsistencies } from './rmap-audit.ts';

const RW = PROT_READ | PROT_WRITE;
const ARENA = 12;

type Step =
  | {
      readonly op: 'map';
      readonly at: number;
      readonly pages: number;
      readonly kind: number;
      readonly offset: number;
    }
  | { readonly op: 'unmap' | 'protect' | 'readwrite'; readonly at: number; readonly pages: number }
  | {
      readonly op: 'move';
      readonly at: number;
      readonly pages: number;
      readonly to: number;
      readonly keep: boolean;
    }
  | { readonly op: 'store' | 'load'; readonly at: number }
  | { readonly op: 'truncate'; readonly pages: number }
  | { readonly op: 'fork' | 'exit' };

const at = fc.nat({ max: ARENA - 1 });
const pages = fc.integer({ min: 1, max: 4 });
const of = <T extends string>(op: T) => fc.constant(op);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ op: of('map'), at, pages, kind: fc.nat({ max: 3 }), offset: fc.nat({ max: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constantFrom('unmap' as const, 'protect' as const, 'readwrite' as const),
      at,
      pages,
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: of('move'), at, pages, to: at, keep: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('store' as const, 'load' as const), at }) },
  { weight: 1, arbitrary: fc.record({ op: of('truncate'), pages: fc.nat({ max: 8 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('fork' as const, 'exit' as const) }) },
);

/** Processes that fork from each other, with one file among them. */
class Family {
  readonly world = new ProcessWorld({ kernel: { lockdep: true } });
  readonly processes: TaskStruct[] = [this.world.process()];
  readonly file: MappedFile;

  constructor() {
    this.file = memfdCreate(this.world.kernel, 'f');
    this.world.run(this.first, fileTruncate(this.first, this.file, 0x8000n));
  }

  get first(): TaskStruct {
    return this.processes[0] as TaskStruct;
  }

  /** What no mapping needs goes with it. */
  closeFile(): void {
    this.world.run(this.first, fput(this.world.kernel.frames, this.file));
  }

  /** Of process `n` (of those that live); errors are answers as good as others. */
  perform(n: number, what: Step): void {
    const task = this.processes[n % this.processes.length] as TaskStruct;
    switch (what.op) {
      case 'fork':
        if (this.processes.length < 4) this.processes.push(this.world.fork(task));
        return;
      case 'exit':
        if (this.processes.length === 1) return;
        this.world.run(task, doExit(task, 0));
        this.processes.splice(this.processes.indexOf(task), 1);
        return;
      case 'store':
        this.world.store(task, what.at, 1);
        return;
      case 'load':
        this.world.load(task, what.at);
        return;
      default:
        this.world.run(task, this.call(task, what) as Task<unknown>);
    }
  }

  call(
    task: TaskStruct,
    what: Exclude<Step, { readonly op: 'fork' | 'exit' | 'store' | 'load' }>,
  ): Task<number | bigint> {
    const length = BigInt(what.pages) << 12n;
    if (what.op === 'truncate') return fileTruncate(task, this.file, length);
    const address = addressOf(what.at);
    if (what.op === 'map') return this.map(task, what);
    if (what.op === 'unmap') return sysMunmap(task, address, length);
    if (what.op !== 'move') return sysMprotect(task, address, length, what.op === 'protect' ? PROT_READ : RW);
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED | (what.keep ? MREMAP_DONTUNMAP : 0);
    return sysMremap(task, address, length, length, flags, addressOf(what.to));
  }

  map(task: TaskStruct, what: Step & { readonly op: 'map' }): Task<bigint> {
    const anonymous = what.kind < 2;
    const type = what.kind % 2 === 0 ? MAP_PRIVATE : MAP_SHARED;
    const flags = type | MAP_FIXED | (anonymous ? MAP_ANONYMOUS : 0);
    const file = anonymous ? null : this.file;
    const offset = anonymous ? 0n : BigInt(what.offset) << 12n;
    return sysMmap(task, addressOf(what.at), BigInt(what.pages) << 12n, RW, flags, file, offset);
  }
}

describe('every page is found by its rmap', () => {
  it('after any sequence of calls, with the locks in order all the time', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: 3 }), step), { maxLength: 60, size: 'max' }), (steps) => {
        const family = new Family();
        for (const [n, what] of steps) {
          family.perform(n, what);
          expect(rmapInconsistencies(family.world.kernel)).toEqual([]);
        }
        family.closeFile();
        expect(family.world.inconsistencies()).toEqual([]);
        expect(family.world.kernel.lockdep?.reports).toEqual([]);
      }),
      { numRuns: 80 },
    );
  });
});

/** Where the walk of a frame comes: process and page of the arena. */
function placesOf(
  world: ProcessWorld,
  current: TaskStruct,
  frame: number,
  limit = Number.POSITIVE_INFINITY,
): string[] {
  const found: string[] = [];
  world.run(
    current,
    rmapWalk(current, frame, (vma, page) =>
      atomically(() => {
        found.push(`${vma.mm.name.replace('mm of ', '')} ${page - BASE_PAGE}`);
        return found.length < limit;
      }),
    ),
  );
  return found;
}

function mapFile(
  world: ProcessWorld,
  task: TaskStruct,
  file: MappedFile,
  page: number,
  pages: number,
  offset: number,
): void {
  const [address, length] = [addressOf(page), BigInt(pages) << 12n];
  const flags = MAP_SHARED | MAP_FIXED;
  const result = world.run(task, sysMmap(task, address, length, RW, flags, file, BigInt(offset) << 12n));
  expect(result).toBe(address);
}

describe('a walk', () => {
  it('comes to every mapping of a file that covers the page, in the order of their offsets, and to no other', () => {
    const world = new ProcessWorld();
    const task = world.process('p');
    const other = world.process('q');
    const file = memfdCreate(world.kernel, 'f');
    world.run(task, fileTruncate(task, file, 0x10000n));
    mapFile(world, task, file, 0, 4, 2);
    mapFile(world, task, file, 8, 4, 0);
    mapFile(world, other, file, 3, 1, 3);
    mapFile(world, other, file, 12, 2, 4);
    world.store(task, 1, 7);
    const { frame } = world.pte(task, 1);
    expect(placesOf(world, task, frame)).toEqual(['p 11', 'p 1', 'q 3']);
    expect(placesOf(world, task, frame, 2)).toEqual(['p 11', 'p 1']);
  });

  it('comes to a page of the parent in the child too, and to what the child writes only in the child', () => {
    const world = new ProcessWorld();
    const parent = world.process('parent');
    world.map(parent, 0, 3, RW);
    world.store(parent, 1, 1);
    const child = world.fork(parent, 'child');
    const shared = world.pte(parent, 1).frame;
    expect(placesOf(world, parent, shared)).toEqual(['parent 1', 'child 1']);
    world.store(child, 1, 2);
    expect(placesOf(world, parent, world.pte(child, 1).frame)).toEqual(['child 1']);
    // The child may still map it, as far as the rmap knows.
    expect(placesOf(world, parent, shared)).toEqual(['parent 1', 'child 1']);
    world.run(child, doExit(child, 0));
    expect(placesOf(world, parent, shared)).toEqual(['parent 1']);
  });

  it('follows a page that was moved away from its offset', () => {
    const world = new ProcessWorld();
    const task = world.process('p');
    world.map(task, 0, 4, RW);
    for (let page = 0; page < 4; page++) world.store(task, page, page + 1);
    const { frame } = world.pte(task, 2);
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    world.run(task, sysMremap(task, addressOf(1), 0x2000n, 0x2000n, flags, addressOf(9)));
    expect(world.pte(task, 10).frame).toBe(frame);
    expect(placesOf(world, task, frame)).toEqual(['p 10']);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('does not go on when nothing maps the page any more', () => {
    const world = new ProcessWorld();
    const task = world.process('p');
    world.map(task, 0, 1, RW);
    world.store(task, 0, 1);
    const { frame } = world.pte(task, 0);
    world.kernel.frames.get(frame);
    world.run(task, sysMunmap(task, addressOf(0), 0x1000n));
    expect(placesOf(world, task, frame)).toEqual([]);
    world.kernel.frames.put(frame);
  });
});

describe('a family of anon_vmas', () => {
  it('stays small over many generations, each of which outlives the one before', () => {
    const world = new ProcessWorld();
    let task = world.process('p0');
    world.map(task, 0, 2, RW);
    world.store(task, 0, 1);
    for (let generation = 1; generation < 12; generation++) {
      const child = world.fork(task, `p${generation}`);
      world.store(child, 1, generation);
      world.run(task, doExit(task, 0));
      task = child;
    }
    const vma = mmOf(task).vmas.lookup(BASE_PAGE);
    // Its own, and those of the page that the first one wrote and of the last one that it came from.
    expect(vma?.anonVmaChain.length).toBeLessThanOrEqual(3);
    expect(placesOf(world, task, world.pte(task, 0).frame)).toEqual(['p11 0']);
  });

  it('lends the anon_vma of one that has gone, whose other children have gone too, to a grandchild', () => {
    const world = new ProcessWorld();
    const first = world.process('first');
    world.map(first, 0, 1, RW);
    world.store(first, 0, 1);
    const middle = world.fork(first, 'middle');
    const short = world.fork(middle, 'short');
    world.run(short, doExit(short, 0));
    const last = world.fork(middle, 'last');
    world.run(middle, doExit(middle, 0));
    const grandchild = world.fork(last, 'grandchild');
    const known = mmOf(last)
      .vmas.lookup(BASE_PAGE)
      ?.anonVmaChain.map(({ anonVma }) => anonVma);
    expect(known).toContain(mmOf(grandchild).vmas.lookup(BASE_PAGE)?.anonVma);
    expect(rmapInconsistencies(world.kernel)).toEqual([]);
  });
});

/** All VMAs that map one of the pages. */
function mappings(file: MappedFile, first: number, last: number): VmArea[] {
  const found: VmArea[] = [];
  for (let vma = firstMapping(file.mapping, first, last); vma !== null; ) {
    found.push(vma);
    vma = nextMapping(file.mapping, vma, first, last);
  }
  return found;
}

describe('the mappings of a file', () => {
  it('are found at offsets beyond 2^31 pages', () => {
    const world = new ProcessWorld();
    const task = world.process('p');
    const file = memfdCreate(world.kernel, 'f');
    const far = 2 ** 33 + 5;
    world.run(task, fileTruncate(task, file, BigInt(far + 4) << 12n));
    mapFile(world, task, file, 0, 3, far);
    world.store(task, 2, 9);
    expect(file.mapping.indexes()).toEqual([far + 2]);
    expect(mappings(file, far + 2, far + 2).map(({ start }) => start - BASE_PAGE)).toEqual([0]);
    expect(mappings(file, far + 3, far + 9)).toEqual([]);
    world.run(task, fileTruncate(task, file, BigInt(far + 1) << 12n));
    expect([world.page(task, 2), file.mapping.pageCount]).toEqual(['-', 0]);
  });

  it('are those of 3,000 alike VMAs, each found by what only it maps', () => {
    const world = new ProcessWorld();
    const task = world.process('p');
    const file = memfdCreate(world.kernel, 'f');
    // Every second page, so that none of them merge.
    for (let n = 0; n < 3000; n++) mapFile(world, task, file, 2 * n, 1, n);
    expect(file.mapping.iMmap.size).toBe(3000);
    for (const n of [0, 1, 1499, 2999]) {
      expect(mappings(file, n, n).map(({ start }) => start - BASE_PAGE)).toEqual([2 * n]);
    }
    world.run(task, doExit(task, 0));
    expect(file.mapping.iMmap.size).toBe(0);
  });

  it('hold their own reference after the descriptor is closed, over fork and exit', () => {
    const world = new ProcessWorld();
    const parent = world.process('parent');
    const file = memfdCreate(world.kernel, 'f');
    world.run(parent, fileTruncate(parent, file, 0x2000n));
    mapFile(world, parent, file, 0, 2, 0);
    world.store(parent, 0, 5);
    world.run(parent, fput(world.kernel.frames, file));
    const child = world.fork(parent, 'child');
    world.run(parent, doExit(parent, 0));
    expect(world.load(child, 0)).toBe(5);
    expect(file.mapping.iMmap.size).toBe(1);
    world.run(child, sysMunmap(child, addressOf(0), 0x2000n));
    expect([file.count, file.mapping.pageCount, file.mapping.iMmapWritable]).toEqual([0, 0, 0]);
  });
});
