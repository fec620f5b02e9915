/**
 * Finds pages that a program gets with what the last owner has left in them: mapped before anything was written to them since
 * they were allocated. And copies of anonymous pages that differ from what they replace.
 * Left out: memory of devices, and a copy of a page that somebody else has a reference to, who may write to it meanwhile.
 */
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'page-contents';
const PAGE_SIZE = 4096;
const INITIAL_CAPACITY = 512;

export const pageContents: CheckDefinition = {
  name: NAME,
  rule: 'A page is filled or zeroed before a program can reach it, and the copy of an anonymous page has its bytes.',
  source: 'Linux mm/memory.c, `__wp_page_copy_user`, `do_cow_fault`; include/linux/highmem.h; init_on_alloc',
  attach(watch) {
    const pages = new UnfilledPages(watch);
    watch.onRun(() => pages.forget());
    watch.onFrames({ allocated: (frame, order) => pages.allocated(frame, order) });
    watch.onFills((frame) => pages.filled(frame));
    watch.onTableChange((change) => pages.changed(change));
    watch.onReplacement((change, frame) => pages.replaced(change, frame));
  },
};

class UnfilledPages {
  readonly #watch: Watch;
  /** 1 for each frame that nothing was written to since it was allocated, from the first frame on. */
  #unfilled = new Uint8Array(INITIAL_CAPACITY);
  #end = 0;
  readonly #old = new Uint8Array(PAGE_SIZE);
  readonly #copy = new Uint8Array(PAGE_SIZE);

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#unfilled.fill(0, 0, this.#end);
    this.#end = 0;
  }

  allocated(frame: number, order: number): void {
    const at = frame - this.#watch.kernel.frames.firstFrame;
    const end = at + 2 ** order;
    if (end > this.#unfilled.length) {
      const bigger = new Uint8Array(Math.max(end, 2 * this.#unfilled.length));
      bigger.set(this.#unfilled);
      this.#unfilled = bigger;
    }
    if (end > this.#end) this.#end = end;
    if (order === 0) this.#unfilled[at] = 1;
    else this.#unfilled.fill(1, at, end);
  }

  filled(frame: number): void {
    const at = frame - this.#watch.kernel.frames.firstFrame;
    if (at >= 0 && at < this.#end) this.#unfilled[at] = 0;
  }

  changed({ old, next, place, page, pages }: TableChange): void {
    if (next.kind !== EntryKind.Leaf || place.mm === null || old.frame === next.frame) return;
    const first = next.frame - this.#watch.kernel.frames.firstFrame;
    if (first < 0 || first >= this.#end) return;
    for (let at = first; at < first + pages; at++) {
      if (this.#unfilled[at] !== 1) continue;
      const name = `frame 0x${(next.frame + at - first).toString(16)}`;
      const where = `page 0x${(page + at - first).toString(16)} of ${place.mm.name}`;
      this.#watch.report(NAME, `${where} gets ${name}, which nothing was written to since it was allocated`, [
        name,
      ]);
      return;
    }
  }

  /** Just before the copy is mapped. */
  replaced({ next, place, page }: TableChange, old: number): void {
    const { frames, machine } = this.#watch.kernel;
    if (place.mm === null || !frames.owns(old) || !frames.owns(next.frame) || frames.isZeroFrame(old)) return;
    if (!frames.hasFlag(old, FrameFlag.Anon) || frames.isLarge(old)) return;
    // The reference of the fault, and of what maps it: nobody else can have written to it since it was copied.
    const cached = frames.hasFlag(old, FrameFlag.SwapCache) ? 1 : 0;
    if (frames.refcount(old) > frames.mapcount(old) + cached + 1) return;
    machine.memory.readBytes(old, 0, this.#old);
    machine.memory.readBytes(next.frame, 0, this.#copy);
    const at = this.#old.findIndex((byte, index) => byte !== this.#copy[index]);
    if (at < 0) return;
    const name = `frame 0x${next.frame.toString(16)}`;
    const where = `page 0x${page.toString(16)} of ${place.mm.name}`;
    const text = `${where} gets ${name} as the copy of frame 0x${old.toString(16)}, from which it differs at byte ${at}`;
    this.#watch.report(NAME, text, [name]);
  }
}
