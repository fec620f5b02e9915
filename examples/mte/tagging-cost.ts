/**
 * What does it cost to tag an allocation? Each size is tagged in five ways, and every instruction is really made, counted
 * and its effect looked at: STG, STZG (which zeroes as well), ST2G, STZ2G, and DC GVA for whole blocks of 64 bytes, with
 * ST2G and STG at the edges. Cycles are counts times figures of the run's cost profile: `--profile neoverse-v2`.
 */
import { type CostProfile, defineScenario, type ReportCell, type Task, type User } from 'tablewalk';
import { enableTagChecks, GRANULE, rounded, tagOf } from './lib/allocator.ts';

const SIZES = [1, 16, 24, 40, 100, 256, 1000, 4096, 16384, 65536];
const BLOCK = 64;
/** An allocation follows its header of 16 bytes, so that it begins inside a block. */
const HEADER = 16n;
const TAG_BITS = 15n << 56n;
/** What the first word holds before it is tagged. */
const FULL = 0xffff_ffffn;

/** How many instructions of each kind one way takes. */
interface Count {
  stores: number;
  blocks: number;
}

/** A store of tags: one granule or two. */
interface Stores {
  readonly one: (pointer: bigint) => Task<unknown>;
  readonly two: (pointer: bigint) => Task<unknown>;
}

const plain = (u: User): Stores => ({
  one: (pointer) => u.must(u.stg(pointer)),
  two: (pointer) => u.must(u.st2g(pointer)),
});
const zeroing = (u: User): Stores => ({
  one: (pointer) => u.must(u.stzg(pointer)),
  two: (pointer) => u.must(u.stz2g(pointer)),
});

/** Two granules at a time, and the last one alone where their number is odd. */
function* byStores({ one, two }: Stores, pointer: bigint, bytes: number, count: Count): Task<void> {
  for (let at = 0; at < bytes; at += 2 * GRANULE) {
    const place = pointer + BigInt(at);
    if (bytes - at > GRANULE) yield* two(place);
    else yield* one(place);
    count.stores++;
  }
}

/** Whole blocks by DC GVA. */
function* byBlocks(u: User, pointer: bigint, bytes: number, count: Count): Task<void> {
  const before = Math.min(bytes, Number(-pointer & BigInt(BLOCK - 1)));
  const blocks = Math.floor((bytes - before) / BLOCK);
  yield* byStores(plain(u), pointer, before, count);
  const first = pointer + BigInt(before);
  for (let i = 0; i < blocks; i++) yield* u.must(u.dcGva(first + BigInt(i * BLOCK)));
  count.blocks += blocks;
  const done = before + blocks * BLOCK;
  yield* byStores(plain(u), pointer + BigInt(done), bytes - done, count);
}

const WAYS = ['stg', 'stzg', 'st2g', 'stz2g', 'blocks'] as const;
type Way = (typeof WAYS)[number];
type Row = { readonly size: number } & Readonly<Record<Way, Count>>;

/** Does every granule of the range have the tag of the pointer, and the ones beside it another? */
function* checkTags(u: User, pointer: bigint, bytes: number): Task<void> {
  for (let at = -GRANULE; at <= bytes; at += GRANULE) {
    const memory = tagOf(yield* u.must(u.ldg(pointer + BigInt(at))));
    const inside = at >= 0 && at < bytes;
    yield* u.check((memory === tagOf(pointer)) === inside, `granule ${at / GRANULE} of ${bytes} bytes`);
  }
}

/** Tags the range in one way. */
function* tag(u: User, way: Way, pointer: bigint, bytes: number, count: Count): Task<void> {
  if (way === 'blocks') return yield* byBlocks(u, pointer, bytes, count);
  if (way === 'st2g') return yield* byStores(plain(u), pointer, bytes, count);
  if (way === 'stz2g') return yield* byStores(zeroing(u), pointer, bytes, count);
  for (let at = 0; at < bytes; at += GRANULE) {
    yield* u.must(u[way](pointer + BigInt(at)));
    count.stores++;
  }
}

