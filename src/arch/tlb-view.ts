/**
 * What a CPU's translation caches hold, as a checker may look at it: read only, without the effects of a translation.
 * The architecture says which address space an entry belongs to, as far as its own bookkeeping can tell.
 */
import type { MmContext } from './kernel-arch.ts';

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
  /** Name of the mm it belongs to (`MmContext.name`); null when its number stands for none of those given. */
  readonly mm: string | null;
  /**
   * The kernel believes it to be up to date, so an access may use it. False while a flush that was asked for is still
   * to come: before the interrupt is taken, or before the next switch to the mm.
   */
  readonly trusted: boolean;
}

export interface TlbView {
  /** Everything CPU `cpu` has cached; the same page may stand in several caches. `contexts`: the mms there are. */
  cachedTranslations(cpu: number, contexts: readonly MmContext[]): CachedTranslation[];
  /** What invalidates one page on a CPU, as the manual writes it: `INVLPG 0x1000`. */
  invalidationOf(page: number, asid: number): string;
}
