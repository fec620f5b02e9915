/** Counts what refers to swap slots anew, and compares with what the swap area says. */
import type { AddressSpace } from '../../../src/kernel/frame/address-space.ts';
import type { SwapArea } from '../../../src/kernel/frame/swap-area.ts';
import type { Kernel } from '../../../src/kernel/kernel.ts';

export class SwapAudit {
  readonly #kernel: Kernel;
  /** References to each slot. */
  readonly #slots = new Map<number, number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** A page table or an object refers to the slot. */
  refer(slot: number): void {
    this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + 1);
  }

  addFile(file: AddressSpace): void {
    for (const index of file.swappedIndexes()) this.refer(file.swapSlotAt(index));
  }

  /** Frames in the swap cache. */
  cachedFrames(): number[] {
    return this.#slotNumbers()
      .flatMap((slot) => this.#kernel.swap?.frameOf(slot) ?? -1)
      .filter((frame) => frame >= 0);
  }

  /** What is wrong, in words. @param mapped ptes that map each frame */
  report(mapped: ReadonlyMap<number, number>): string[] {
    const { swap } = this.#kernel;
    if (swap === null) return [];
    const slots = this.#slotNumbers();
    const wrong = slots.flatMap((slot) => this.#slot(swap, slot, mapped));
    const free = slots.filter((slot) => swap.count(slot) === 0 && swap.frameOf(slot) === -1).length;
    if (swap.freeSlots !== free) wrong.push(`${swap.freeSlots} swap slots are free, ${free} should be`);
    return wrong;
  }

  #slotNumbers(): number[] {
    return Array.from({ length: this.#kernel.swap?.slotCount ?? 0 }, (_, index) => index + 1);
  }

  #slot(swap: SwapArea, slot: number, mapped: ReadonlyMap<number, number>): string[] {
    const { frames } = this.#kernel;
    const wrong: string[] = [];
    const count = this.#slots.get(slot) ?? 0;
    if (swap.count(slot) !== count)
      wrong.push(`swap slot ${slot} counts ${swap.count(slot)}, ${count} refer to it`);
    const frame = swap.frameOf(slot);
    if (frame === -1) return wrong;
    if (frames.lru.listOf(frame) === -1) wrong.push(`swap slot ${slot}: its frame is on no list`);
    if (!mapped.has(frame) && frames.refcount(frame) !== 1)
      wrong.push(`swap slot ${slot}: refcount ${frames.refcount(frame)} of a frame nobody maps`);
    return wrong;
  }
}
