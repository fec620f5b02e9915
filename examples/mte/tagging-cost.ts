/**
 * What does it cost to tag an allocation? Each size is tagged in three ways, and every instruction is really made and
 * counted: ST2G and STG; STZ2G and STZG, which zero the memory as well; DC GVA for whole blocks of 64 bytes, with ST2G and
 * STG at the edges. The cycles are those of the cost profile neoverse-v2, with IRG before the first store.
 */
import {
  COST_PROFILES,
  type CostProfile,
  defineScenario,
  type ReportCell,
  type Task,
  type User,
} from 'tablewalk';
import { enableTagChecks, GRANULE, rounded, tagOf } from './lib/allocator.ts';

const SIZES = [1, 16, 24, 40, 100, 256, 1000, 4096, 16384, 65536];
const BLOCK = 64;
/** An allocation follows its header of 16 bytes, so that it begins inside a block. */
const HEADER = 16n;

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

interface Row {
  readonly size: number;
  readonly stores: Count;
  readonly zeroing: Count;
  readonly blocks: Count;
}

/** Does every granule of the range have the tag of the pointer, and the ones beside it another? */
function* checkTags(u: User, pointer: bigint, bytes: number): Task<void> {
  for (let at = -GRANULE; at <= bytes; at += GRANULE) {
    const memory = tagOf(yield* u.must(u.ldg(pointer + BigInt(at))));
    const inside = at >= 0 && at < bytes;
    yield* u.check((memory === tagOf(pointer)) === inside, `granule ${at / GRANULE} of ${bytes} bytes`);
  }
}

function* measure(u: User, base: bigint, size: number): Task<Row> {
  const bytes = rounded(size);
  const ways: Count[] = [];
  for (const way of ['stores', 'zeroing', 'blocks'] as const) {
    const count: Count = { stores: 0, blocks: 0 };
    // Not the tag that the way before has left.
    const old = yield* u.must(u.ldg(base + HEADER));
    const pointer = yield* u.must(u.irg(base + HEADER, 1 << tagOf(old)));
    if (way === 'blocks') yield* byBlocks(u, pointer, bytes, count);
    else yield* byStores(way === 'stores' ? plain(u) : zeroing(u), pointer, bytes, count);
    yield* checkTags(u, pointer, bytes);
    ways.push(count);
  }
  const [stores, zeros, blocks] = ways as [Count, Count, Count];
  return { size, stores, zeroing: zeros, blocks };
}

function cycles(profile: CostProfile, { stores, blocks }: Count): number {
  const pairs = Math.ceil((stores * profile.cycles('twoTagStores')) / 2);
  return profile.cycles('randomTag') + pairs + blocks * profile.cycles('tagBlock');
}

function line(profile: CostProfile, { size, stores, zeroing: zeros, blocks }: Row): ReportCell[] {
  const lost = rounded(size) - size;
  return [
    size,
    lost,
    `${((100 * lost) / rounded(size)).toFixed(1)} %`,
    stores.stores,
    cycles(profile, stores),
    zeros.stores,
    cycles(profile, zeros),
    `${blocks.blocks.toLocaleString('en-US')} + ${blocks.stores}`,
    cycles(profile, blocks),
  ];
}

const right = (title: string) => ({ title, align: 'right' }) as const;

export default defineScenario({
  title: 'what tagging costs by the size of the allocation',
  description: 'instructions, cycles of a Neoverse V2, and bytes lost to granules',
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
    const profile = COST_PROFILES['neoverse-v2'] as CostProfile;
    return [
      {
        heading: 'What does it cost to tag an allocation?',
        table: {
          columns: [
            right('bytes'),
            right('lost'),
            right(''),
            right('ST2G, STG'),
            right('cycles'),
            right('STZ2G, STZG'),
            right('cycles'),
            right('DC GVA + stores'),
            right('cycles'),
          ],
          rows: (world.value('program') as readonly Row[]).map((row) => line(profile, row)),
        },
        notes: [
          'Lost: the rest of the last granule, 7.5 bytes on average. The tags take 1/32 of the memory that has them.',
          `Cycles: IRG ${profile.cycles('randomTag')}, two tag stores ${profile.cycles('twoTagStores')}, DC GVA ${profile.cycles('tagBlock')} (a guess; no published figure), lines in L1.`,
          'Zeroing comes with the tags: STZ2G is as fast as ST2G.',
        ],
      },
    ];
  },
});
