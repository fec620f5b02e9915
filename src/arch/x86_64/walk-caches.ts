/**
 * How walks use the paging-structure caches: which entry answers for an address, and what is kept of an entry that was
 * read. A cached entry is the table it references, in the low word with R/W and U/S combined over the levels so far in
 * their places, in the high word with XD combined. Accessed was set when it was kept.
 * @see Intel SDM vol. 3A, "Caches for Paging Structures"
 */
import type { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { Tlb } from '../../hardware/tlb.ts';
import { Entry } from './entries.ts';

const { RW, US, ADDRESS_LOW, ADDRESS_HIGH, XD_HIGH } = Entry;
const COMBINED = RW | US;

/** The prefixes that entries are looked up by, in the first word of the TLB's tag. */
const PDE_PREFIX = ~0x1ff;
const PDPTE_PREFIX = ~0x3ffff;
const PML4E_PREFIX = ~0x7ffffff;
/** A PML5E covers bits 47:0: the tag's first word falls away and the lowest four bits of the second. */
const PML5E_PREFIX_HIGH = ~0xf;

export class WalkCaches {
  /** Is there any cache at all? */
  readonly exist: boolean;
  /** The entry that `find` found, and that `keep` kept. */
  dataHi = 0;
  dataLo = 0;
  private readonly caches: PagingStructureCaches;
  private readonly pde: Tlb;
  private readonly pdpte: Tlb;
  private readonly pml4e: Tlb;
  private readonly pml5e: Tlb;
  private tagLo = 0;
  private tagHi = 0;

  constructor(caches: PagingStructureCaches) {
    this.caches = caches;
    this.exist = caches.levels.some((cache) => cache.ways !== 0);
    [this.pde, this.pdpte, this.pml4e, this.pml5e] = caches.levels.slice(2) as [Tlb, Tlb, Tlb, Tlb];
  }

  /**
   * Looks for the entry of the lowest level that a walk of an address can begin after.
   * @param tagLo @param tagHi the address's TLB tag, with its PCID
   * @returns the level of the entry in `dataHi`/`dataLo`, or 0
   */
  find(tagLo: number, tagHi: number): number {
    this.tagLo = tagLo;
    this.tagHi = tagHi;
    let at = this.pde.find(tagLo & PDE_PREFIX, tagHi, tagLo >>> 9);
    if (at >= 0) return this.take(this.pde, at, 2);
    at = this.pdpte.find(tagLo & PDPTE_PREFIX, tagHi, tagLo >>> 18);
    if (at >= 0) return this.take(this.pdpte, at, 3);
    at = this.pml4e.find(tagLo & PML4E_PREFIX, tagHi, tagLo >>> 27);
    if (at >= 0) return this.take(this.pml4e, at, 4);
    at = this.pml5e.find(0, tagHi & PML5E_PREFIX_HIGH, tagHi >>> 4);
    return at >= 0 ? this.take(this.pml5e, at, 5) : 0;
  }

  private take(cache: Tlb, at: number, level: number): number {
    cache.touch(at);
    this.dataLo = cache.entries[at + 2] as number;
    this.dataHi = cache.entries[at + 3] as number;
    return level;
  }

  /**
   * Keeps an entry of the address last looked for, of a level where it was not found.
   * @param ands @param ors R/W and U/S, and XD, combined over this entry and those above
   * @returns whether there is a cache for the level
   */
  keep(level: number, entryHi: number, entryLo: number, ands: number, ors: number): boolean {
    this.dataLo = (entryLo & ADDRESS_LOW) | (ands & COMBINED);
    this.dataHi = (entryHi & ADDRESS_HIGH) | (ors & XD_HIGH);
    const { tagLo, tagHi, dataLo, dataHi } = this;
    if (level === 2) this.pde.insertNew(tagLo & PDE_PREFIX, tagHi, dataLo, dataHi, tagLo >>> 9);
    else if (level === 3) this.pdpte.insertNew(tagLo & PDPTE_PREFIX, tagHi, dataLo, dataHi, tagLo >>> 18);
    else if (level === 4) this.pml4e.insertNew(tagLo & PML4E_PREFIX, tagHi, dataLo, dataHi, tagLo >>> 27);
    else this.pml5e.insertNew(0, tagHi & PML5E_PREFIX_HIGH, dataLo, dataHi, tagHi >>> 4);
    return this.caches.levels[level]?.ways !== 0;
  }
}
