/**
 * Finds translations that a CPU still holds although the page tables say otherwise, and names the flush that is
 * missing: the one that was left out, or the one nobody asked for. An entry that allows less than the page table is
 * not stale in this sense: a processor may keep it, the access faults and is made again (a spurious fault).
 * A cached upper entry is stale when the table it names is no longer the one that the tables above lead to: it may
 * have been freed, and a CPU that has the address space loaded may walk through it at any time.
 * Left out: the rights that cached upper entries combine, and entries of address spaces that no longer exist. Reclaim
 * holds none of this between the unmapping of a page and the flush of its batch: entries are called stale there.
 */
import { EntryFlag, pagesPerEntry, tableIndex } from '../arch/paging-format.ts';
import type { CachedTable, CachedTranslation, TlbView } from '../arch/tlb-view.ts';
import { hex } from '../base/u64.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { MmStruct } from '../kernel/mm/mm.ts';
import { rootTable } from '../kernel/mm/page-table-alloc.ts';

/** A flush that the kernel asked for and that was not done. */
export interface OmittedFlush {
  readonly mm: string;
  /** The kernel function: `flush_tlb_range`. */
  readonly operation: string;
  readonly startPage: number;
  readonly endPage: number;
  /** Tables of the range were about to be freed: it was to reach paging-structure caches as well. */
  readonly freedTables: boolean;
  /** The CPU that asked, and the task on it. */
  readonly cpu: number;
  readonly task: string;
}

export interface StaleTranslation {
  readonly cached: CachedTranslation | CachedTable;
  /** The page that is looked at, when the entry maps several. */
  readonly page: number;
  /** What is wrong, in words: `writable, the page table says read-only`. */
  readonly difference: string;
  /** The flush that should have removed it; null when nobody asked for one. */
  readonly missing: OmittedFlush | null;
  /** The instruction that would remove it there. */
  readonly invalidation: string;
}

/** Every stale translation of user pages, and every stale upper entry, on every CPU: each place once per CPU. */
export function staleTranslations(
  kernel: Kernel,
  view: TlbView,
  omitted: readonly OmittedFlush[] = [],
): StaleTranslation[] {
  const mms = new Map<string, MmStruct>();
  for (const { mm } of kernel.tasks.values()) if (mm?.context != null) mms.set(mm.context.name, mm);
  const contexts = [...mms.values()].flatMap(({ context }) => (context === null ? [] : [context]));
  if (contexts.length === 0) return [];
  const found = new Map<string, StaleTranslation>();
  const note = (cached: CachedTranslation | CachedTable, difference: string | null): void => {
    const key = `${cached.cpu} ${cached.mm} ${cached.page} ${levelOf(cached)}`;
    if (difference === null || found.has(key)) return;
    found.set(key, {
      cached,
      page: cached.page,
      difference,
      missing: omitted.findLast((flush) => covers(flush, cached)) ?? null,
      invalidation: view.invalidationOf(cached.page, cached.asid),
    });
  };
  for (const { id } of kernel.machine.cpus) {
    for (const cached of view.cachedTranslations(id, contexts))
      note(cached, staleDifference(kernel, mms, cached));
    for (const cached of view.cachedTables(id, contexts)) note(cached, staleTable(kernel, mms, cached));
  }
  return [...found.values()];
}

const levelOf = (cached: CachedTranslation | CachedTable): number => ('level' in cached ? cached.level : -1);

/** How a cached upper entry differs from what the tables above it lead to; null when it does not. */
function staleTable(kernel: Kernel, mms: ReadonlyMap<string, MmStruct>, cached: CachedTable): string | null {
  const mm = cached.mm === null ? undefined : mms.get(cached.mm);
  if (mm === undefined || mm.pgd < 0 || isChanging(mm)) return null;
  if (!cached.trusted && !cached.loaded) return null;
  const { pageTables } = kernel;
  if (pageTables.lookup(rootTable(mm), cached.page, cached.level)?.lock.isLocked()) return null;
  const linked = pageTables.lookup(rootTable(mm), cached.page, cached.level + 1);
  if (linked?.frame === cached.frame) return null;
  const named = `still leads to a ${kernel.arch.format.levels[cached.level + 1]?.name} table in frame ${hex(cached.frame)}`;
  return linked === null
    ? `${named}, which was taken away`
    : `${named}, which is in frame ${hex(linked.frame)}`;
}

