/** arm64 for the registry: its processors by name, and its part of the kernel. */
import { NEOVERSE_V2, TLB_PROFILES } from '../../../hardware/retention.ts';
import type { KernelArch } from '../../kernel-arch.ts';
import {
  type ArchOptions,
  checkedLevels,
  type KernelArchitecture,
  namedIn,
} from '../../kernel-architecture.ts';
import type { ProcessorOptions } from '../../processor-options.ts';
import { explainAccess } from '../explain.ts';
import { CPU_MODELS, type CpuModelName } from '../features.ts';
import { Arm64MmuEvents } from '../mmu-events.ts';
import { Arm64KernelArch } from './arm64-kernel-arch.ts';
import { explainInContext, mmuOf } from './explain-in-context.ts';
import { Arm64LiveTables } from './live-tables.ts';
import { Arm64SpeculativeFills } from './speculative-fills.ts';
import { Arm64TlbView } from './tlb-view.ts';

/** The machine of the recorded traces. */
const DEFAULT_MODEL: CpuModelName = 'qemu-10.0-max';

const modelsByLevels = () =>
  Object.entries(CPU_MODELS).map(([name, { lpa2Granule4k }]) => [name, lpa2Granule4k] as const);

function processor(options: ProcessorOptions): Required<ProcessorOptions> {
  const { cpuModel = DEFAULT_MODEL, tlbProfile = NEOVERSE_V2.name } = options;
  namedIn('CPU model', CPU_MODELS, cpuModel);
  namedIn('TLB profile', TLB_PROFILES, tlbProfile);
  return { cpuModel, levels: checkedLevels(options.levels ?? 4, cpuModel, modelsByLevels), tlbProfile };
}

function createKernelArch(options: ArchOptions): KernelArch {
  const { cpuModel, levels, tlbProfile } = processor(options);
  return new Arm64KernelArch({
    machine: options.machine,
    initRootFrame: options.initRootFrame,
    retention: options.retention ?? 'profile',
    features: namedIn('CPU model', CPU_MODELS, cpuModel),
    levels: levels === 5 ? 5 : 4,
    tlbProfile: namedIn('TLB profile', TLB_PROFILES, tlbProfile),
  });
}

function own(arch: KernelArch): Arm64KernelArch {
  if (!(arch instanceof Arm64KernelArch)) throw new RangeError(`${arch.name} is not arm64`);
  return arch;
}

export const ARM64: KernelArchitecture = {
  name: 'arm64',
  processor,
  createKernelArch,
  createLiveTables: (arch) => new Arm64LiveTables(own(arch)),
  createTlbView: (arch) => new Arm64TlbView(own(arch)),
  tlbsOf: (arch) => own(arch).mmus.map(({ tlbs, pagingStructure }) => [...tlbs, ...pagingStructure.levels]),
  createSpeculativeFills: (arch) => new Arm64SpeculativeFills(own(arch).mmus),
  observeMmus(arch, options) {
    own(arch).mmus.forEach((mmu, cpu) => {
      mmu.observer = new Arm64MmuEvents(mmu, cpu, options);
    });
  },
  explainInContext: (arch, cpu, context, address, access) =>
    explainInContext(own(arch), cpu, context, address, access),
  explainOnCpu: (arch, cpu, address, access) => explainAccess(mmuOf(own(arch), cpu), address, access),
};
