/** The architectures by name, for whoever puts a machine and a kernel together. Generic kernel code never looks here. */
import type { Machine } from '../hardware/machine.ts';
import type { Retention } from '../hardware/retention.ts';
import type { KernelArch } from './kernel-arch.ts';
import type { MmuEventOptions } from './mmu-events.ts';
import type { TlbView } from './tlb-view.ts';
import { CPU_MODELS, type CpuModelName } from './x86_64/features.ts';
import { X86TlbView } from './x86_64/kernel/tlb-view.ts';
import { X86KernelArch } from './x86_64/kernel/x86-kernel-arch.ts';
import { X86MmuEvents } from './x86_64/mmu-events.ts';

/** What every architecture understands. */
interface ArchOptions {
  readonly machine: Machine;
  /** A zeroed frame: the root table that a CPU uses while it runs in no process. */
  readonly initRootFrame: number;
  /** Default `profile`. */
  readonly retention?: Retention;
  /** Name of a CPU model of the architecture; without it the architecture's default. */
  readonly cpuModel?: string;
  /** Levels of the page tables, where there is a choice. */
  readonly levels?: number;
}

function createX86KernelArch({
  machine,
  initRootFrame,
  retention,
  cpuModel,
  levels,
}: ArchOptions): KernelArch {
  if (cpuModel !== undefined && !(cpuModel in CPU_MODELS)) {
    throw new RangeError(`no CPU model ${cpuModel}; there are ${Object.keys(CPU_MODELS).join(', ')}`);
  }
  return new X86KernelArch({
    machine,
    initRootFrame,
    ...(retention === undefined ? {} : { retention }),
    ...(cpuModel === undefined ? {} : { features: CPU_MODELS[cpuModel as CpuModelName] }),
    ...(levels === 5 ? { levels: 5 as const } : {}),
  });
}

function ownArch(arch: KernelArch): X86KernelArch {
  if (!(arch instanceof X86KernelArch)) throw new RangeError(`${arch.name} is not x86_64`);
  return arch;
}

/** One architecture that is built. */
export interface KernelArchitecture {
  readonly name: 'x86_64';
  createKernelArch(options: ArchOptions): KernelArch;
  /** What the CPUs' TLBs hold. `arch` is one that `createKernelArch` made. */
  createTlbView(arch: KernelArch): TlbView;
  /** Lets the MMUs report walks, fills, flushes and faults as events. */
  observeMmus(arch: KernelArch, options: MmuEventOptions): void;
}

const kernelArchitectures: readonly KernelArchitecture[] = [
  {
    name: 'x86_64',
    createKernelArch: createX86KernelArch,
    createTlbView: (arch) => new X86TlbView(ownArch(arch)),
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
