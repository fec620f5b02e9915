/** One translation in the address space of a process, whether or not it is loaded on a CPU just now. */

import type { ExplainedWalk } from '../../explained-walk.ts';
import type { MmContext } from '../../kernel-arch.ts';
import { explainWalk } from '../explain.ts';
import { X86Mmu } from '../mmu.ts';
import type { X86KernelArch } from './x86-kernel-arch.ts';

/** The MMU of a CPU. */
export function mmuOf(arch: X86KernelArch, cpu: number): X86Mmu {
  const mmu = arch.mmus[cpu];
  if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
  return mmu;
}

/**
 * Explains an access through the page tables of `context` with the control registers of `cpu`, on an MMU of its own
 * whose caches are empty. Accessed and dirty flags are set as by any access.
 * @param address 64 bits @param access `Access` bits
 */
export function explainInContext(
  arch: X86KernelArch,
  cpu: number,
  context: MmContext,
  address: bigint,
  access: number,
): ExplainedWalk {
  const running = mmuOf(arch, cpu);
  const mmu = new X86Mmu(arch.machine.memory, { features: running.features, retention: 'none' });
  Object.assign(mmu.state, running.state);
  mmu.state.cr3Hi = Math.floor(context.rootFrame / 0x10_0000);
  mmu.state.cr3Lo = ((context.rootFrame % 0x10_0000) * 0x1000) | 0;
  mmu.updateControls();
  return explainWalk(mmu, address, access);
}
