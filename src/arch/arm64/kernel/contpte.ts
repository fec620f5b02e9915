/**
 * Runs of ptes that a TLB may hold as one: 16 of 4 KiB, 128 of 16 KiB or 32 of 64 KiB, aligned, of one folio, alike but
 * for their frames. The Contiguous bit is put into all of them at once or into none; since entries that disagree about it
 * must never be valid together, the run is cleared and flushed in between. Young and Dirty of a run are those of any
 * of its entries, as the hardware may note them in one alone.
 * Left out: contiguous pmds (hugetlb), `set_ptes` of a whole range, lockless readers, FEAT_BBM level 2, which does without the flush in later kernels.
 * @see Linux arch/arm64/mm/contpte.c and include/asm/pgtable.h, `contpte_try_fold`, `contpte_convert`,
 *   `contpte_ptep_get`, `contpte_ptep_set_access_flags`
 */
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import type { ContiguousEntries, FlushLeaves, FolioRange, PteTable } from '../../contiguous-entries.ts';
import { EntryFlag } from '../../paging-format.ts';
import type { Arm64PagingFormat } from './paging-format.ts';

const NOTED = EntryFlag.Young | EntryFlag.Dirty;
/** CONT_PTES by granule. @see arch/arm64/include/asm/pgtable-hwdef.h, CONT_PTE_SHIFT */
const CONT_PTES = { 12: 16, 14: 128, 16: 32 } as const;

export class ContiguousPtes implements ContiguousEntries {
  /** Entries of a run. */
  readonly count: number;
  readonly #format: Arm64PagingFormat;
  readonly #level: number;

  constructor(format: Arm64PagingFormat) {
    this.#format = format;
    this.#level = format.levels.length - 1;
    this.count = CONT_PTES[format.pageShift];
  }

  /**
   * After a pte was set: makes its run contiguous if this was the last entry that was missing.
   * @param page page number that entry `index` maps @returns whether it is contiguous now
   */
  *tryFold(
    table: PteTable,
    index: number,
    page: number,
    folio: FolioRange,
    flush: FlushLeaves,
  ): Task<boolean> {
    const entry = this.#read(table, index);
    const frame = this.#frame(entry);
    const first = index - (index % this.count);
    // Only the last entry of a run, of the last page of a run: that is how runs are filled.
    if (index - first !== this.count - 1 || (frame + 1) % this.count !== 0) return false;
    const flags = this.#flags(entry);
    if ((flags & (EntryFlag.Special | EntryFlag.Cont | EntryFlag.Protnone)) !== 0) return false;
    const firstFrame = frame - (this.count - 1);
    if (folio.firstFrame > firstFrame || folio.firstFrame + folio.frames <= frame) return false;
    if (!this.#alike(table, first, firstFrame, flags)) return false;
    yield* this.#convert(
      table,
      first,
      page - (index - first),
      { firstFrame, flags: flags | EntryFlag.Cont },
      flush,
    );
    return true;
  }

  /** Before one entry of a run changes otherwise than the others. @returns whether there was a run */
  *tryUnfold(table: PteTable, index: number, page: number, flush: FlushLeaves): Task<boolean> {
    const entry = this.#read(table, index);
    const flags = this.#flags(entry);
    if ((flags & EntryFlag.Cont) === 0) return false;
    const at = index % this.count;
    const run = { firstFrame: this.#frame(entry) - at, flags: flags & ~EntryFlag.Cont };
    yield* this.#convert(table, index - at, page - at, run, flush);
    return true;
  }

  /** `contpte_ptep_get`: the flags of an entry, with what was noted in any of its run. */
  flagsOf(table: PteTable, index: number): number {
    const own = this.#flags(this.#read(table, index));
    if ((own & EntryFlag.Cont) === 0) return own;
    const first = index - (index % this.count);
    let flags = own;
    for (let at = first; at < first + this.count; at++) flags |= this.#flags(this.#read(table, at)) & NOTED;
    return flags;
  }

  /**
   * Young and Dirty in all of a run; a change of write permission breaks it up.
   * @param set flags to set, as a fault does @returns whether anything changed
   */
  *setAccessFlags(
    table: PteTable,
    index: number,
    page: number,
    set: number,
    flush: FlushLeaves,
  ): Task<boolean> {
    const before = this.flagsOf(table, index);
    if ((before & set) === set) return false;
    const keepsRun = (before & EntryFlag.Cont) !== 0 && (set & ~before & EntryFlag.Write) === 0;
    if (!keepsRun) yield* this.tryUnfold(table, index, page, flush);
    const first = keepsRun ? index - (index % this.count) : index;
    const count = keepsRun ? this.count : 1;
    for (let at = first; at < first + count; at++) {
      const entry = this.#read(table, at);
      yield table.setEntry;
      this.#format.change(entry.hi, entry.lo, this.#level, set, 0, entry);
      table.write(at, entry);
    }
    const firstPage = page - (index - first);
    if ((set & EntryFlag.Dirty) !== 0) yield* flush(firstPage, firstPage + count);
    return true;
  }

  /** Do all entries of the run map the frames that follow each other, alike but for what was noted? */
  #alike(table: PteTable, first: number, firstFrame: number, flags: number): boolean {
    for (let at = 0; at < this.count; at++) {
      const entry = this.#read(table, first + at);
      const own = this.#flags(entry);
      if ((own & EntryFlag.Present) === 0 || this.#frame(entry) !== firstFrame + at) return false;
      if ((own & ~NOTED) !== (flags & ~NOTED)) return false;
    }
    return true;
  }

  /** Clears all, flushes, sets all: with the flags given and what was noted in any. @see `contpte_convert` */
  *#convert(
    table: PteTable,
    first: number,
    firstPage: number,
    run: { readonly firstFrame: number; readonly flags: number },
    flush: FlushLeaves,
  ): Task<void> {
    let { flags } = run;
    for (let at = first; at < first + this.count; at++) {
      yield table.setEntry;
      flags |= this.#flags(this.#read(table, at)) & NOTED;
      table.write(at, { hi: 0, lo: 0 });
    }
    yield* flush(firstPage, firstPage + this.count);
    const entry: Halves = { hi: 0, lo: 0 };
    for (let at = 0; at < this.count; at++) {
      yield table.setEntry;
      this.#format.pack(run.firstFrame + at, flags, this.#level, entry);
      table.write(first + at, entry);
    }
  }

  #read(table: PteTable, index: number): Halves {
    const entry: Halves = { hi: 0, lo: 0 };
    table.read(index, entry);
    return entry;
  }

  #flags({ hi, lo }: Readonly<Halves>): number {
    return this.#format.flagsOf(hi, lo, this.#level);
  }

  #frame({ hi, lo }: Readonly<Halves>): number {
    return this.#format.frameOf(hi, lo, this.#level);
  }
}
