import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  chooseNonExcludedTag,
  ImplementationDefinedGenerator,
  nextSeed,
  seedAfterTag,
  tagOfSeed,
} from '../../../../src/arch/arm64/mte/random-tag.ts';

describe('the tag that is chosen (AArch64.ChooseNonExcludedTag)', () => {
  it.each([
    ['offset 0 keeps the tag', 5, 0, 0x0000, 5],
    ['offset 0 moves an excluded tag on', 5, 0, 0x0020, 6],
    ['offset 0 moves past all excluded tags', 5, 0, 0x00e0, 8],
    ['offset 0 goes round after tag 15', 15, 0, 0x8001, 1],
    ['an offset counts allowed tags only', 5, 1, 0x0040, 7],
    ['an excluded start is no step by itself', 5, 1, 0x0020, 6],
    ['sixteen allowed tags, fifteen steps: one back', 5, 15, 0x0000, 4],
    ['one allowed tag: every step ends there', 3, 7, 0xfbff, 10],
    ['every tag excluded: tag 0', 9, 3, 0xffff, 0],
  ])('%s', (_rule, start, offset, exclude, tag) => {
    expect(chooseNonExcludedTag(start, offset, exclude)).toBe(tag);
  });

  it('is never an excluded tag unless all are', () => {
    fc.assert(
      fc.property(fc.nat(15), fc.nat(15), fc.nat(0xfffe), (start, offset, exclude) => {
        expect((exclude >>> chooseNonExcludedTag(start, offset, exclude)) & 1).toBe(0);
      }),
    );
  });
});

/** AArch64.RandomTag as the manual spells it, on a list of bits: an independent form of the same generator. */
function randomTagByBits(seed: number): { tag: number; seed: number } {
  const bits = Array.from({ length: 16 }, (_, at) => (seed >> at) & 1);
  let tag = 0;
  for (let i = 0; i < 4; i++) {
    const top = ((bits[5] ?? 0) + (bits[3] ?? 0) + (bits[2] ?? 0) + (bits[0] ?? 0)) % 2;
    bits.shift();
    bits.push(top);
    tag += top * 2 ** i;
  }
  return { tag, seed: bits.reduce((sum, bit, at) => sum + bit * 2 ** at, 0) };
}

describe('the generator of GCR_EL1.RRND = 0 (AArch64.RandomTag)', () => {
  it('takes four bits, the first one lowest, for every seed', () => {
    for (let seed = 0; seed < 0x10000; seed++) {
      const after = seedAfterTag(seed);
      const expected = randomTagByBits(seed);
      if (after !== expected.seed || tagOfSeed(after) !== expected.tag) {
        expect({ seed, after, tag: tagOfSeed(after) }).toEqual({
          seed,
          after: expected.seed,
          tag: expected.tag,
        });
      }
    }
  });

  it('stays at 0 from seed 0, and has a period of 65,535 from any other seed', () => {
    expect(nextSeed(0)).toBe(0);
    let seed = 1;
    let steps = 0;
    do {
      seed = nextSeed(seed);
      steps++;
    } while (seed !== 1);
    expect(steps).toBe(65535);
  });
});

describe('the generator of GCR_EL1.RRND = 1', () => {
  const generator = (high: number, low: number): ImplementationDefinedGenerator => {
    const made = new ImplementationDefinedGenerator();
    made.high = high;
    made.low = low;
    return made;
  };

  it('steps as drand48 does, modulo 2^48', () => {
    fc.assert(
      fc.property(fc.nat(0xff_ffff), fc.nat(0xff_ffff), (high, low) => {
        const made = generator(high, low);
        made.nextTag(0);
        const before = (BigInt(high) << 24n) | BigInt(low);
        const after = (before * 0x5deece66dn + 11n) % (1n << 48n);
        expect((BigInt(made.high) << 24n) | BigInt(made.low)).toBe(after);
      }),
    );
  });

  it('gives tag 0 and keeps its seed when every tag is excluded', () => {
    const made = generator(7, 9);
    expect(made.nextTag(0xffff)).toBe(0);
    expect([made.high, made.low]).toEqual([7, 9]);
  });

  it('chooses each allowed tag about equally often, also from seed 0, and never an excluded one', () => {
    const exclude = 0x8421;
    const made = generator(0, 0);
    const counts = new Array<number>(16).fill(0);
    const draws = 48_000;
    for (let i = 0; i < draws; i++) {
      const tag = made.nextTag(exclude);
      counts[tag] = (counts[tag] as number) + 1;
    }
    // 12 allowed tags, 4,000 each expected; five standard deviations are 303.
    counts.forEach((count, tag) => {
      if (((exclude >> tag) & 1) !== 0) expect(count).toBe(0);
      else expect(Math.abs(count - draws / 12)).toBeLessThan(303);
    });
  });
});