/** How an entry that user space can reach goes beyond the page table; null when it does not. */
function staleDifference(
  kernel: Kernel,
  mms: ReadonlyMap<string, MmStruct>,
  cached: CachedTranslation,
): string | null {
  const mm = cached.mm === null ? undefined : mms.get(cached.mm);
  if (mm === undefined || !cached.trusted || (cached.flags & EntryFlag.User) === 0) return null;
  return isChanging(mm) ? null : differenceOf(kernel, mm, cached);
}

/** A change of page tables is under way, and its flush may still be to come. */
const isChanging = (mm: MmStruct): boolean => mm.tlbFlushPending > 0 || mm.mmapWriteLocked;

const covers = (flush: OmittedFlush, cached: CachedTranslation | CachedTable): boolean =>
  (flush.freedTables || !('level' in cached)) &&
  flush.mm === cached.mm &&
  flush.startPage < cached.page + cached.pages &&
  flush.endPage > cached.page;

/**
 * What the tables say of a page, whatever the level of the entry that says it, where this entry ends, and whether the lock
 * of its table is held.
 */
function leafOf(
  kernel: Kernel,
  mm: MmStruct,
  page: number,
): { readonly flags: number; readonly frame: number; readonly end: number; readonly locked: boolean } {
  const { pageTables } = kernel;
  const { format } = pageTables;
  let table = rootTable(mm);
  for (;;) {
    const { level } = table;
    pageTables.read(table, tableIndex(format, page, level));
    if (!format.isTable(pageTables.hi, pageTables.lo, level)) {
      const pages = pagesPerEntry(format, level);
      const inLeaf = page % pages;
      return {
        flags: pageTables.flags(level),
        frame: pageTables.frame(level) + inLeaf,
        end: page - inLeaf + pages,
        locked: table.lock.isLocked(),
      };
    }
    table = pageTables.tableAt(pageTables.frame(level));
  }
}

/**
 * How the entry goes beyond what the page table grants now, or null. One for many pages is held against every leaf that
 * there is for them: a part may have been taken away.
 */
function differenceOf(kernel: Kernel, mm: MmStruct, cached: CachedTranslation): string | null {
  if (mm.pgd < 0) return null;
  for (let page = cached.page; page < cached.page + cached.pages; ) {
    const leaf = leafOf(kernel, mm, page);
    const inside = page - cached.page;
    const difference = leaf.locked
      ? null
      : leafDifference(cached.flags, cached.frame + inside, leaf.flags, leaf.frame);
    if (difference !== null) return inside === 0 ? difference : `${difference} (${inside} pages further on)`;
    page = leaf.end;
  }
  return null;
}

/** Of one page: what is cached against what is in the table. */
function leafDifference(cachedFlags: number, cached: number, flags: number, frame: number): string | null {
  if ((flags & EntryFlag.Present) === 0 || (flags & (EntryFlag.Protnone | EntryFlag.Invalid)) !== 0) {
    return `maps frame ${hex(cached)}, the page table maps nothing`;
  }
  if (frame !== cached) return `maps frame ${hex(cached)}, the page table maps frame ${hex(frame)}`;
  if ((cachedFlags & ~flags & EntryFlag.Write) !== 0) return 'allows writing, the page table does not';
  if ((cachedFlags & ~flags & EntryFlag.Exec) !== 0) return 'allows execution, the page table does not';
  if ((cachedFlags & ~flags & EntryFlag.User) !== 0) return 'allows user access, the page table does not';
  return null;
}

/** Two lines: what is stale where, and which flush is missing. */
export function describeStale({ cached, difference, missing, invalidation }: StaleTranslation): string[] {
  const address = hex(BigInt(cached.page) << 12n);
  const owner = `cpu ${cached.cpu}, ${cached.cache}: ${address} of ${cached.mm} ${difference}`;
  const wanted = `missing: ${invalidation} on cpu ${cached.cpu}`;
  if (missing === null) {
    const flush = 'level' in cached ? 'flush with freed_tables' : 'flush';
    return [owner, `${wanted}; no ${flush} was asked for`];
  }
  const range = `${hex(BigInt(missing.startPage) << 12n)}-${hex(BigInt(missing.endPage) << 12n)}`;
  const tables = missing.freedTables ? ', freed_tables' : '';
  const asked = `${missing.operation}(${missing.mm}, ${range}${tables}) of ${missing.task} on cpu ${missing.cpu}`;
  return [owner, `${wanted}, by ${asked}, which was left out`];
}
