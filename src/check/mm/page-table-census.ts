/**
 * Walks the page tables of every address space: counts what maps what, holds each entry against its VMA, and compares the
 * counters of the address space: resident pages by kind, swap entries, bytes of page tables.
 * Left out: `hugetlb_usage` where tables may be shared, as Linux then counts pages for whoever faulted them in.
 * @see Linux kernel/fork.c, `check_mm`; mm/page_table_check.c; mm/memory.c, `zap_pte_range`
 */
import { EntryFlag, pagesPerEntry } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { hstateOfVma, isHugetlbVma } from '../../kernel/mm/hugetlb/hugetlb-vma.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS, type MmStruct } from '../../kernel/mm/mm.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';
import { rootTable } from '../../kernel/mm/page-table-alloc.ts';
import { mmCounter } from '../../kernel/mm/rmap.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_SHARED } from '../../kernel/mm/vma-flags.ts';
import { auditAbsent } from './absent-entries.ts';
import { type Audit, count, frameName, pageName } from './audit.ts';
import { auditContiguous } from './contiguous-runs.ts';
import { auditDeviceLeaf, auditOwner, auditRights, auditZeroLeaf, type Leaf } from './entry-rules.ts';

const TABLE_BYTES = 4096;
const COUNTERS: readonly (readonly [number, string])[] = [
  [MM_FILEPAGES, 'file'],
  [MM_ANONPAGES, 'anonymous'],
  [MM_SHMEMPAGES, 'shmem'],
  [MM_SWAPENTS, 'swap'],
];

export function auditPageTables(audit: Audit): void {
  for (const mm of audit.mms) if (mm.pgd >= 0) new MmCensus(audit, mm).run();
  audit.expectEqual('the number of page tables', audit.kernel.pageTables.count, audit.tables.size);
  for (const [table, uppers] of audit.tables) {
    if (table.freed) audit.report(`${table.name} is freed and in use`);
    audit.expectEqual(`sharers of ${table.name}`, table.sharers, uppers - 1);
  }
}

class MmCensus {
  readonly #audit: Audit;
  readonly #mm: MmStruct;
  readonly #resident = new Int32Array(4);
  #tables = 0;
  #hugetlbPages = 0;
  #shared = false;
  /** The VMA that the last page was in. */
  #vma: VmArea | null = null;

  constructor(audit: Audit, mm: MmStruct) {
    this.#audit = audit;
    this.#mm = mm;
  }