function* measure(u: User, base: bigint, size: number): Task<Row> {
  const bytes = rounded(size);
  const counts: [Way, Count][] = [];
  for (const way of WAYS) {
    const count: Count = { stores: 0, blocks: 0 };
    // Not the tag that the way before has left.
    const old = yield* u.must(u.ldg(base + HEADER));
    yield* u.must(u.store(base + HEADER + (old & TAG_BITS), FULL));
    const pointer = yield* u.must(u.irg(base + HEADER, 1 << tagOf(old)));
    yield* tag(u, way, pointer, bytes, count);
    yield* checkTags(u, pointer, bytes);
    const zeroed = (yield* u.must(u.load(pointer))) === 0n;
    yield* u.check(zeroed === way.startsWith('stz'), `${way} of ${bytes} bytes: zeroed: ${zeroed}`);
    counts.push([way, count]);
  }
  return { size, ...Object.fromEntries(counts) } as Row;
}

/** Cycles of one way; a processor without memory tags has no figures for it. */
function cycles(costs: CostProfile, { stores, blocks }: Count): ReportCell {
  if (costs.cycles('twoTagStores') === 0) return '-';
  const pairs = Math.ceil((stores * costs.cycles('twoTagStores')) / 2);
  return costs.cycles('randomTag') + pairs + blocks * costs.cycles('tagBlock');
}

function line(costs: CostProfile, { size, stg, st2g, blocks }: Row): ReportCell[] {
  const lost = rounded(size) - size;
  return [
    size,
    lost,
    `${((100 * lost) / rounded(size)).toFixed(1)} %`,
    stg.stores,
    cycles(costs, stg),
    st2g.stores,
    cycles(costs, st2g),
    `${blocks.blocks.toLocaleString('en-US')} + ${blocks.stores}`,
    cycles(costs, blocks),
  ];
}

const FIGURES = ['randomTag', 'twoTagStores', 'tagBlock'] as const;
const WHAT = {
  randomTag: 'IRG, once',
  twoTagStores: 'two tag stores',
  tagBlock: 'DC GVA, 64 bytes',
} as const;
/** What a figure of that confidence is. */
const GRADES = { high: 'published', medium: 'of a sister core', low: 'a guess' } as const;

function figureRows({ data }: CostProfile): ReportCell[][] {
  return FIGURES.map((name) => {
    const { cycles: each, confidence, source } = data.figures[name];
    return [WHAT[name], each, data.arch === null ? 'by definition' : GRADES[confidence], source];
  });
}

const right = (title: string) => ({ title, align: 'right' }) as const;

export default defineScenario({
  title: 'what tagging costs by the size of the allocation',
  description: 'instructions, cycles by the cost profile of the run, and bytes lost to granules',
  arch: 'arm64',
  timeline: false,
  programs: {
    *program(u) {
      yield* enableTagChecks(u, 'sync');
      const rows: Row[] = [];
      for (const size of SIZES) {
        const bytes = rounded(size) + 4096;
        const base = yield* u.must(u.mmap({ bytes, prot: 'rwm' }));
        rows.push(yield* measure(u, base, size));
        yield* u.must(u.munmap(base, bytes));
      }
      return rows;
    },
  },
  report: (world) => {
    const { costs } = world;
    const rows = world.value('program') as readonly Row[];
    const guessed = costs.data.figures.tagBlock.confidence === 'low';
    return [
      {
        heading: `What does it cost to tag an allocation? In cycles of the profile ${costs.name}`,
        table: {
          columns: [
            right('bytes'),
            right('lost'),
            right(''),
            right('STG'),
            right('cycles'),
            right('ST2G, STG'),
            right('cycles'),
            right('DC GVA + stores'),
            right(guessed ? 'cycles (guess)' : 'cycles'),
          ],
          rows: rows.map((row) => line(costs, row)),
        },
        notes: [
          'Lost: the rest of the last granule, 7.5 bytes on average. The tags take 1/32 of the memory that has them.',
          'STZG for STG and STZ2G for ST2G were run too: as many stores, as many cycles, and the bytes are zero afterwards.',
          'The cycles count IRG and the stores, to lines in the L1 cache; not the loop around them.',
        ],
      },
      {
        heading: 'Where are the figures from?',
        table: {
          columns: ['figure', right('cycles'), 'what it is', 'source'],
          rows: figureRows(costs),
        },
        notes:
          costs.name === 'flat'
            ? ['--profile neoverse-v2 has the figures of a processor with memory tags.']
            : [],
      },
    ];
  },
});
