/**
 * What a CPU's translation caches hold, as a checker may look at it: read only, without the effects of a translation.
 * The architecture says which address space an entry belongs to, as far as its own bookkeeping can tell.
 */
import type { MmContext } from './kernel-arch.ts';

/** What entries of both kinds of cache have, in the words of the generic kernel. */
interface CachedEntry {
  /** Index of the CPU. */
  readonly cpu: number;
  /** `L1 DTLB`, `L1 ITLB`, `L2 TLB`, `PDE cache`. */
  readonly cache: string;
  /** First page number that it is used for, and how many pages. */
  readonly page: number;
  readonly pages: number;
  /** The first frame it maps, or the frame of the table it names. */
  readonly frame: number;
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

/** One cached translation. */
export interface CachedTranslation extends CachedEntry {
  /** `EntryFlag` bits it grants: Present, Write, User, Exec, Dirty, Global. */
  readonly flags: number;
}

/** One cached upper entry: walks of its pages go on from the table it names. */
export interface CachedTable extends CachedEntry {
  /** Level of the entry, 0 the root, as in `PagingFormat.levels`; the table it names is one level below. */
  readonly level: number;
  /** The CPU runs with this address space loaded: it may walk from the entry at any time, whatever the kernel believes. */
  readonly loaded: boolean;
}

/** Told of one cached translation of a page: the frame that this page is translated to, and `EntryFlag` bits. */
export type TranslationVisitor = (cpu: number, frame: number, flags: number) => void;

export interface TlbView {
  /**
   * Visits what CPU `cpu` would translate a page of an address space with, should it run there: an entry that will be gone
   * before the address space is used again is none, one that waits for an interrupt or a barrier is one. Makes no objects.
   */
  visitTranslations(cpu: number, context: MmContext, page: number, visit: TranslationVisitor): void;
  /** Has CPU `cpu` a cached upper entry, of any address space, that names this frame as a table? */
  namesTable(cpu: number, frame: number): boolean;
  /** Everything CPU `cpu` has cached; the same page may stand in several caches. `contexts`: the mms there are. */
  cachedTranslations(cpu: number, contexts: readonly MmContext[]): CachedTranslation[];
  /** Every upper entry that CPU `cpu` has cached. @param frame only those that name it as a table */
  cachedTables(cpu: number, contexts: readonly MmContext[], frame?: number): CachedTable[];
  /** What invalidates one page on a CPU, as the manual writes it: `INVLPG 0x1000`. */
  invalidationOf(page: number, asid: number): string;
}
