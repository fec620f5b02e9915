/**
 * Runs of leaves of the last level that a TLB may hold as one (arm64: the Contiguous bit), as the generic kernel drives
 * them: it makes a run where the last of its entries has been set, and breaks it up before one entry changes alone. In
 * between the run is cleared and flushed, since entries that disagree must never be valid together.
 */
import type { SchedPoint, Task } from '../base/task.ts';
import type { Halves } from '../base/u64.ts';

/** A table of the last level, its lock held. */
export interface PteTable {
  /** Just before an entry changes. */
  readonly setEntry: SchedPoint;
  read(index: number, out: Halves): void;
  write(index: number, entry: Readonly<Halves>): void;
}

/** The folio that a pte maps a page of. */
export interface FolioRange {
  readonly firstFrame: number;
  readonly frames: number;
}

/** `__flush_tlb_range` of leaves: page numbers, the end exclusive. */
export type FlushLeaves = (startPage: number, endPage: number) => Task<void>;

/** `page` is always the page number that entry `index` maps. */
export interface ContiguousEntries {
  /** Entries of a run; a power of two. */
  readonly count: number;
  /** After an entry was set: makes its run one if this was the last that was missing. @returns whether it is one now */
  tryFold(table: PteTable, index: number, page: number, folio: FolioRange, flush: FlushLeaves): Task<boolean>;
  /** Before an entry changes otherwise than the others. @returns whether there was a run */
  tryUnfold(table: PteTable, index: number, page: number, flush: FlushLeaves): Task<boolean>;
  /** `EntryFlag` bits of an entry, Young and Dirty those of any of its run. */
  flagsOf(table: PteTable, index: number): number;
  /**
   * A fault makes an entry young, dirty or writable: all of its run, unless it becomes writable; the flush that this needs
   * included. @param set flags to set @returns whether anything changed
   */
  setAccessFlags(
    table: PteTable,
    index: number,
    page: number,
    set: number,
    flush: FlushLeaves,
  ): Task<boolean>;
}
