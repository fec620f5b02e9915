/**
 * The caches of a CPU that remember how far a walk gets: for an address prefix, the table to go on from with the rights
 * combined so far. One cache for each level of cached entry (x86: PDE, PDPTE, PML4E, PML5E cache).
 * Left out: caches shared with the TLB, partial-walk caches of other shapes.
 */
import { type CacheGeometry, NO_CACHE, type Retention, type TlbProfile } from './retention.ts';
import { Tlb } from './tlb.ts';

const UNBOUNDED: CacheGeometry = { sets: 16, ways: 4 };
const HIGHEST_LEVEL = 5;

export class PagingStructureCaches {
  /** By level of the cached entry: [2] … [5] are used. */
  readonly levels: readonly Tlb[];

  constructor(profile: TlbProfile, retention: Retention) {
    const levels: Tlb[] = [];
    for (let level = 0; level <= HIGHEST_LEVEL; level++) {
      const exists = level >= 2 && retention !== 'none';
      const geometry = retention === 'adversarial' ? UNBOUNDED : (profile.pagingStructure[level] ?? NO_CACHE);
      levels.push(new Tlb(exists ? geometry : NO_CACHE, exists && retention === 'adversarial'));
    }
    this.levels = levels;
  }

  /** As they were made. */
  renew(): void {
    for (const cache of this.levels) cache.renew();
  }

  dropAll(): number {
    return this.levels.reduce((dropped, cache) => dropped + cache.dropAll(), 0);
  }

  /** As `Tlb.dropWhere`, in the caches of every level. */
  dropWhere(mask: number, value: number): number {
    return this.levels.reduce((dropped, cache) => dropped + cache.dropWhere(mask, value), 0);
  }

  /** Entries kept, of every level. */
  count(): number {
    return this.levels.reduce((sum, cache) => sum + cache.count(), 0);
  }
}
