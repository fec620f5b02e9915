/** x86-64 for the registry: its processors by name, and its part of the kernel. */
import { GOLDEN_COVE, TLB_PROFILES } from '../../../hardware/retention.ts';
import type { KernelArch } from '../../kernel-arch.ts';
import {
  type ArchOptions,
  checkedLevels,
  type KernelArchitecture,
  namedIn,
} from '../../kernel-architecture.ts';
import type { ProcessorOptions } from '../../processor-options.ts';
import { explainWalk } from '../explain.ts';
import { CPU_MODELS, type CpuModelName } from '../features.ts';
import { X86MmuEvents } from '../mmu-events.ts';
import { explainInContext, mmuOf } from './explain-in-context.ts';
import { X86SpeculativeFills } from './speculative-fills.ts';
import { X86TlbView } from './tlb-view.ts';
import { X86KernelArch } from './x86-kernel-arch.ts';

const DEFAULT_MODEL: CpuModelName = 'intel-broadwell';

const modelsByLevels = () => Object.entries(CPU_MODELS).map(([name, { la57 }]) => [name, la57] as const);

function processor(options: ProcessorOptions): Required<ProcessorOptions> {
  const { cpuModel = DEFAULT_MODEL, tlbProfile = GOLDEN_COVE.name } = options;
  namedIn('CPU model', CPU_MODELS, cpuModel);
  namedIn('TLB profile', TLB_PROFILES, tlbProfile);
  return { cpuModel, levels: checkedLevels(options.levels ?? 4, cpuModel, modelsByLevels), tlbProfile };
}

function createKernelArch(options: ArchOptions): KernelArch {
  const { cpuModel, levels, tlbProfile } = processor(options);
  return new X86KernelArch({
    machine: options.machine,
    initRootFrame: options.initRootFrame,
    retention: options.retention ?? 'profile',
    features: namedIn('CPU model', CPU_MODELS, cpuModel),
    levels: levels === 5 ? 5 : 4,
    tlbProfile: namedIn('TLB profile', TLB_PROFILES, tlbProfile),
  });
}

function own(arch: KernelArch): X86KernelArch {
  if (!(arch instanceof X86KernelArch)) throw new RangeError(`${arch.name} is not x86_64`);
  return arch;
}

export const X86_64: KernelArchitecture = {
  name: 'x86_64',
  processor,
  createKernelArch,
  createLiveTables: () => null,
  createTlbView: (arch) => new X86TlbView(own(arch)),
  tlbsOf: (arch) => own(arch).mmus.map(({ tlbs, pagingStructure }) => [...tlbs, ...pagingStructure.levels]),
  createSpeculativeFills: (arch) => new X86SpeculativeFills(own(arch).mmus),
  observeMmus(arch, options) {
    own(arch).mmus.forEach((mmu, cpu) => {
      mmu.observer = new X86MmuEvents(mmu, cpu, options);
    });
  },
  explainInContext: (arch, cpu, context, address, access) =>
    explainInContext(own(arch), cpu, context, address, access),
  explainOnCpu: (arch, cpu, address, access) => explainWalk(mmuOf(own(arch), cpu), address, access),
};
