/**
 * Which pages have valid memory tags (`PG_mte_tagged`), and keeping it so: tags are cleared when a page is first mapped
 * where user space can get at them, and go along when a page is copied. A page that was never mapped so has tags of
 * whoever had the frame before; no program can see those. A debugger can: of shared memory that has only ever been mapped
 * with PROT_NONE, where Linux does not call `mte_sync_tags`, gives a warning (WARN_ON_ONCE) and shows the tags.
 * Of a huge page of hugetlb each small page is marked for itself, where Linux marks the whole.
 * @see Linux arch/arm64/kernel/mte.c `mte_sync_tags`; arch/arm64/mm/copypage.c `copy_highpage`; arch/arm64/mm/fault.c
 * `tag_clear_highpage`; arch/arm64/mm/mteswap.c; arch/arm64/kernel/cpufeature.c `cpu_enable_mte`
 */
import type { MemoryTags } from '../../arch/thread-state.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';

const PAGE_BYTES = 4096;

export class PageTags {
  readonly #frames: FrameTable;
  readonly #tags: MemoryTags;

  /** The zero page's tags are cleared at once: it is mapped without ever being set up. */
  constructor(frames: FrameTable, tags: MemoryTags) {
    this.#frames = frames;
    this.#tags = tags;
    this.#clear(frames.zeroFrame);
  }

  /** Does the page hold tags of its own? */
  isTagged(frame: number): boolean {
    return this.#frames.hasFlag(frame, FrameFlag.Tagged);
  }

  /** `mte_sync_tags`: before a leaf with these `EntryFlag` bits maps the frame. */
  sync(frame: number, entryFlags: number): void {
    if (this.#tags.exposesTags(entryFlags) && !this.isTagged(frame)) this.#clear(frame);
  }

  /** A new page for a VMA, zeroed by the allocator: with cleared tags where the VMA has tags (`__GFP_ZEROTAGS`). */
  prepareZeroed(frame: number, vmFlagsHigh: number): void {
    if ((vmFlagsHigh & this.#tags.vmFlagHigh) !== 0) this.#clear(frame);
  }

  /** `copy_highpage`: `to` is a new page that gets a copy of `from`. */
  copy(from: number, to: number): void {
    if (!this.isTagged(from)) return;
    this.#tags.copyFrame(from, to);
    this.#frames.setFlags(to, FrameFlag.Tagged);
  }

  /** Tags of a page that goes to swap, one a granule; null when it has none of its own (`mte_save_tags`). */
  save(frame: number): Uint8Array | null {
    if (!this.isTagged(frame)) return null;
    const saved = new Uint8Array(PAGE_BYTES / this.#tags.granuleBytes);
    for (let granule = 0; granule < saved.length; granule++) {
      saved[granule] = this.#tags.readTag(frame, granule);
    }
    return saved;
  }

  /** The page is back from swap in a new frame (`mte_restore_tags`). */
  restore(frame: number, saved: Uint8Array): void {
    saved.forEach((tag, granule) => {
      this.#tags.writeTag(frame, granule, tag);
    });
    this.#frames.setFlags(frame, FrameFlag.Tagged);
  }

  #clear(frame: number): void {
    this.#tags.clearFrame(frame);
    this.#frames.setFlags(frame, FrameFlag.Tagged);
  }
}
