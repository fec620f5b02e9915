/**
 * What an MMU tells about a translation while it makes it: each entry that is read or updated, what the TLB and the
 * paging-structure caches gave and kept, what was flushed, and how it ended. The explained walk and the event log are
 * observers of the one walker; there is no second one. All words are int32 halves.
 */

/** Where an entry's contents came from. */
export const EntrySource = {
  Memory: 0,
  /** A paging-structure cache: the entry itself was not read; `entry` holds what was cached (table, combined rights). */
  Cache: 1,
} as const;
export type EntrySource = (typeof EntrySource)[keyof typeof EntrySource];

/** Which cache of translations. */
export const CacheName = {
  FirstLevelData: 0,
  FirstLevelFetch: 1,
  SecondLevel: 2,
  PagingStructure: 3,
} as const;
export type CacheName = (typeof CacheName)[keyof typeof CacheName];

export const CACHE_NAMES = ['L1 DTLB', 'L1 ITLB', 'L2 TLB', 'paging-structure cache'] as const;

export interface WalkObserver {
  /** A translation begins: the address as given, before any masking. */
  begin(hi: number, lo: number, access: number): void;
  /** An entry of `level` (1 is the last-level table) was used. For `EntrySource.Cache` the entry address is 0. */
  entry(
    level: number,
    source: EntrySource,
    entryAddressHi: number,
    entryAddressLo: number,
    entryHi: number,
    entryLo: number,
  ): void;
  /** The walker wrote an entry back: accessed or dirty were set. Only the low half can change. */
  update(level: number, entryAddressHi: number, entryAddressLo: number, oldLo: number, newLo: number): void;
  /** A TLB had the translation; the data words are the architecture's cached form. */
  hit(cache: CacheName, dataHi: number, dataLo: number): void;
  /** A cached translation could not be used for this access and is walked again: permission, or dirty not yet set. */
  rewalk(cache: CacheName, dataHi: number, dataLo: number): void;
  fill(cache: CacheName, level: number, dataHi: number, dataLo: number): void;
  /**
   * Cached translations were dropped; `scope` is the architecture's scope number, see its invalidation.ts. `pages`: of
   * 4 KiB from the address on, where a range was named.
   */
  flush(scope: number, context: number, hi: number, lo: number, dropped: number, pages?: number): void;
  /** How it ended: `kind` 0 and the physical address, or a fault kind and the reasons of the fault slot. */
  end(kind: number, paHi: number, paLo: number, reasons: number): void;
  /**
   * An access or instruction faults for a reason that no translation found: alignment, a tag check, UNDEFINED, a trap, no
   * memory at the physical address. The cause is in the MMU's fault slot.
   */
  raised?(): void;
  /**
   * A tag check has failed and is only noted, in a status bit that was clear until now: no fault.
   * @param user the check was one of EL0's rights
   */
  tagCheckNoted?(hi: number, lo: number, user: boolean): void;
}
