/** The architectures by name, for whoever puts a machine and a kernel together. Generic kernel code never looks here. */
import { InputError } from '../base/input-error.ts';
import type { Machine } from '../hardware/machine.ts';
import { GOLDEN_COVE, type Retention, TLB_PROFILES } from '../hardware/retention.ts';
import type { KernelArch } from './kernel-arch.ts';
import type { MmuEventOptions } from './mmu-events.ts';
import type { ProcessorOptions } from './processor-options.ts';
import type { SpeculativeFills } from './speculative-fills.ts';
import type { TlbView } from './tlb-view.ts';
import { CPU_MODELS, type CpuModelName } from './x86_64/features.ts';
import { X86SpeculativeFills } from './x86_64/kernel/speculative-fills.ts';
import { X86TlbView } from './x86_64/kernel/tlb-view.ts';
import { X86KernelArch } from './x86_64/kernel/x86-kernel-arch.ts';
import { X86MmuEvents } from './x86_64/mmu-events.ts';

/** What every architecture understands. */
interface ArchOptions extends ProcessorOptions {
  readonly machine: Machine;
  /** A zeroed frame: the root table that a CPU uses while it runs in no process. */
  readonly initRootFrame: number;
  /** Default `profile`. */
  readonly retention?: Retention;
}

const DEFAULT_X86_MODEL: CpuModelName = 'intel-broadwell';

function namedIn<Value>(what: string, values: Readonly<Record<string, Value>>, name: string): Value {
  const value = Object.hasOwn(values, name) ? values[name] : undefined;
  if (value !== undefined) return value;
  throw new InputError(`no such ${what}`, { expected: Object.keys(values).join(', '), found: `'${name}'` });
}

function x86Processor(options: ProcessorOptions): Required<ProcessorOptions> {
  const { cpuModel = DEFAULT_X86_MODEL, levels = 4, tlbProfile = GOLDEN_COVE.name } = options;
  const features = namedIn('CPU model', CPU_MODELS, cpuModel);
  namedIn('TLB profile', TLB_PROFILES, tlbProfile);
  if (levels !== 4 && levels !== 5) {
    throw new InputError('levels of the page tables', { expected: '4 or 5', found: `${levels}` });
  }
  if (levels === 5 && !features.la57) {
    const able = Object.entries(CPU_MODELS).filter(([, { la57 }]) => la57);
    throw new InputError(`CPU model ${cpuModel} has no page tables of 5 levels`, {
      expected: `one of ${able.map(([name]) => name).join(', ')}`,
    });
  }
  return { cpuModel, levels, tlbProfile };
}

function createX86KernelArch({ machine, initRootFrame, retention, ...options }: ArchOptions): KernelArch {
  const { cpuModel, levels, tlbProfile } = x86Processor(options);
  return new X86KernelArch({
    machine,
    initRootFrame,
    ...(retention === undefined ? {} : { retention }),
    features: namedIn('CPU model', CPU_MODELS, cpuModel),
    levels: levels === 5 ? 5 : 4,
    tlbProfile: namedIn('TLB profile', TLB_PROFILES, tlbProfile),
  });
}

function ownArch(arch: KernelArch): X86KernelArch {
  if (!(arch instanceof X86KernelArch)) throw new RangeError(`${arch.name} is not x86_64`);
  return arch;
}

/** One architecture that is built. */
export interface KernelArchitecture {
  readonly name: 'x86_64';
  /**
   * The processor that these options choose, with the defaults filled in.
   * @throws InputError for a name that is unknown, or levels that the CPU model does not have
   */
  processor(options: ProcessorOptions): Required<ProcessorOptions>;
  /** @throws InputError as `processor` */
  createKernelArch(options: ArchOptions): KernelArch;
  /** What the CPUs' TLBs hold. `arch` is one that `createKernelArch` made. */
  createTlbView(arch: KernelArch): TlbView;
  /** Fills of translations that no access asked for. */
  createSpeculativeFills(arch: KernelArch): SpeculativeFills;
  /** Lets the MMUs report walks, fills, flushes and faults as events. */
  observeMmus(arch: KernelArch, options: MmuEventOptions): void;
}

const kernelArchitectures: readonly KernelArchitecture[] = [
  {
    name: 'x86_64',
    processor: x86Processor,
    createKernelArch: createX86KernelArch,
    createTlbView: (arch) => new X86TlbView(ownArch(arch)),
    createSpeculativeFills: (arch) => new X86SpeculativeFills(ownArch(arch).mmus),
    observeMmus(arch, options) {
      ownArch(arch).mmus.forEach((mmu, cpu) => {
        mmu.observer = new X86MmuEvents(mmu, cpu, options);
      });
    },
  },
];

/** @throws RangeError when it is not built */
export function architectureNamed(name: string): KernelArchitecture {
  const found = kernelArchitectures.find((architecture) => architecture.name === name);
  if (found === undefined) throw new RangeError(`architecture ${name} is not built`);
  return found;
}
