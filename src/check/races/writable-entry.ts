/**
 * Finds entries that allow writing where a write would be seen by somebody it must not be seen by: the zero page, a page of a
 * file in a private mapping, anonymous memory that is not this mapping's alone, a mapping that is not writable. An entry is
 * looked at when it is made; what other entries of the same page allow, when the page comes to be shared.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_MIXEDMAP, VM_PFNMAP, VM_SHARED, VM_WRITE } from '../../kernel/mm/vma-flags.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'writable-entry';

export const writableEntry: CheckDefinition = {
  name: NAME,
  rule: 'An entry allows writing only where its mapping does, and in a private mapping only to an exclusive anonymous page.',
  source:
    'Linux mm/memory.c, `do_wp_page`, `wp_can_reuse_anon_folio`; include/linux/page-flags.h, PageAnonExclusive; CVE-2020-29374',
  attach(watch) {
    watch.mappings();
    const unfolded = new UnfoldedRun();
    watch.onRun(() => unfolded.forget());
    watch.onTableChange((change) => {
      if (!unfolded.putsBack(change)) look(watch, change);
    });
  },
};

function look(watch: Watch, change: TableChange): void {
  const { next, old, place } = change;
  if (next.kind !== EntryKind.Leaf || place.mm === null) return;
  if (!watch.kernel.frames.owns(next.frame)) return;
  const same = old.kind === EntryKind.Leaf && old.frame === next.frame;
  const gained = next.flags & ~(same ? old.flags : 0) & EntryFlag.Write;
  const text = gained !== 0 ? whyNotWritable(watch, change) : same ? null : whyNotShared(watch, change);
  if (text === null) return;
  const frame = `frame 0x${next.frame.toString(16)}`;
  const where = `page 0x${change.page.toString(16)} of ${place.mm.name}`;
  watch.report(NAME, `${where} maps ${frame} ${text}`, [frame, change.table.name]);
}

/** Why the entry must not allow writing; null when it may. */
function whyNotWritable(watch: Watch, change: TableChange): string | null {
  const { frames } = watch.kernel;
  const { next, place, page } = change;
  if (frames.isZeroFrame(next.frame)) return 'for writing: the zero page';
  const vma = place.mm?.vmas.find(page) ?? null;
  if (vma === null || vma.start > page) return null;
  if (vma.mm !== place.mm || (vma.flags & (VM_PFNMAP | VM_MIXEDMAP)) !== 0) return null;
  // While mprotect is at work, entries may still be what the mapping was before.
  if ((vma.flags & VM_WRITE) === 0 && !vma.mm.mmapWriteLocked)
    return `for writing: ${vma.name} is not writable`;
  return (vma.flags & (VM_SHARED | VM_WRITE)) !== VM_WRITE ? null : whyNotPrivate(watch, change, vma);
}

function whyNotPrivate(watch: Watch, change: TableChange, vma: VmArea): string | null {
  const { frames } = watch.kernel;
  const { frame } = change.next;
  const flags = frames.flags(frame);
  if ((flags & FrameFlag.Anon) === 0) return `for writing: a page of a file, and ${vma.name} is private`;
  if ((flags & FrameFlag.AnonExclusive) === 0) return 'for writing: it is not exclusive';
  return isShared(watch, change) ? 'for writing: another entry maps it, too' : null;
}

/** With the entry that is made, which is counted already. */
function isShared(watch: Watch, { next, pages }: TableChange): boolean {
  const mappings = watch.mappings();
  return (pages > 1 ? mappings.wholes(next.frame) : mappings.ptes(next.frame)) > 1;
}

/** Somebody else may map it for writing, or may soon. */
function whyNotShared(watch: Watch, change: TableChange): string | null {
  const { next, pages } = change;
  const { frames } = watch.kernel;
  if (!frames.hasFlag(next.frame, FrameFlag.Anon) || !isShared(watch, change)) return null;
  const mappings = watch.mappings();
  const others = pages > 1 ? mappings.writableWholes(next.frame) : mappings.writablePtes(next.frame);
  if (others > 0) return 'a second time while another entry allows writing to it';
  return frames.hasFlag(next.frame, FrameFlag.AnonExclusive) ? 'a second time, and it is exclusive' : null;
}

/** Entries of a run of contiguous ones are taken out and put back, one by one, where a single one is to change. */
class UnfoldedRun {
  readonly #frames = new Map<number, number>();
  #table: TablePage | null = null;

  forget(): void {
    this.#frames.clear();
    this.#table = null;
  }

  /** Comes back what a run has had there? */
  putsBack({ table, index, old, next }: TableChange): boolean {
    if (old.kind === EntryKind.Leaf && (old.flags & EntryFlag.Cont) !== 0 && next.kind === EntryKind.None) {
      if (table !== this.#table) this.#frames.clear();
      this.#table = table;
      this.#frames.set(index, (old.flags & EntryFlag.Write) !== 0 ? old.frame : -1);
      return false;
    }
    if (this.#frames.size === 0 || table !== this.#table || this.#frames.get(index) !== next.frame)
      return false;
    this.#frames.delete(index);
    return old.kind === EntryKind.None;
  }
}
