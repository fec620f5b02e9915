/** One architecture that is built, as whoever puts a machine and a kernel together sees it. */
import { InputError } from '../base/input-error.ts';
import type { Machine } from '../hardware/machine.ts';
import type { Retention } from '../hardware/retention.ts';
import type { Tlb } from '../hardware/tlb.ts';
import type { LiveTables } from './break-before-make.ts';
import type { ExplainedWalk } from './explained-walk.ts';
import type { KernelArch, MmContext } from './kernel-arch.ts';
import type { MmuEventOptions } from './mmu-events.ts';
import type { ProcessorOptions } from './processor-options.ts';
import type { SpeculativeFills } from './speculative-fills.ts';
import type { TlbView } from './tlb-view.ts';

/** What every architecture understands. */
export interface ArchOptions extends ProcessorOptions {
  readonly machine: Machine;
  /** A zeroed frame: the root table that a CPU uses while it runs in no process. */
  readonly initRootFrame: number;
  /** Default `profile`. */
  readonly retention?: Retention;
}

export interface KernelArchitecture {
  readonly name: 'x86_64' | 'arm64';
  /**
   * The processor that these options choose, with the defaults filled in.
   * @throws InputError for a name that is unknown, or levels that the CPU model does not have
   */
  processor(options: ProcessorOptions): Required<ProcessorOptions>;
  /** @throws InputError as `processor` */
  createKernelArch(options: ArchOptions): KernelArch;
  /** What the CPUs' TLBs hold. `arch` is one that `createKernelArch` made. */
  createTlbView(arch: KernelArch): TlbView;
  /** By CPU: everything that holds translations and upper entries. */
  tlbsOf(arch: KernelArch): readonly (readonly Tlb[])[];
  /** Fills of translations that no access asked for. */
  createSpeculativeFills(arch: KernelArch): SpeculativeFills;
  /** What a check of break-before-make has to know; null where the architecture has no such rule. */
  createLiveTables(arch: KernelArch): LiveTables | null;
  /** Lets the MMUs report walks, fills, flushes and faults as events. */
  observeMmus(arch: KernelArch, options: MmuEventOptions): void;
  /**
   * Explains an access in an address space, whether or not it is loaded, with the registers of a CPU and no cache. It has
   * the effects of an access on the page tables: Accessed and dirty flags.
   * @param address 64 bits @param access `Access` bits
   */
  explainInContext(
    arch: KernelArch,
    cpu: number,
    context: MmContext,
    address: bigint,
    access: number,
  ): ExplainedWalk;
  /** Explains an access on a CPU as it is, caches included; with the effects of a translation. */
  explainOnCpu(arch: KernelArch, cpu: number, address: bigint, access: number): ExplainedWalk;
}

/** @throws InputError when there is no such name */
export function namedIn<Value>(what: string, values: Readonly<Record<string, Value>>, name: string): Value {
  const value = Object.hasOwn(values, name) ? values[name] : undefined;
  if (value !== undefined) return value;
  throw new InputError(`no such ${what}`, { expected: Object.keys(values).join(', '), found: `'${name}'` });
}

/**
 * Levels of page tables as given.
 * @param models every CPU model, with whether it has 5
 * @throws InputError when they are neither 4 nor 5, or 5 on a CPU model without
 */
export function checkedLevels(
  levels: number,
  cpuModel: string,
  models: () => readonly (readonly [name: string, hasFive: boolean])[],
): 4 | 5 {
  if (levels !== 4 && levels !== 5) {
    throw new InputError('levels of the page tables', { expected: '4 or 5', found: `${levels}` });
  }
  if (levels === 4) return levels;
  const able = models().flatMap(([name, hasFive]) => (hasFive ? [name] : []));
  if (!able.includes(cpuModel)) {
    throw new InputError(`CPU model ${cpuModel} has no page tables of 5 levels`, {
      expected: `one of ${able.join(', ')}`,
    });
  }
  return levels;
}
