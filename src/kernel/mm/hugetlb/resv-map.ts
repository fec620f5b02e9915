/**
 * Which huge pages of a file are promised (shared mappings, one map for each file), or which promises of a private mapping
 * are used up (one map for each mapping made by mmap). Positions count huge pages.
 * Left out: the list of regions and changes in progress, which exist so that no memory is asked for under a lock.
 * @see Linux mm/hugetlb.c, `struct resv_map`, `region_chg`, `region_add`, `region_del`, `region_count`
 */
import { RwSemaphore } from '../../lock/rwsem.ts';

export class ResvMap {
  /** The vma_lock of the private mapping whose promises these are (`rw_sema`). */
  readonly lock = new RwSemaphore('hugetlb resv_map');
  /** VMAs that use it (`refs`), of a private mapping. */
  references = 1;
  readonly #regions = new Set<number>();

  /** Positions of [from, to) that are not in the map (`region_chg`). */
  missing(from: number, to: number): number {
    return to - from - this.count(from, to);
  }

  /** Positions of [from, to) that are in the map. */
  count(from: number, to: number): number {
    let count = 0;
    if (to - from > this.#regions.size) {
      for (const at of this.#regions) if (at >= from && at < to) count++;
      return count;
    }
    for (let at = from; at < to; at++) if (this.#regions.has(at)) count++;
    return count;
  }

  /** Adds [from, to); the positions that were not there. */
  add(from: number, to: number): number {
    const before = this.#regions.size;
    for (let at = from; at < to; at++) this.#regions.add(at);
    return this.#regions.size - before;
  }

  /** Takes [from, to) out; the positions that were there. `to` may be infinite. */
  delete(from: number, to: number): number {
    const before = this.#regions.size;
    if (to - from > before) {
      for (const at of this.#regions) if (at >= from && at < to) this.#regions.delete(at);
    } else {
      for (let at = from; at < to; at++) this.#regions.delete(at);
    }
    return before - this.#regions.size;
  }
}
