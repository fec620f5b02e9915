/**
 * As much of a dump's memory as walks ask for: a core may hold many GiB, and a walk needs a few tables of it. A walk
 * that needs a table which is not here ends in a bus error; if the dump holds the table it is brought in and the walk
 * made again. Where the dump holds no page there is no memory, so the bus error stays.
 * Accessed and dirty flags are set in this copy only.
 */
import { FaultKind, type FaultSlot } from '../../arch/fault.ts';
import { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { CoreMemory } from '../core/core-memory.ts';

const PAGE_BYTES = 4096;

export class DumpMemory {
  readonly memory = new PhysicalMemory();
  /** Frames that are here. */
  readonly frames = new Set<number>();
  readonly #core: CoreMemory;
  readonly #page = new Uint8Array(PAGE_BYTES);

  constructor(core: CoreMemory) {
    this.#core = core;
  }

  /** Brings in one page. @returns false when it is here already or the dump does not hold it */
  load(frame: number): boolean {
    if (this.frames.has(frame) || !this.#core.readFrame(frame, this.#page)) return false;
    this.memory.addRegion(BigInt(frame) * BigInt(PAGE_BYTES), BigInt(PAGE_BYTES));
    this.memory.writeBytes(frame, 0, this.#page);
    this.frames.add(frame);
    return true;
  }

  /**
   * Makes an access by an MMU over `memory` again and again until every table that its walk needs is here.
   * @param fault of that MMU
   */
  complete(fault: Readonly<FaultSlot>, attempt: () => FaultKind): FaultKind {
    for (;;) {
      const kind = attempt();
      if (kind !== FaultKind.Bus || fault.level === 0) return kind;
      if (!this.load(fault.entryAddressHi * 2 ** 20 + (fault.entryAddressLo >>> 12))) return kind;
    }
  }

  /** A copy with the same pages, as they are in the dump. */
  pristine(): DumpMemory {
    const copy = new DumpMemory(this.#core);
    for (const frame of this.frames) copy.load(frame);
    return copy;
  }
}
