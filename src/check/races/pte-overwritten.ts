/**
 * Finds entries that are written over: what was there is lost, with its reference, and TLBs may hold both. It is what becomes
 * of a decision that was made before the lock was let go and is not looked at again.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type EntryState, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'pte-overwritten';

export const pteOverwritten: CheckDefinition = {
  name: NAME,
  rule: 'An entry that maps something is cleared before another page or table comes in its place.',
  source:
    'Linux mm/memory.c, `wp_page_copy`, `pte_same`; mm/page_table_check.c; mm/pgtable-generic.c, `ptep_clear_flush`',
  attach(watch) {
    watch.onTableChange((change) => look(watch, change));
  },
};

function look(watch: Watch, { table, index, place, page, old, next }: TableChange): void {
  if (old.kind === EntryKind.None || next.kind === EntryKind.None || place.mm === null) return;
  if (!isLost(old, next)) return;
  const where = `page 0x${page.toString(16)} of ${place.mm.name}`;
  watch.report(
    NAME,
    `${where}: ${describe(old)} is overwritten by ${describe(next)} (entry ${index} of ${table.name})`,
    [table.name],
  );
}

function isLost(old: EntryState, next: EntryState): boolean {
  if (old.kind === EntryKind.Swap) return next.kind === EntryKind.Table;
  // What is being split is still there, in the table that takes its place.
  if (old.kind === EntryKind.Leaf && next.kind === EntryKind.Table)
    return (old.flags & EntryFlag.Invalid) === 0;
  // Entries that say where the page of the leaf has gone: written over it, where the architecture can (`pmdp_invalidate`).
  if (next.kind === EntryKind.Swap) return old.kind === EntryKind.Table;
  return old.kind !== next.kind || old.frame !== next.frame;
}

const describe = ({ kind, frame }: EntryState): string => {
  if (kind === EntryKind.Swap) return 'an entry that is not present';
  return `${kind === EntryKind.Table ? 'the table in' : 'a mapping of'} frame 0x${frame.toString(16)}`;
};