  run(): void {
    const { name, pgtablesBytes, rss, hugetlbUsage } = this.#mm;
    const root = rootTable(this.#mm);
    count(this.#audit.tables, root);
    this.#table(root, 0, true);
    this.#audit.expectEqual(`pgtables_bytes of ${name}`, pgtablesBytes, this.#tables * TABLE_BYTES);
    for (const [counter, kind] of COUNTERS) {
      const counted = this.#resident[counter] as number;
      this.#audit.expectEqual(`the ${kind} counter of ${name}`, rss[counter] as number, counted);
    }
    if (!this.#shared && this.#audit.options.hugetlbUsageMayDiffer !== true)
      this.#audit.expectEqual(`hugetlb_usage of ${name}`, hugetlbUsage, this.#hugetlbPages);
  }

  /** @param first the table's entries are to be counted: no other address space has shown them yet */
  #table(table: TablePage, firstPage: number, first: boolean): void {
    const { pageTables } = this.#audit.kernel;
    const { format } = pageTables;
    const { level } = table;
    const pages = pagesPerEntry(format, level);
    let huge = 0;
    for (let index = 0; index < 512; index++) {
      pageTables.read(table, index);
      const { hi, lo } = pageTables;
      if (format.isNone(hi, lo)) continue;
      const page = firstPage + index * pages;
      if (level < pageTables.lastLevel && format.isTable(hi, lo, level)) {
        this.#lower(pageTables.tableAt(pageTables.frame(level)), page);
      } else if (this.#entry(table, index, page, first)) huge++;
    }
    if (first) this.#deposits(table, huge);
  }

  #lower(table: TablePage, page: number): void {
    const { tables } = this.#audit;
    this.#tables++;
    const first = !tables.has(table);
    count(tables, table);
    if (!first) this.#shared = true;
    this.#table(table, page, first);
  }

  /** For every anonymous huge page there is a table put by, and none else; they count as this address space's. */
  #deposits(table: TablePage, huge: number): void {
    const { deposited } = table;
    this.#audit.expectEqual(`the number of tables put by at ${table.name}`, deposited.length, huge);
    this.#tables += deposited.length;
    for (const each of deposited) count(this.#audit.tables, each);
  }

  /** True: it maps a transparent huge page of anonymous memory. */
  #entry(table: TablePage, index: number, page: number, first: boolean): boolean {
    const { pageTables } = this.#audit.kernel;
    const { level } = table;
    const flags = pageTables.flags(level);
    const vma = this.#vmaOf(page);
    if (vma === null) {
      this.#audit.report(`${pageName(this.#mm, page)} is mapped outside every VMA`);
      return false;
    }
    if ((flags & EntryFlag.Present) === 0) {
      const counter = auditAbsent(this.#audit, vma, page, level);
      if (counter !== -1) this.#resident[counter] = (this.#resident[counter] as number) + 1;
      return false;
    }
    const leaf: Leaf = { vma, page, level, frame: pageTables.frame(level), flags };
    auditRights(this.#audit, leaf);
    if (isHugetlbVma(vma)) this.#hugetlb(leaf, first);
    else this.#leaf(leaf, level === pageTables.lastLevel);
    if ((flags & EntryFlag.Cont) !== 0) auditContiguous(this.#audit, table, index, leaf);
    return level < pageTables.lastLevel && vma.anonymous && !isHugetlbVma(vma);
  }

  #vmaOf(page: number): VmArea | null {
    if (this.#vma?.contains(page) !== true) this.#vma = this.#mm.vmas.lookup(page);
    return this.#vma;
  }

  #hugetlb(leaf: Leaf, first: boolean): void {
    const { frames } = this.#audit.kernel;
    const { vma, page, frame, level } = leaf;
    const { pages, level: expected } = hstateOfVma(vma);
    if (level !== expected || !frames.hasFlag(frame, FrameFlag.Hugetlb) || frames.head(frame) !== frame) {
      this.#audit.report(`${pageName(vma.mm, page)}: ${frameName(frame)} is no huge page of the pool`);
      return;
    }
    auditOwner(this.#audit, leaf);
    this.#hugetlbPages += pages;
    if (first) count(this.#audit.wholes, frame);
    if ((vma.flags & VM_SHARED) !== 0 && pages < 2 ** 18) this.#shared = true;
  }

  #leaf(leaf: Leaf, small: boolean): void {
    const { frames } = this.#audit.kernel;
    const { vma, page, frame } = leaf;
    if ((leaf.flags & EntryFlag.Special) !== 0 && !frames.isZeroFrame(frame)) {
      auditDeviceLeaf(this.#audit, leaf);
      return;
    }
    if (!frames.owns(frame) || frames.refcount(frame) === 0) {
      this.#audit.report(`${pageName(vma.mm, page)} maps ${frameName(frame)}, which is free`);
      return;
    }
    if (!small) this.#wholePage(leaf);
    if (frames.isZeroFrame(frame)) {
      auditZeroLeaf(this.#audit, leaf);
      return;
    }
    auditOwner(this.#audit, leaf);
    const counter = mmCounter(frames, frame);
    this.#resident[counter] = (this.#resident[counter] as number) + (small ? 1 : 2 ** frames.order(frame));
    count(small ? this.#audit.ptes : this.#audit.wholes, frame);
  }

  /** A huge page of ordinary memory: whole in its VMA, and of one folio. */
  #wholePage({ vma, page, frame, level }: Leaf): void {
    const { frames, pageTables } = this.#audit.kernel;
    const pages = pagesPerEntry(pageTables.format, level);
    const place = pageName(vma.mm, page);
    if (page < vma.start || page + pages > vma.end) {
      this.#audit.report(`${place} is a huge page that goes beyond ${vma.name}`);
    }
    if (frames.head(frame) !== frame || 2 ** frames.order(frame) !== pages) {
      this.#audit.report(`${place} maps ${frameName(frame)} whole, which is no folio of ${pages} pages`);
    }
  }
}
