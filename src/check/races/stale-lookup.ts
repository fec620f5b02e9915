/**
 * Finds pages that somebody has got from tables which had changed under him: read without a lock, an entry says what was
 * mapped, and the frame may be another's by the time a reference to it is taken. What counts is that the page was mapped
 * there when the reference was taken, or after that: cleared later it is still what the program had there.
 * Left out: who holds several references to one folio is believed as if each were the first of them.
 */
import { untaggedPageRemoteUnlocked } from '../../kernel/gup/get-user-pages-loop.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { rootTable } from '../../kernel/mm/page-table-alloc.ts';
import type { RemoteTransfer } from '../../kernel/remote/design.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import { placeInTransfer } from './transfer-place.ts';
import type { Watch } from './watch.ts';

const NAME = 'stale-lookup';
const PAGE_SIZE = 4096;

export const staleLookup: CheckDefinition = {
  name: NAME,
  rule: 'A page that is got, or copied from, was mapped at its address when the reference to it was taken, or later.',
  source: 'Linux mm/gup.c, `gup_fast_pte_range`: the looks at pmd and pte after `try_grab_folio_fast`',
  attach(watch) {
    const lookups = new Lookups(watch);
    watch.onRun(() => lookups.forget());
    watch.onReferences({
      counted: (head, references) => {
        if (references > 0) lookups.counted(head);
      },
    });
    watch.onTableChange((change) => lookups.changed(change));
    watch.onFrames({ freed: (head) => lookups.freed(head) });
    watch.onKernel({
      grabbed: (current, mm, _vma, page, frame) => lookups.got(current, mm, page, frame),
      left: (current) => lookups.left(current),
    });
    watch.onRemote({
      begins: (current, transfer) => lookups.begins(current, transfer),
      copied: (current, frame, _offset, buffer, at) => lookups.copied(current, frame, buffer, at),
      ends: (current) => lookups.ends(current),
    });
  },
};

/** Pages that a frame was mapped at, and is no more. */
interface Unmapped {
  readonly mm: MmStruct;
  readonly page: number;
  readonly pages: number;
}

class Lookups {
  readonly #watch: Watch;
  /** By task and folio, from its first reference on: what was unmapped since. */
  #held = new Map<TaskStruct, Map<number, Unmapped[] | null>>();
  #transfers = new Map<TaskStruct, RemoteTransfer>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    if (this.#held.size > 0) this.#held = new Map();
    if (this.#transfers.size > 0) this.#transfers = new Map();
  }

  counted(head: number): void {
    const task = this.#watch.stepping();
    if (task === null) return;
    const held = this.#held.get(task);
    if (held === undefined) this.#held.set(task, new Map([[head, null]]));
    else if (!held.has(head)) held.set(head, null);
  }

  freed(head: number): void {
    if (this.#held.size === 0) return;
    for (const held of this.#held.values()) held.delete(head);
  }

  left(task: TaskStruct): void {
    if (this.#held.size > 0) this.#held.delete(task);
  }

  /** Just before the change. With a table all that it maps goes. */
  changed({ old, next, place, page, pages }: TableChange): void {
    if (this.#held.size === 0 || place.mm === null) return;
    if (old.kind !== EntryKind.Leaf && old.kind !== EntryKind.Table) return;
    if (old.kind === next.kind && old.frame === next.frame) return;
    const { frames } = this.#watch.kernel;
    const head = old.kind === EntryKind.Leaf && frames.owns(old.frame) ? frames.head(old.frame) : -1;
    for (const held of this.#held.values()) {
      if (head === -1) this.#noteAll(held, place.mm, page, pages);
      else if (held.has(head)) note(held, head, place.mm, page, pages);
    }
  }

  #noteAll(held: Map<number, Unmapped[] | null>, mm: MmStruct, page: number, pages: number): void {
    for (const head of held.keys()) note(held, head, mm, page, pages);
  }

  begins(task: TaskStruct, transfer: RemoteTransfer): void {
    this.#transfers.set(task, transfer);
  }

  ends(task: TaskStruct): void {
    this.#transfers.delete(task);
  }

  copied(task: TaskStruct, frame: number, buffer: Uint8Array, at: number): void {
    const transfer = this.#transfers.get(task);
    if (transfer === undefined) return;
    const first = untaggedPageRemoteUnlocked(task, transfer.mm, transfer.page);
    const place = placeInTransfer(transfer, buffer, at);
    this.got(task, transfer.mm, first + Math.floor((transfer.offset + place) / PAGE_SIZE), frame);
  }

  got(task: TaskStruct, mm: MmStruct, page: number, frame: number): void {
    const { frames } = this.#watch.kernel;
    if (!frames.owns(frame) || frames.isZeroFrame(frame)) return;
    const unmapped = this.#held.get(task)?.get(frames.head(frame));
    // Without a reference it is for others to judge.
    if (unmapped === undefined || this.#isMapped(mm, page, frame)) return;
    if (unmapped?.some((range) => range.mm === mm && range.page <= page && page < range.page + range.pages))
      return;
    const name = `frame 0x${frame.toString(16)}`;
    const where = `page 0x${page.toString(16)} of ${mm.name}`;
    const text = `${task.name} gets ${name} for ${where}, where it was not mapped any more when the reference was taken`;
    this.#watch.report(NAME, text, [name]);
  }

  #isMapped(mm: MmStruct, page: number, frame: number): boolean {
    if (mm.pgd === -1) return true;
    const { pageTables } = this.#watch.kernel;
    const { hi, lo } = pageTables;
    const level = pageTables.lookupLeaf(rootTable(mm), page);
    const mapped = level >= 0 && pageTables.frameInLeaf(page, level) === frame;
    pageTables.hi = hi;
    pageTables.lo = lo;
    return mapped;
  }
}

function note(
  held: Map<number, Unmapped[] | null>,
  head: number,
  mm: MmStruct,
  page: number,
  pages: number,
): void {
  const unmapped = held.get(head);
  if (unmapped === null || unmapped === undefined) held.set(head, [{ mm, page, pages }]);
  else unmapped.push({ mm, page, pages });
}
