/**
 * Finds faults that are handled by a mapping that does not hold their page, entries that are made where no mapping is, and
 * entries that allow reading, writing or execution which the mapping at their page does not. What is made is looked at in
 * the step in which it is made; what stays when rights are taken away, `rights-after-call` finds.
 * Left out: huge pages of pools, whose tables may be in several address spaces; mappings that are being changed, whose writer
 * has mmap_lock: its entries may still be those of the mapping as it was.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_ACCESS_FLAGS, VM_EXEC, VM_WRITE } from '../../kernel/mm/vma-flags.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type EntryState, isVisible, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'entry-beyond-mapping';
const WRITABLE = EntryFlag.Write | EntryFlag.ShadowStack;

export const entryBeyondMapping: CheckDefinition = {
  name: NAME,
  rule: 'A fault is handled by the mapping that holds its page, and an entry gives no right that its mapping does not.',
  source:
    'Linux mm/mmap_lock.c, lock_vma_under_rcu; mm/memory.c, handle_mm_fault; mm/mprotect.c, change_pte_range; mm/vma.c, vma_set_page_prot',
  attach(watch) {
    watch.onKernel({ faults: (current, vma, page) => handles(watch, current.name, vma, page) });
    watch.onTableChange((change) => {
      const { next, place } = change;
      if (next.kind === EntryKind.Leaf && place.mm !== null) watch.unwatched(() => look(watch, change));
    });
  },
};

function handles(watch: Watch, task: string, vma: VmArea, page: number): void {
  if (watch.unwatched(() => vma.start <= page && page < vma.end)) return;
  const text = `${task} handles a fault at page 0x${page.toString(16)} by ${vma.name}, which does not hold it`;
  watch.report(NAME, text, [vma.name]);
}

function look(watch: Watch, change: TableChange): void {
  const { next, old, place, page, table } = change;
  const { mm } = place;
  // Before the first task runs, and of an address space that is being put together or taken down, nobody uses what is there.
  if (mm === null || mm.mmUsers === 0 || watch.stepping() === null || isOfPool(watch, next.frame)) return;
  const gained = rights(next) & ~(old.kind === EntryKind.Leaf && old.frame === next.frame ? rights(old) : 0);
  if (gained === 0) return;
  const wrong = whyNot(mm.vmas.lookup(page), gained);
  if (wrong === null) return;
  const where = `page 0x${page.toString(16)} of ${mm.name}`;
  watch.report(NAME, `the entry of ${where} comes to map frame 0x${next.frame.toString(16)} ${wrong}`, [
    table.name,
  ]);
}

/** `EntryFlag` bits of what the entry lets a program do. */
function rights(state: EntryState): number {
  if (!isVisible(state) || (state.flags & (EntryFlag.User | EntryFlag.Exec | WRITABLE)) === 0) return 0;
  return state.flags & (EntryFlag.Present | EntryFlag.Exec | WRITABLE);
}

function whyNot(vma: VmArea | null, gained: number): string | null {
  if (vma === null) return 'where no mapping is';
  const { flags, mm, name } = vma;
  if (mm.mmapWriteLocked) return null;
  if ((flags & VM_ACCESS_FLAGS) === 0) return `for the program: ${name} allows nothing`;
  if ((gained & WRITABLE) !== 0 && (flags & VM_WRITE) === 0) return `for writing: ${name} is not writable`;
  if ((gained & EntryFlag.Exec) === 0 || (flags & VM_EXEC) !== 0) return null;
  return `for execution: ${name} is not executable`;
}

/** Tables with huge pages of a pool may be in several address spaces, of which a change knows one. */
function isOfPool({ kernel: { frames } }: Watch, frame: number): boolean {
  return frame !== -1 && frames.owns(frame) && frames.hasFlag(frames.head(frame), FrameFlag.Hugetlb);
}
