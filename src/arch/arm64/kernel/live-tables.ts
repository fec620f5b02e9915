/**
 * The page tables of user space as the check of break-before-make sees them: registers as the CPUs were set up, ASIDs by
 * Linux's allocator. Left out: the kernel's own tables.
 */
import type { InvalidationObserver, LiveTableRules, LiveTables } from '../../break-before-make.ts';
import type { MmContext } from '../../kernel-arch.ts';
import { Arm64InvalidationReporter, Arm64LiveTableRules } from '../break-before-make.ts';
import type { Arm64KernelArch } from './arm64-kernel-arch.ts';
import type { Arm64MmContext } from './asid.ts';

export class Arm64LiveTables implements LiveTables {
  readonly rules: LiveTableRules;
  readonly #arch: Arm64KernelArch;

  constructor(arch: Arm64KernelArch) {
    const mmu = arch.mmus[0];
    if (mmu === undefined) throw new Error('no cpu');
    this.#arch = arch;
    this.rules = new Arm64LiveTableRules(mmu.state, arch.features);
  }

  asidOf(context: MmContext): number | null {
    const own = context as Arm64MmContext;
    return own.id === 0 ? null : this.#arch.asids.asidOf(own);
  }

  observe(observer: InvalidationObserver): void {
    this.#arch.domain.observer = new Arm64InvalidationReporter(observer);
  }
}
