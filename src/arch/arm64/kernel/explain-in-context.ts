/** One translation in the address space of a process, whether or not it is loaded on a CPU just now. */
import type { ExplainedWalk } from '../../explained-walk.ts';
import type { MmContext } from '../../kernel-arch.ts';
import { explainAccess } from '../explain.ts';
import { Arm64Mmu } from '../mmu.ts';
import type { Arm64KernelArch } from './arm64-kernel-arch.ts';
import { tableHigh, tableLow } from './translation-tables.ts';

/** The MMU of a CPU. */
export function mmuOf(arch: Arm64KernelArch, cpu: number): Arm64Mmu {
  const mmu = arch.mmus[cpu];
  if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
  return mmu;
}

/**
 * Explains an access through the page tables of `context` with the system registers of `cpu`, on an MMU of its own whose
 * caches are empty. Access flag and dirty state are set as by any access.
 * @param address 64 bits @param access `Access` bits
 */
export function explainInContext(
  arch: Arm64KernelArch,
  cpu: number,
  context: MmContext,
  address: bigint,
  access: number,
): ExplainedWalk {
  const running = mmuOf(arch, cpu);
  const mmu = new Arm64Mmu(arch.machine.memory, { features: running.features, retention: 'none' });
  Object.assign(mmu.state, running.state);
  mmu.state.ttbr0Hi = tableHigh(context.rootFrame);
  mmu.state.ttbr0Lo = tableLow(context.rootFrame);
  mmu.updateControls();
  return explainAccess(mmu, address, access);
}
