/**
 * A run of contiguous leaves is one translation: all of its entries have the mark, name frames that follow each other from
 * an aligned one on, and say the same, but for Young and Dirty, which the hardware may set in any one of them.
 * @see Linux arch/arm64/mm/contpte.c; Arm ARM, "The Contiguous bit", on misprogramming it
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';
import { type Audit, pageName } from './audit.ts';
import type { Leaf } from './entry-rules.ts';

const OF_EACH = EntryFlag.Young | EntryFlag.Dirty;

/** Of an entry with the mark, against the first of its run. */
export function auditContiguous(audit: Audit, table: TablePage, index: number, leaf: Leaf): void {
  const { arch, pageTables } = audit.kernel;
  const place = pageName(leaf.vma.mm, leaf.page);
  const length = arch.contiguousEntries?.count ?? 1;
  const inRun = index % length;
  if (length === 1) audit.report(`${place} is marked contiguous where there are no runs`);
  if (inRun !== 0 && leaf.frame % length !== inRun)
    audit.report(`${place} is in a run of frames not aligned`);
  const neighbour = inRun === length - 1 ? index - inRun : index + 1;
  pageTables.read(table, neighbour);
  const frame = leaf.frame - index + neighbour;
  const different = (pageTables.flags(table.level) ^ leaf.flags) & ~OF_EACH;
  if (different !== 0 || pageTables.frame(table.level) !== frame) {
    audit.report(`${place} is in a run, its neighbour does not continue it`);
  }
}
