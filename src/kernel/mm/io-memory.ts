/**
 * Where memory of devices is in the physical address space: above all RAM, each device apart from the next, so that an access
 * that runs on behind its end meets nobody. It behaves as memory: reading has no effects.
 * Left out: giving a region back.
 * @see Linux kernel/resource.c, `request_mem_region`
 */
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';

/** Devices begin at a multiple of 2 MiB, in frames, and as much lies between two. */
const ALIGNMENT = 512;

const aligned = (frame: number): number => Math.ceil(frame / ALIGNMENT) * ALIGNMENT;

export class IoMemory {
  readonly #memory: PhysicalMemory;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  /** Puts `pages` pages of device memory, all zeros, on the board: its first frame. */
  add(pages: number): number {
    const last = this.#memory.regions.at(-1)?.end ?? 0;
    const first = aligned(last + ALIGNMENT);
    this.#memory.addRegion(BigInt(first) << 12n, BigInt(pages) << 12n);
    return first;
  }
}
