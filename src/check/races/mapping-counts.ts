/**
 * How many page-table entries map each frame, counted from the tables alone: what the kernel's own counts are held against.
 * Entries of tables that nothing leads to yet are counted like all others. Leaves above the last level count at their first
 * frame. Left out: the zero page, memory of devices.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { FrameTable } from '../../kernel/frame/frame-table.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import { EntryKind, type EntryState, type TableChange } from './table-changes.ts';

const INITIAL_CAPACITY = 512;

function grown(old: Int32Array<ArrayBuffer>, capacity: number): Int32Array<ArrayBuffer> {
  const bigger = new Int32Array(capacity);
  bigger.set(old);
  return bigger;
}

export class MappingCounts {
  #frames: FrameTable;
  #firstFrame: number;
  #lastLevel: number;
  /** Above what has been counted in this run. */
  #end = 0;
  /** Ptes that map a frame, and those of them that allow writing. */
  #ptes = new Int32Array(INITIAL_CAPACITY);
  #writable = new Int32Array(INITIAL_CAPACITY);
  /** Larger leaves, by their first frame. */
  readonly #wholes = new Map<number, { entries: number; writable: number }>();

  constructor(kernel: Kernel) {
    this.#frames = kernel.frames;
    this.#firstFrame = kernel.frames.firstFrame;
    this.#lastLevel = kernel.pageTables.lastLevel;
  }

  /** Nothing is mapped yet, in another kernel. */
  begin(kernel: Kernel): void {
    this.#frames = kernel.frames;
    this.#firstFrame = kernel.frames.firstFrame;
    this.#lastLevel = kernel.pageTables.lastLevel;
    this.#ptes.fill(0, 0, this.#end);
    this.#writable.fill(0, 0, this.#end);
    this.#end = 0;
    if (this.#wholes.size > 0) this.#wholes.clear();
  }

  /** Ptes that map the frame. */
  ptes(frame: number): number {
    return this.#ptes[frame - this.#firstFrame] ?? 0;
  }

  writablePtes(frame: number): number {
    return this.#writable[frame - this.#firstFrame] ?? 0;
  }

  /** Larger leaves that begin with the frame. */
  wholes(head: number): number {
    return this.#wholes.get(head)?.entries ?? 0;
  }

  writableWholes(head: number): number {
    return this.#wholes.get(head)?.writable ?? 0;
  }

  changed({ table, old, next }: TableChange): void {
    const small = table.level === this.#lastLevel;
    if (old.kind === EntryKind.Leaf) this.#count(old, small, -1);
    if (next.kind === EntryKind.Leaf) this.#count(next, small, 1);
  }

  #count({ frame, flags }: EntryState, small: boolean, by: number): void {
    if (!this.#frames.owns(frame) || frame === this.#frames.zeroFrame) return;
    const writable = (flags & EntryFlag.Write) !== 0 ? by : 0;
    if (!small) {
      this.#countWhole(frame, by, writable);
      return;
    }
    const at = frame - this.#firstFrame;
    if (at >= this.#end) this.#reach(at);
    this.#ptes[at] = (this.#ptes[at] as number) + by;
    this.#writable[at] = (this.#writable[at] as number) + writable;
  }

  #countWhole(frame: number, by: number, writable: number): void {
    const whole = this.#wholes.get(frame) ?? { entries: 0, writable: 0 };
    whole.entries += by;
    whole.writable += writable;
    if (whole.entries === 0) this.#wholes.delete(frame);
    else this.#wholes.set(frame, whole);
  }

  #reach(at: number): void {
    this.#end = at + 1;
    if (at < this.#ptes.length) return;
    let capacity = this.#ptes.length;
    while (capacity <= at) capacity *= 2;
    this.#ptes = grown(this.#ptes, capacity);
    this.#writable = grown(this.#writable, capacity);
  }
}
