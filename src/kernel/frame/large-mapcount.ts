/**
 * Map counts of a folio of more than one frame, beside those of its frames: entries that map it whole, all its mappings,
 * and whether they are all of one mm. For that, two mms are told apart; mappings of a third are only counted, so that
 * "shared" may be said of a folio that is not, never the other way round.
 * Left out: the sanity checks of the per-mm counts.
 * @see Linux include/linux/rmap.h, `folio_add_return_large_mapcount`, `folio_sub_return_large_mapcount` (CONFIG_MM_ID)
 */

interface Slot {
  mm: object | null;
  /** Mappings of that mm that were made while it had the slot. */
  mappings: number;
}

export class LargeMapcount {
  /** Entries above the last level that map the folio whole (`_entire_mapcount` + 1). */
  entire = 0;
  /** All mappings: each pte counts one, and so does each entry that maps the whole (`folio_large_mapcount`). */
  total = 0;
  /** Frames that at least one pte maps (`_nr_pages_mapped`, without the part of entries that map the whole). */
  pagesMapped = 0;
  /** FOLIO_MM_IDS_SHARED_BIT. */
  #shared = false;
  readonly #slots: readonly [Slot, Slot] = [
    { mm: null, mappings: 0 },
    { mm: null, mappings: 0 },
  ];

  /** `count` more mappings by `mm`. */
  add(mm: object, count: number): void {
    const [first, second] = this.#slots;
    this.total += count;
    const own = first.mm === mm ? first : second.mm === mm ? second : null;
    if (own !== null) {
      own.mappings += count;
      return;
    }
    const free = first.mm === null ? first : second.mm === null ? second : null;
    if (free !== null) {
      free.mm = mm;
      free.mappings = count;
    }
    // There may be mappings of others already, counted in a slot or not.
    if (this.total !== count) this.#shared = true;
  }

  /** `count` mappings by `mm` less. */
  remove(mm: object, count: number): void {
    const [first, second] = this.#slots;
    this.total -= count;
    if (this.total < 0) throw new Error('a folio is unmapped more often than mapped');
    const own = first.mm === mm ? first : second.mm === mm ? second : null;
    if (own !== null) {
      own.mappings -= count;
      // Some were made while no slot was free and are not in the slot's count.
      if (own.mappings > 0) return;
      own.mm = null;
      own.mappings = 0;
    }
    // One mm has all that is left.
    if (first.mappings === this.total || second.mappings === this.total) this.#shared = false;
  }

  /** May more than one mm map it (`folio_test_large_maybe_mapped_shared`)? False is certain. */
  get maybeMappedShared(): boolean {
    return this.#shared;
  }
}
