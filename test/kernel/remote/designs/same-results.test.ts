/**
 * Whatever the layout of the target's memory and the transfers made: alone on the machine, every design that was proposed moves the
 * same bytes and as many as today's code, leaves the same memory behind, and gives back every lock and reference.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FOLL_ANON, FOLL_FORCE, FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { MADV_HUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { MAP_GROWSDOWN, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import type { DesignName } from '../../../../src/kernel/remote/design-names.ts';
import { DESIGNS, designNamed } from '../../../../src/kernel/remote/designs/registry.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../../src/kernel/remote/process-vm.ts';
import { advise } from '../../mm/madvise/support.ts';
import { addressOf } from '../../mm/process-world.ts';
import { swapOut } from '../../mm/swap-world.ts';
import { DesignWorld, HUGE_AT, RW } from './support.ts';

const PROT = { r: 1, w: 2, x: 4, rw: RW, none: 0 } as const;
const AFTER_HUGE = HUGE_AT + 512;
/** Far enough above the rest for the gap below a stack. */
const STACK = AFTER_HUGE + 400;

const KINDS = ['hole', 'written', 'untouched', 'read', 'swapped', 'forked', 'shared'] as const;
type Kind = (typeof KINDS)[number];

interface Segment {
  readonly kind: Kind;
  readonly pages: number;
  readonly prot: keyof typeof PROT;
}

interface Layout {
  readonly low: readonly Segment[];
  readonly high: readonly Segment[];
  readonly huge: 'nothing' | 'thp' | 'huge zero' | 'hugetlb' | 'hugetlb, untouched';
  readonly stack: boolean;
}

type Path = 'access' | 'readv';

interface Access {
  readonly area: 'low' | 'high' | 'stack';
  readonly page: number;
  readonly offset: number;
  readonly length: number;
  readonly path: Path;
  readonly write: boolean;
  readonly flags: number;
}

function put(world: DesignWorld, page: number, { kind, pages, prot }: Segment): void {
  const { target } = world;
  if (kind === 'hole') return;
  world.map(target, page, pages, RW, kind === 'shared' ? MAP_SHARED : MAP_PRIVATE);
  if (kind === 'read') for (let i = 0; i < pages; i++) world.load(target, page + i);
  else if (kind !== 'untouched') world.fill(page, pages, page % 200);
  if (kind === 'swapped') for (let i = 0; i < pages; i++) swapOut(world, target, page + i);
  if (kind === 'forked') world.fork(target, `child ${page}`);
  if (prot !== 'rw') {
    const call = sysMprotect(target, addressOf(page), BigInt(pages) << 12n, PROT[prot]);
    expect(world.run(target, call)).toBe(0);
  }
}

function putAll(world: DesignWorld, first: number, segments: readonly Segment[]): void {
  let page = first;
  for (const segment of segments) {
    put(world, page, segment);
    page += segment.pages;
  }
}

function build(world: DesignWorld, { low, high, huge, stack }: Layout): void {
  const { target } = world;
  putAll(world, 0, low);
  if (huge.startsWith('hugetlb')) world.map(target, HUGE_AT, 512, RW, MAP_PRIVATE | MAP_HUGETLB);
  else if (huge !== 'nothing') {
    world.map(target, HUGE_AT, 512, RW);
    expect(advise(world, target, HUGE_AT, 512, MADV_HUGEPAGE)).toBe('ok');
  }
  if (huge === 'thp' || huge === 'hugetlb') world.fill(HUGE_AT, 512, 7);
  if (huge === 'huge zero') world.load(target, HUGE_AT);
  putAll(world, AFTER_HUGE, high);
  if (!stack) return;
  world.map(target, STACK, 2, RW, MAP_PRIVATE | MAP_GROWSDOWN);
  world.fill(STACK, 2, 50);
}

const AREA_START = { low: 0, high: AFTER_HUGE - 3, stack: STACK - 5 } as const;

