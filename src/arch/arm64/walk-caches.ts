/**
 * How walks use the walk caches: which entry answers for an address, and what is kept of a table descriptor that was
 * read. A cached entry is the table that the descriptor names, and in bits 31:27 of the high word its hierarchical
 * permissions and those above, combined. It belongs to the ASID it was made with.
 * @see Arm ARM (DDI 0487), "Caching of translation table walks"
 */
import type { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { AddressRange } from './address-range.ts';
import { Cached } from './cached-translation.ts';
import { setOf } from './tlb-tag.ts';

const { ADDRESS_HIGH } = Cached;
/** NSTable, APTable, UXNTable and PXNTable in the high half of a table descriptor. */
const TABLE_ATTRIBUTES = 0xf8000000 | 0;

export class WalkCaches {
  /** Is there any cache at all? */
  readonly exist: boolean;
  /** The entry that `find` found, and that `keep` kept. */
  dataHi = 0;
  dataLo = 0;
  private readonly caches: PagingStructureCaches;
  private tagLo = 0;
  private tagHi = 0;

  constructor(caches: PagingStructureCaches) {
    this.caches = caches;
    this.exist = caches.levels.some((cache) => cache.ways !== 0);
  }

  /**
   * Looks for the entry of the lowest level that a walk of an address can begin after.
   * @param tagLo @param tagHi the address's TLB tag, with its ASID
   * @returns the level of the entry in `dataHi`/`dataLo`, 2 and up, or 0
   */
  find(tagLo: number, tagHi: number, range: AddressRange): number {
    this.tagLo = tagLo;
    this.tagHi = tagHi;
    for (let level = 2; level <= range.topLevel; level++) {
      const cache = this.caches.levels[level]!;
      if (!cache.used) continue;
      const shift = range.granuleShift + (level - 1) * range.stride;
      const first = tagLo & range.prefixFirst[level]!;
      const at = cache.find(first, tagHi & range.prefixSecond[level]!, setOf(tagLo, tagHi, shift));
      if (at < 0) continue;
      cache.touch(at);
      this.dataLo = cache.entries[at + 2] as number;
      this.dataHi = cache.entries[at + 3] as number;
      return level;
    }
    return 0;
  }

  /**
   * Keeps a table descriptor of the address last looked for, of a level where it was not found.
   * @param tableHi @param tableLo the table it names @param attributes hierarchical permissions so far, in their place
   * @returns whether there is a cache for the level
   */
  keep(level: number, tableHi: number, tableLo: number, attributes: number, range: AddressRange): boolean {
    const cache = this.caches.levels[level]!;
    this.dataLo = tableLo;
    this.dataHi = (tableHi & ADDRESS_HIGH) | (attributes & TABLE_ATTRIBUTES);
    const { tagLo, tagHi, dataLo, dataHi } = this;
    const shift = range.granuleShift + (level - 1) * range.stride;
    const second = tagHi & range.prefixSecond[level]!;
    cache.insertNew(tagLo & range.prefixFirst[level]!, second, dataLo, dataHi, setOf(tagLo, tagHi, shift));
    return cache.ways !== 0;
  }
}
