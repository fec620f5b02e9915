/**
 * How many entries of page tables map each frame: alone (`_mapcount`), and of folios of more than one frame, for each of
 * them and for the whole.
 * @see Linux include/linux/mm_types.h, `_mapcount`, `_entire_mapcount`, `_large_mapcount`; mm/rmap.c
 */
import { FrameFields } from './frame-fields.ts';
import { FrameFlag } from './frame-flags.ts';
import { LargeMapcount } from './large-mapcount.ts';

/** Told of counts just after they have changed; changes nothing. */
export interface FrameWatcher {
  /** References and pins of a folio have become more or less; the reference that comes with an allocation is not told. */
  counted(head: number, references: number, pins: number): void;
  /** Entries that map the frame, or with it the folio that it is the first of, have become more or less. */
  mapped(frame: number, entries: number): void;
}

export abstract class FrameMapCounts extends FrameFields {
  watcher: FrameWatcher | null = null;
  /** Of folios of more than one frame, by index of the first. */
  #large: Map<number, LargeMapcount> | null = null;

  protected setLarge(at: number): void {
    this.#large ??= new Map();
    this.#large.set(at, new LargeMapcount());
  }

  protected forgetLarge(at: number): void {
    this.#large?.delete(at);
  }

  protected isMappedWhole(at: number): boolean {
    return this.#large?.get(at)?.entire !== 0;
  }

  /** Page-table entries that map this frame, alone or with all of its folio (`folio_precise_page_mapcount`). */
  mapcount(frame: number): number {
    const at = this.at(frame);
    const alone = this.mapcounts[at] as number;
    if (((this.flagWords[at] as number) & (FrameFlag.Head | FrameFlag.Tail)) === 0) return alone;
    return alone + this.large(frame).entire;
  }

  /** Map counts of the folio of more than one frame that `frame` belongs to. @param changes the caller changes them */
  large(frame: number, changes = false): LargeMapcount {
    const head = this.head(frame);
    const large = this.#large?.get(changes ? this.changed(head) : this.at(head));
    if (large === undefined) throw new Error(`frame 0x${frame.toString(16)} is no large folio's`);
    return large;
  }

  /** Is the frame one of a folio of more than one (`folio_test_large`)? */
  isLarge(frame: number): boolean {
    return this.hasFlag(frame, FrameFlag.Head | FrameFlag.Tail);
  }

  /** All entries that map the folio or a part of it (`folio_mapcount`). */
  folioMapcount(frame: number): number {
    return this.isLarge(frame) ? this.large(frame).total : this.mapcount(frame);
  }

  /** Does an entry map the folio, or any page of it (`folio_mapped`)? */
  isMapped(frame: number): boolean {
    return this.folioMapcount(frame) > 0;
  }

  /**
   * May the folio be mapped by more than one mm? False is certain. @see include/linux/mm.h, `folio_maybe_mapped_shared`
   */
  maybeMappedShared(frame: number): boolean {
    if (!this.isLarge(frame)) return this.mapcount(frame) > 1;
    const large = this.large(frame);
    return large.total > 1 && large.maybeMappedShared;
  }

  /**
   * One more pte maps the frame; it holds a reference of its own. Not for the zero page.
   * @param mm whose pte it is; of a large folio it must be known
   */
  addMap(frame: number, mm: object | null = null): void {
    const at = this.changed(frame);
    if (this.isZeroFrame(frame)) throw new Error('the zero page has no map count');
    const count = (this.mapcounts[at] as number) + 1;
    this.mapcounts[at] = count;
    if (this.watcher !== null) this.watcher.mapped(frame, 1);
    if (!this.isLarge(frame)) return;
    if (mm === null)
      throw new Error(`a page of a large folio, frame 0x${frame.toString(16)}, mapped by no mm`);
    const large = this.large(frame, true);
    if (count === 1) large.pagesMapped++;
    large.add(mm, 1);
  }

  /** One pte less maps the frame. */
  removeMap(frame: number, mm: object | null = null): void {
    const at = this.changed(frame);
    const count = (this.mapcounts[at] as number) - 1;
    if (count < 0) throw new Error(`frame 0x${frame.toString(16)} is unmapped more often than mapped`);
    this.mapcounts[at] = count;
    if (this.watcher !== null) this.watcher.mapped(frame, -1);
    if (!this.isLarge(frame)) return;
    if (mm === null)
      throw new Error(`a page of a large folio, frame 0x${frame.toString(16)}, unmapped by no mm`);
    const large = this.large(frame, true);
    if (count === 0) large.pagesMapped--;
    large.remove(mm, 1);
  }

  /** One more entry above the last level maps the whole folio. */
  addEntireMap(head: number, mm: object): void {
    const large = this.large(head, true);
    large.entire++;
    large.add(mm, 1);
    if (this.watcher !== null) this.watcher.mapped(head, 1);
  }

  /** One entry less maps the whole folio. */
  removeEntireMap(head: number, mm: object): void {
    const large = this.large(head, true);
    large.remove(mm, 1);
    large.entire--;
    if (this.watcher !== null) this.watcher.mapped(head, -1);
    if (large.entire < 0) throw new Error(`frame 0x${head.toString(16)} is unmapped more often than mapped`);
  }
}