/** What came of it: the count, and a digest of the bytes that it says were read. */
function perform(world: DesignWorld, access: Access): readonly unknown[] {
  const { area, offset, length, write, flags, path } = access;
  const page = AREA_START[area] + access.page;
  const buffer = new Uint8Array(length);
  if (write) buffer.fill((page * 7 + offset) % 251);
  const { reader, target } = world;
  let moved: number;
  if (path === 'access') {
    moved = world.run(reader, world.transfer(page, buffer, flags | (write ? FOLL_WRITE : 0), offset));
  } else {
    const call = write ? sysProcessVmWritev : sysProcessVmReadv;
    moved = world.run(
      reader,
      call(reader, {
        pid: target.pid,
        local: [{ base: buffer, length: BigInt(length) }],
        localCount: 1,
        remote: [{ base: addressOf(page, offset), length: BigInt(length) }],
        remoteCount: 1,
        flags: 0,
      }),
    );
  }
  return [moved, write ? '' : Buffer.from(buffer.subarray(0, Math.max(0, moved))).toString('latin1')];
}

/** Where `outcome` has that. */
const LEFT_BEHIND = 2;

/** Counts and bytes of every access, then what the memory holds, then what was left behind. */
function outcome(design: DesignName, layout: Layout, accesses: readonly Access[]): readonly unknown[] {
  const world = new DesignWorld(design);
  build(world, layout);
  const results = accesses.map((access) => perform(world, access));
  const left = world.leftovers();
  world.kernel.remoteAccess = designNamed('v0');
  const contents = [0, HUGE_AT - 1, AFTER_HUGE - 1, AFTER_HUGE, STACK - 5, STACK - 1].map((page) =>
    world.read(page, 8, FOLL_FORCE),
  );
  const faults = [world.target.minFlt, world.target.majFlt, world.reader.minFlt, world.reader.majFlt];
  return [results, contents, left, faults];
}

const segment = fc.record({
  kind: fc.constantFrom(...KINDS),
  pages: fc.integer({ min: 1, max: 3 }),
  prot: fc.constantFrom<keyof typeof PROT>('rw', 'rw', 'rw', 'r', 'none', 'w', 'x'),
});
const layouts = fc.record({
  low: fc.array(segment, { minLength: 1, maxLength: 2 }),
  high: fc.array(segment, { maxLength: 4 }),
  huge: fc.constantFrom<Layout['huge']>(
    'nothing',
    'nothing',
    'thp',
    'huge zero',
    'hugetlb',
    'hugetlb, untouched',
  ),
  stack: fc.boolean(),
});
const someAccess = fc.record({
  area: fc.constantFrom<Access['area']>('low', 'low', 'high', 'high', 'stack'),
  page: fc.integer({ min: 0, max: 9 }),
  offset: fc.constantFrom(0, 0, 1, 4095, 2048),
  length: fc.constantFrom(0, 1, 8, 4096, 4097, 3 * 4096, 9000),
  path: fc.constantFrom<Path>('access', 'access', 'access', 'readv'),
  write: fc.boolean(),
  flags: fc.constantFrom(0, FOLL_FORCE, FOLL_FORCE, FOLL_ANON),
});

const proposed = DESIGNS.filter(({ wrong, name }) => wrong === undefined && name !== 'v0');

describe.each(proposed)('$name: $title', ({ name }) => {
  it('gives what today gives', () => {
    const property = fc.property(
      layouts,
      fc.array(someAccess, { minLength: 1, maxLength: 6 }),
      (layout, accesses) => {
        const own = outcome(name, layout, accesses);
        expect(own).toEqual(outcome('v0', layout, accesses));
        expect(own[LEFT_BEHIND]).toEqual([]);
      },
    );
    fc.assert(property, { numRuns: 60 });
  }, 60_000);
});

describe.each(DESIGNS.filter(({ wrong }) => wrong !== undefined))('$name: $title', ({ name }) => {
  it('gives what today gives, as long as nobody else runs', () => {
    const property = fc.property(
      layouts,
      fc.array(someAccess, { minLength: 1, maxLength: 4 }),
      (layout, accesses) => {
        const own = outcome(name, layout, accesses).slice(0, 2);
        expect(own).toEqual(outcome('v0', layout, accesses).slice(0, 2));
      },
    );
    fc.assert(property, { numRuns: 20 });
  }, 60_000);
});
