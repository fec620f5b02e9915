/**
 * Finds pages that GUP hands out and must not: for writing through a private mapping, a page that others see; pinned, an
 * anonymous page that its owner may lose to a copy. And anonymous pages that become writable in place while somebody holds a
 * reference that was taken through another address space: it would see what is written.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { FOLL_PIN, FOLL_WRITE } from '../../kernel/gup/foll-flags.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_MIXEDMAP, VM_PFNMAP, VM_SHARED } from '../../kernel/mm/vma-flags.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'gup-page';
const EXCLUSIVE = FrameFlag.Anon | FrameFlag.AnonExclusive;

export const gupPage: CheckDefinition = {
  name: NAME,
  rule: 'Who gets a page to write to through a private mapping, or pins it, gets the page that this mapping alone maps.',
  source:
    'Linux mm/gup.c, `can_follow_write_pte`, `sanity_check_pinned_pages`; CVE-2016-5195, CVE-2020-29374, CVE-2022-2590',
  attach(watch) {
    watch.mappings();
    watch.pins();
    const references = new ForeignReferences(watch);
    const pinned = new PinnedPages(watch);
    watch.onRun(() => {
      references.forget();
      pinned.forget();
    });
    watch.onKernel({
      grabbed: (_current, mm, vma, page, frame, gupFlags) => {
        look(watch, vma, page, frame, gupFlags);
        references.grabbed(mm, frame);
        if ((gupFlags & FOLL_PIN) !== 0) pinned.grabbed(frame);
      },
    });
    watch.onTableChange((change) => {
      references.changed(change);
      pinned.changed(change);
    });
    watch.onReferences({
      counted: (head, _references, pins) => {
        references.counted(head);
        if (pins < 0) pinned.unpinned(head);
      },
    });
  },
};

function look(watch: Watch, vma: VmArea | null, page: number, frame: number, gupFlags: number): void {
  const { frames } = watch.kernel;
  if (!frames.owns(frame)) return;
  const text = whyNot(watch, vma, frame, gupFlags);
  if (text === null) return;
  const name = `frame 0x${frame.toString(16)}`;
  watch.report(NAME, `GUP gives ${name} for page 0x${page.toString(16)} ${text}`, [name]);
}

function whyNot({ kernel }: Watch, vma: VmArea | null, frame: number, gupFlags: number): string | null {
  const { frames } = kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  if (frames.isZeroFrame(frame)) return write ? 'for writing: the zero page' : null;
  const flags = frames.flags(frame) | (frames.flags(frames.head(frame)) & FrameFlag.AnonExclusive);
  const exclusive = (flags & EXCLUSIVE) === EXCLUSIVE;
  if ((gupFlags & FOLL_PIN) !== 0 && (flags & FrameFlag.Anon) !== 0 && !exclusive) {
    return 'pinned: anonymous, and not exclusive';
  }
  if (!write || vma === null || exclusive) return null;
  if ((vma.flags & (VM_SHARED | VM_PFNMAP | VM_MIXEDMAP)) !== 0) return null;
  const what = (flags & FrameFlag.Anon) !== 0 ? 'shared copy-on-write' : 'a page of a file';
  return `for writing: ${what}, and ${vma.name} is private`;
}

/** References to anonymous pages that were shared when they were taken, and through which address space. */
class ForeignReferences {
  readonly #watch: Watch;
  #holders = new Map<number, MmStruct[]>();

  forget(): void {
    this.#holders = new Map();
  }

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  grabbed(mm: MmStruct, frame: number): void {
    const { frames } = this.#watch.kernel;
    if (!frames.owns(frame) || frames.isLarge(frame)) return;
    if ((frames.flags(frame) & EXCLUSIVE) !== FrameFlag.Anon) return;
    const holders = this.#holders.get(frame);
    if (holders === undefined) this.#holders.set(frame, [mm]);
    else if (!holders.includes(mm)) holders.push(mm);
  }

  /** Once there are no more references than mappings, all of them are given back. */
  counted(head: number): void {
    if (this.#holders.size === 0 || !this.#holders.has(head)) return;
    const { frames } = this.#watch.kernel;
    const cached = frames.hasFlag(head, FrameFlag.SwapCache) ? 1 : 0;
    if (frames.refcount(head) <= frames.folioMapcount(head) + cached) this.#holders.delete(head);
  }

  /** A page that was read-only becomes writable where it is. */
  changed({ old, next, place, page }: TableChange): void {
    if (this.#holders.size === 0 || next.kind !== EntryKind.Leaf || old.kind !== EntryKind.Leaf) return;
    if (old.frame !== next.frame || (next.flags & ~old.flags & EntryFlag.Write) === 0) return;
    this.counted(next.frame);
    const other = this.#holders.get(next.frame)?.find((mm) => mm !== place.mm);
    if (other === undefined || place.mm === null) return;
    const name = `frame 0x${next.frame.toString(16)}`;
    const where = `page 0x${page.toString(16)} of ${place.mm.name}`;
    this.#watch.report(
      NAME,
      `${where}: ${name} becomes writable while a reference taken by ${other.name} is held`,
      [name],
    );
  }
}

/** Pins that GUP has given to somebody: not those that it takes, looks again, and gives back itself. */
class PinnedPages {
  readonly #watch: Watch;
  readonly #pins = new Map<number, number>();

  forget(): void {
    this.#pins.clear();
  }

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  grabbed(frame: number): void {
    const { frames } = this.#watch.kernel;
    if (!frames.owns(frame) || frames.isLarge(frame) || !frames.hasFlag(frame, FrameFlag.Anon)) return;
    this.#pins.set(frame, (this.#pins.get(frame) ?? 0) + 1);
  }

  unpinned(head: number): void {
    const given = this.#pins.get(head);
    if (given === undefined) return;
    const left = Math.min(given, this.#watch.pins().pins(head));
    if (left <= 0) this.#pins.delete(head);
    else this.#pins.set(head, left);
  }

  /** A second entry would make the page one that its owner copies at the next write, and the pin would be of the old one. */
  changed(change: TableChange): void {
    if (this.#pins.size === 0) return;
    const { old, next, place, page } = change;
    this.#takenAside(change);
    if (next.kind !== EntryKind.Leaf || !this.#pins.has(next.frame)) return;
    if ((old.kind === EntryKind.Leaf && old.frame === next.frame) || place.mm === null) return;
    if (this.#watch.mappings().ptes(next.frame) < 2) return;
    const name = `frame 0x${next.frame.toString(16)}`;
    const where = `page 0x${page.toString(16)} of ${place.mm.name}`;
    this.#watch.report(NAME, `${where} shares ${name}, which is pinned`, [name]);
  }

  /** Who empties a table that he has taken aside has copied its pages: the owner of a pin would go on with the old ones. */
  #takenAside({ table, old, next, place }: TableChange): void {
    if (place.mm !== null || place.base < 0 || old.kind !== EntryKind.Leaf || next.kind !== EntryKind.None)
      return;
    if (!this.#pins.has(old.frame)) return;
    const name = `frame 0x${old.frame.toString(16)}`;
    this.#watch.report(NAME, `${name}, which is pinned, is replaced with all of ${table.name}`, [name]);
  }
}
