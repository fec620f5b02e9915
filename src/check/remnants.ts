/**
 * Entries of one root table that were live and that some CPU may still have cached, found by address. There are many of
 * pages and few of anything larger, so that pages are looked for by their address alone.
 */
import type { CachedPlace, Invalidation, LiveEntry } from '../arch/break-before-make.ts';

export interface Remnant {
  readonly entry: LiveEntry;
  readonly place: CachedPlace;
  /** The CPU that took it away; -1 not known, and then its writes are taken to be visible at once. */
  readonly by: number;
  /** Another valid entry came in its place at once. */
  readonly replaced: boolean;
  visible: boolean;
  /** Executed since it was visible and not complete. */
  readonly issued: Set<Invalidation>;
  /** One was executed before a barrier made the invalid entry visible: it does not count. */
  early: boolean;
  /** The CPUs that may have it. */
  readonly left: Set<number>;
  /** The write that it was last reported for. */
  reported: number;
}

export class Remnants {
  readonly #lastLevel: number;
  /** Of the last level, by address. */
  readonly #pages = new Map<bigint, Remnant[]>();
  /** Of all other levels. */
  #larger: Remnant[] = [];

  constructor(lastLevel: number) {
    this.#lastLevel = lastLevel;
  }

  /** The same entry may come and go several times before it is invalidated: the last time counts. */
  add(remnant: Remnant): void {
    const { entry } = remnant;
    const others = (list: readonly Remnant[]): Remnant[] => list.filter((other) => !same(other.entry, entry));
    if (entry.level === this.#lastLevel) {
      this.#pages.set(entry.address, [...others(this.#pages.get(entry.address) ?? []), remnant]);
    } else {
      this.#larger = [...others(this.#larger), remnant];
    }
  }

  /** Those that map some address of 2^shift bytes from `address` on. */
  overlapping({ address, level }: LiveEntry, shift: number): Remnant[] {
    const found = this.#larger.filter(({ place }) => {
      return (
        place.address < address + (1n << BigInt(shift)) &&
        address < place.address + (1n << BigInt(place.shift))
      );
    });
    if (level === this.#lastLevel) return [...(this.#pages.get(address) ?? []), ...found];
    for (const [page, remnants] of this.#pages) {
      if (page >= address && page < address + (1n << BigInt(shift))) found.push(...remnants);
    }
    return found;
  }

  *[Symbol.iterator](): Generator<Remnant> {
    for (const remnants of this.#pages.values()) yield* remnants;
    yield* this.#larger;
  }

  /** Forgets those that no CPU can have. */
  prune(): void {
    const isLeft = ({ left }: Remnant): boolean => left.size > 0;
    this.#larger = this.#larger.filter(isLeft);
    for (const [page, remnants] of this.#pages) {
      const kept = remnants.filter(isLeft);
      if (kept.length === 0) this.#pages.delete(page);
      else if (kept.length < remnants.length) this.#pages.set(page, kept);
    }
  }
}

const same = (first: LiveEntry, second: LiveEntry): boolean =>
  first.address === second.address && first.level === second.level && first.value === second.value;
