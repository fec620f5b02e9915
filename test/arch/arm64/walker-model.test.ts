import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import type { GranuleShift } from '../../../src/arch/arm64/entries.ts';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import { type ReferenceRegisters, referenceWalk } from './reference-walk.ts';
import { memoryOf, ROOT0, ROOT1, Stage1 } from './stage1.ts';

const memory = memoryOf(1n << 52n);
const SIZES = [32, 36, 40, 42, 44, 48, 52] as const;

interface Setup {
  readonly granule: GranuleShift;
  readonly txsz: number;
  readonly DS: boolean;
  readonly IPS: number;
  readonly HA: boolean;
  readonly HPD: boolean;
  readonly upper: boolean;
}
const setups: fc.Arbitrary<Setup> = fc.record({
  granule: fc.constantFrom<GranuleShift>(12, 14, 16),
  txsz: fc.integer({ min: 12, max: 47 }),
  DS: fc.boolean(),
  IPS: fc.integer({ min: 0, max: 6 }),
  HA: fc.boolean(),
  HPD: fc.boolean(),
  upper: fc.boolean(),
});

/** Descriptors that are often tables or pages, and of which single bits are often wrong. */
const descriptors = fc.array(
  fc
    .record({
      type: fc.constantFrom(3n, 3n, 3n, 3n, 3n, 3n, 1n, 0n, 2n),
      low: fc.bigInt({ min: 0n, max: 0xfffn }),
      page: fc.bigInt({ min: 1n, max: 0x3fn }),
      high: fc.bigInt({ min: 0n, max: 0x1fffn }),
      wide: fc.constantFrom(0n, 0n, 0n, 0n, 0n, 0n, 0n, 1n << 34n, 1n << 45n, 1n << 47n, 1n << 49n),
    })
    .map(({ type, low, page, high, wide }) => (low & ~3n) | type | (page << 16n) | (high << 51n) | wide),
  { minLength: 5, maxLength: 5 },
);

function referenceOf({ granule, txsz, DS, IPS, HA, HPD, upper }: Setup): ReferenceRegisters {
  const wide = DS || granule === 16;
  const size = SIZES[IPS] as number;
  return {
    granule,
    txsz,
    ds: DS && granule !== 16,
    outputBits: wide ? size : Math.min(48, size),
    ha: HA,
    hpd: HPD,
    root: upper ? ROOT1 : ROOT0,
  };
}

it('the walk agrees with the manual said again, for random tables and registers, with caches and without', () => {
  fc.assert(
    fc.property(
      setups,
      descriptors,
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      (setup, words, random) => {
        memory.clear();
        const { granule, txsz, DS, IPS, HA, HPD, upper } = setup;
        const tcr = { DS, IPS, HA, [upper ? 'HPD1' : 'HPD0']: HPD };
        const machine = new Stage1({ granule, txsz, tcr, memory });
        const inside = BigInt.asUintN(64 - txsz, random);
        const va = upper ? BigInt.asUintN(64, inside - (1n << BigInt(64 - txsz))) : inside;
        // A descriptor is put wherever the reference reads one and there is none yet.
        let used = 0;
        const reference = referenceWalk(referenceOf(setup), va, (address) => {
          const there = memory.readWord(address) as bigint;
          if (there !== 0n) return there;
          const word = words[used++] as bigint;
          memory.writeWord(address, word);
          return word;
        });
        expect(machine.outcome(machine.mmu.probe(highHalf(va), lowHalf(va), Access.User))).toBe(reference);
        expect(machine.access(va)).toBe(reference);
        expect(machine.access(va)).toBe(reference);
        const uncached = machine.mmu.walkUncached(highHalf(va), lowHalf(va), Access.User);
        expect(machine.outcome(uncached)).toBe(reference);
      },
    ),
    { numRuns: 2000 },
  );
});
