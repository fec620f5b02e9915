/**
 * Lets the check of break-before-make hear a kernel: every root table, every entry that it writes, and what its CPUs
 * execute. Which CPU writes an entry is not known here; its writes count as visible at once.
 * Left out: entries that the hardware changes (Access flag, dirty state), which need no such sequence.
 */
import type { LiveTables } from '../arch/break-before-make.ts';
import type { MmContext } from '../arch/kernel-arch.ts';
import { fromHalves } from '../base/u64.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { TablePage, TableWatcher } from '../kernel/mm/page-table.ts';
import { BreakBeforeMake } from './break-before-make.ts';

const PAGE_BYTES = 4096n;

/** From now on; tables that exist already are not seen, so it is for a kernel without processes. */
export function watchBreakBeforeMake(kernel: Kernel, tables: LiveTables): BreakBeforeMake {
  const { machine, pageTables } = kernel;
  const check = new BreakBeforeMake({
    rules: tables.rules,
    memory: machine.memory,
    cpus: machine.cpus.length,
  });
  tables.observe(check);
  pageTables.watcher = new KernelTables(kernel, tables, check);
  return check;
}

class KernelTables implements TableWatcher {
  readonly #kernel: Kernel;
  readonly #tables: LiveTables;
  readonly #check: BreakBeforeMake;

  constructor(kernel: Kernel, tables: LiveTables, check: BreakBeforeMake) {
    this.#kernel = kernel;
    this.#tables = tables;
    this.#check = check;
  }

  added(table: TablePage): void {
    if (table.level > 0) return;
    let context: MmContext | null = null;
    this.#check.addRoot(addressOf(table), 0n, () => {
      context ??= this.#contextOf(table.frame);
      return context === null ? null : this.#tables.asidOf(context);
    });
  }

  removed(table: TablePage): void {
    if (table.level === 0) this.#check.removeRoot(addressOf(table));
  }

  written(table: TablePage, index: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    const at = addressOf(table) + BigInt(index) * 8n;
    this.#check.written(at, fromHalves(oldHi, oldLo), fromHalves(hi, lo));
  }

  /** Null for an mm that no task has yet: it never ran. */
  #contextOf(rootFrame: number): MmContext | null {
    for (const { mm } of this.#kernel.tasks.values()) {
      if (mm?.context?.rootFrame === rootFrame) return mm.context;
    }
    return null;
  }
}

const addressOf = ({ frame }: TablePage): bigint => BigInt(frame) * PAGE_BYTES;
