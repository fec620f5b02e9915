import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/base/random.ts';

describe('seeded random numbers', () => {
  it('are the same for the same seed, on every machine and in every version', () => {
    const random = new SeededRandom(42);
    expect(Array.from({ length: 8 }, () => random.below(1000))).toEqual([
      605, 225, 535, 820, 834, 84, 852, 787,
    ]);
  });

  it('differ for different seeds', () => {
    const first = (seed: number) => new SeededRandom(seed).int32();
    expect(new Set([0, 1, 2, 3, -1, 0x7fff_ffff].map(first)).size).toBe(6);
  });

  it('come near to uniform', () => {
    const random = new SeededRandom(7);
    const counts = new Array<number>(10).fill(0);
    for (let draw = 0; draw < 100_000; draw++) (counts[random.below(10)] as number)++;
    // Standard deviation is 95; a fixed seed makes this a fact and not a chance.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(400);
  });

  it('pick and toss within bounds', () => {
    const random = new SeededRandom(3);
    expect(['a', 'b']).toContain(random.pick(['a', 'b']));
    expect(random.oneIn(1)).toBe(true);
    for (let draw = 0; draw < 100; draw++) expect(random.below(1)).toBe(0);
  });

  it.each([[1.5], [Number.NaN], [2 ** 32], [-(2 ** 31) - 1]])('refuse the seed %d', (seed) => {
    expect(() => new SeededRandom(seed)).toThrow(RangeError);
  });

  it.each([[0], [-1], [1.5], [2 ** 53]])('refuse to draw below %d', (count) => {
    expect(() => new SeededRandom(1).below(count)).toThrow(RangeError);
  });

  it('refuse to pick from nothing', () => {
    expect(() => new SeededRandom(1).pick([])).toThrow(RangeError);
  });
});
