/**
 * Finds translations that a CPU still holds although the page tables say otherwise, and names the flush that is
 * missing: the one that was left out, or the one nobody asked for. An entry that allows less than the page table is
 * not stale in this sense: a processor may keep it, the access faults and is made again (mm.md §9, "spurious fault").
 * Left out: paging-structure caches, and entries of address spaces that no longer exist.
 */
import { EntryFlag } from '../arch/paging-format.ts';
import type { CachedTranslation, TlbView } from '../arch/tlb-view.ts';
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
  /** The CPU that asked, and the task on it. */
  readonly cpu: number;
  readonly task: string;
}

export interface StaleTranslation {
  readonly cached: CachedTranslation;
  /** The page that is looked at, when the entry maps several. */
  readonly page: number;
  /** What is wrong, in words: `writable, the page table says read-only`. */
  readonly difference: string;
  /** The flush that should have removed it; null when nobody asked for one. */
  readonly missing: OmittedFlush | null;
  /** The instruction that would remove it there. */
  readonly invalidation: string;
}

/** Every stale translation of user pages on every CPU, each page of an address space once per CPU. */
export function staleTranslations(
  kernel: Kernel,
  view: TlbView,
  omitted: readonly OmittedFlush[] = [],
): StaleTranslation[] {
  const mms = new Map<string, MmStruct>();
  for (const { mm } of kernel.tasks.values()) if (mm?.context != null) mms.set(mm.context.name, mm);
  const contexts = [...mms.values()].flatMap(({ context }) => (context === null ? [] : [context]));
  const found = new Map<string, StaleTranslation>();
  for (const { id } of kernel.machine.cpus) {
    for (const cached of view.cachedTranslations(id, contexts)) {
      const key = `${id} ${cached.mm} ${cached.page}`;
      const difference = found.has(key) ? null : staleDifference(kernel, mms, cached);
      if (difference === null) continue;
      found.set(key, {
        cached,
        page: cached.page,
        difference,
        missing: omitted.findLast((flush) => covers(flush, cached)) ?? null,
        invalidation: view.invalidationOf(cached.page, cached.asid),
      });
    }
  }
  return [...found.values()];
}

/** How an entry that user space can reach goes beyond the page table; null when it does not. */
function staleDifference(
  kernel: Kernel,
  mms: ReadonlyMap<string, MmStruct>,
  cached: CachedTranslation,
): string | null {
  const mm = cached.mm === null ? undefined : mms.get(cached.mm);
  if (mm === undefined || !cached.trusted || (cached.flags & EntryFlag.User) === 0) return null;
  // A change of page tables is under way, and its flush is still to come.
  if (mm.tlbFlushPending > 0) return null;
  return differenceOf(kernel, mm, cached);
}

const covers = (flush: OmittedFlush, cached: CachedTranslation): boolean =>
  flush.mm === cached.mm && flush.startPage < cached.page + cached.pages && flush.endPage > cached.page;

/** How the entry goes beyond what the page table grants now, or null. */
function differenceOf(kernel: Kernel, mm: MmStruct, cached: CachedTranslation): string | null {
  const { pageTables } = kernel;
  if (mm.pgd < 0) return null;
  const there = pageTables.lookupPte(rootTable(mm), cached.page);
  const flags = there ? pageTables.flags(pageTables.lastLevel) : 0;
  if ((flags & EntryFlag.Present) === 0 || (flags & EntryFlag.Protnone) !== 0) {
    return `maps frame ${hex(cached.frame)}, the page table maps nothing`;
  }
  const frame = pageTables.frame(pageTables.lastLevel);
  if (frame !== cached.frame) {
    return `maps frame ${hex(cached.frame)}, the page table maps frame ${hex(frame)}`;
  }
  if ((cached.flags & ~flags & EntryFlag.Write) !== 0) return 'allows writing, the page table does not';
  if ((cached.flags & ~flags & EntryFlag.Exec) !== 0) return 'allows execution, the page table does not';
  if ((cached.flags & ~flags & EntryFlag.User) !== 0) return 'allows user access, the page table does not';
  return null;
}

/** Two lines: what is stale where, and which flush is missing. */
export function describeStale({ cached, difference, missing, invalidation }: StaleTranslation): string[] {
  const address = hex(BigInt(cached.page) << 12n);
  const owner = `cpu ${cached.cpu}, ${cached.cache}: ${address} of ${cached.mm} ${difference}`;
  if (missing === null)
    return [owner, `missing: ${invalidation} on cpu ${cached.cpu}; no flush was asked for`];
  const range = `${hex(BigInt(missing.startPage) << 12n)}-${hex(BigInt(missing.endPage) << 12n)}`;
  const asked = `${missing.operation}(${missing.mm}, ${range}) of ${missing.task} on cpu ${missing.cpu}`;
  return [owner, `missing: ${invalidation} on cpu ${cached.cpu}, by ${asked}, which was left out`];
}
