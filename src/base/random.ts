/**
 * Random numbers that are a function of a seed: the same on every machine and in every version of this program.
 * xoroshiro128+ from pure-rand; nothing here is fit for secrets.
 */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

export class SeededRandom {
  /** As given, for reports. */
  readonly seed: number;
  readonly #generator: ReturnType<typeof xoroshiro128plus>;

  /**
   * @param seed an integer from -2^31 to 2^32 - 1; the generator looks at its low 32 bits
   * @throws RangeError when it is not
   */
  constructor(seed: number) {
    if (!Number.isInteger(seed) || seed < -0x8000_0000 || seed > 0xffff_ffff) {
      throw new RangeError(`a seed is an integer of 32 bits, not ${seed}`);
    }
    this.seed = seed;
    this.#generator = xoroshiro128plus(seed | 0);
  }

  /** The next 32 bits, as an int32. */
  int32(): number {
    return this.#generator.next();
  }

  /**
   * A whole number from 0 to `count` - 1, each as likely as the others.
   * @throws RangeError when `count` is not a whole number from 1 to 2^53 - 1
   */
  below(count: number): number {
    if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`no number below ${count}`);
    return uniformInt(this.#generator, 0, count - 1);
  }

  /** True once in `times`, on average. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  /** One of the items. @throws RangeError when there is none */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}
