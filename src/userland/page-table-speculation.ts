/**
 * Which translations a CPU may fill ahead of any access: the pages that the page tables of its loaded address space map
 * at the moment, whoever put them there and whether the CPU ever touched them or not.
 * Left out: more than the 32 lowest pages (new mappings go below older ones), and walks that end at a missing entry and
 * fill paging-structure caches alone.
 */
import { EntryFlag, type PagingFormat, pagesPerEntry } from '../arch/paging-format.ts';
import type { SpeculativeFills } from '../arch/speculative-fills.ts';
import type { PhysicalMemory } from '../hardware/physical-memory.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { FILLS_PER_CPU } from '../sched/policy/policy.ts';
import type { Speculation } from '../sched/speculation.ts';

export class PageTableSpeculation implements Speculation {
  readonly #kernel: Kernel;
  readonly #fills: SpeculativeFills;
  /** Mapped pages by root frame, as of write number `#asOf` to the page tables. */
  readonly #pages = new Map<number, readonly number[]>();
  #asOf = -1;

  constructor(kernel: Kernel, fills: SpeculativeFills) {
    this.#kernel = kernel;
    this.#fills = fills;
  }

  count(cpu: number): number {
    return this.#pagesOf(cpu).length;
  }

  fill(cpu: number, index: number): void {
    const page = this.#pagesOf(cpu)[index];
    if (page === undefined) throw new Error(`cpu ${cpu} has no translation ${index} to fill`);
    this.#fills.fill(cpu, page);
    const { events } = this.#kernel.machine;
    if (!events.enabled) return;
    const text = `speculative fill of 0x${(BigInt(page) << 12n).toString(16)}`;
    events.emit({ kind: 'note', time: this.#kernel.machine.cpu(cpu).time, cpu, text });
  }

  #pagesOf(cpu: number): readonly number[] {
    const { pageTables, machine } = this.#kernel;
    if (this.#asOf !== pageTables.writes) {
      this.#pages.clear();
      this.#asOf = pageTables.writes;
    }
    const root = this.#fills.rootFrame(cpu);
    let pages = this.#pages.get(root);
    if (pages === undefined) {
      const { taskSizePages } = this.#kernel.arch;
      pages = mappedPages(machine.memory, pageTables.format, root, taskSizePages);
      this.#pages.set(root, pages);
    }
    return pages;
  }
}

/** The lowest pages of user space that the tables map, one for each leaf. */
function mappedPages(
  memory: PhysicalMemory,
  format: PagingFormat,
  root: number,
  userPages: number,
): readonly number[] {
  const found: number[] = [];
  const visit = (frame: number, level: number, firstPage: number): void => {
    const { indexBits = 0 } = format.levels[level] ?? {};
    const span = pagesPerEntry(format, level);
    // Further up is the kernel, if it has a part of the same table.
    const entries = Math.min(2 ** indexBits, Math.ceil((userPages - firstPage) / span));
    for (let index = 0; index < entries && found.length < FILLS_PER_CPU; index++) {
      memory.read64(Math.floor(frame / 0x10_0000), ((frame % 0x10_0000) * 0x1000 + index * 8) | 0);
      const { hi, lo } = memory;
      if (format.isNone(hi, lo)) continue;
      const page = firstPage + index * span;
      if (format.isTable(hi, lo, level)) visit(format.frameOf(hi, lo, level), level + 1, page);
      else if (isMapped(format.flagsOf(hi, lo, level))) found.push(page);
    }
  };
  visit(root, 0, 0);
  return found;
}

const isMapped = (flags: number): boolean =>
  (flags & EntryFlag.Present) !== 0 && (flags & EntryFlag.Protnone) === 0;
