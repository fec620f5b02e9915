/**
 * What a CPU's translation caches hold, as a checker may look at it: read only, without the effects of a translation.
 * The architecture says which address space an entry belongs to, as far as its own bookkeeping can tell.
 */

/** One cached translation in the words of the generic kernel. */
export interface CachedTranslation {
  /** Index of the CPU. */
  readonly cpu: number;
  /** `L1 DTLB`, `L1 ITLB`, `L2 TLB`. */
  readonly cache: string;
  /** First page number that it maps, and how many pages. */
  readonly page: number;
  readonly pages: number;
  readonly frame: number;
  /** `EntryFlag` bits it grants: Present, Write, User, Exec, Dirty, Global. */
  readonly flags: number;
  /** PCID or ASID it is tagged with; -1 for a global one. */
  readonly asid: number;
  /** Name of the mm it belongs to (`MmContext.name`); null when its number stands for none any more. */
  readonly mm: string | null;
  /** An access by the mm as it is loaded now (or after the next switch without a flush) may use it. */
  readonly reachable: boolean;
}

export interface TlbView {
  /** Everything CPU `cpu` has cached; the same page may stand in several caches. */
  cachedTranslations(cpu: number): CachedTranslation[];
  /** What invalidates one page on a CPU, as the manual writes it: `INVLPG 0x1000`. */
  invalidationOf(page: number, asid: number): string;
}
