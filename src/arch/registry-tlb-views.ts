/** What the translation caches hold, by architecture name, for checkers. */
import type { KernelArch } from './kernel-arch.ts';
import type { TlbView } from './tlb-view.ts';
import { X86TlbView } from './x86_64/kernel/tlb-view.ts';
import { X86KernelArch } from './x86_64/kernel/x86-kernel-arch.ts';

/** @throws RangeError when the architecture has no such view */
export function createTlbView(arch: KernelArch): TlbView {
  if (arch instanceof X86KernelArch) return new X86TlbView(arch);
  throw new RangeError(`no view of the TLBs of ${arch.name}`);
}
