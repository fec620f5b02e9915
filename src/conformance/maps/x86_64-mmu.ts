/**
 * The x86-64 MMU over a dump, with the dump's registers.
 * The processor is taken to be Intel's with every feature that the registers may ask for; a core does not tell.
 */
import { Access } from '../../arch/access.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { explainWalk } from '../../arch/x86_64/explain.ts';
import { INTEL_COMPLETE } from '../../arch/x86_64/features.ts';
import { X86Mmu } from '../../arch/x86_64/mmu.ts';
import { CR4 } from '../../arch/x86_64/registers.ts';
import { highHalf, lowHalf } from '../../base/u64.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { CoreMemory } from '../core/core-memory.ts';
import { DumpMemory } from './dump-memory.ts';
import { type DumpTranslator, singleTranslation } from './dump-translator.ts';
import type { X86DumpState } from './x86_64-state.ts';

function mmuOver({ memory }: DumpMemory, state: X86DumpState, retention: Retention): X86Mmu {
  const mmu = new X86Mmu(memory, {
    features: { ...INTEL_COMPLETE, maxPhysAddr: state.maxPhysAddr },
    retention,
  });
  const registers = mmu.state;
  registers.cr0 = lowHalf(state.cr0);
  registers.cr3Hi = highHalf(state.cr3);
  registers.cr3Lo = lowHalf(state.cr3);
  registers.cr4Hi = highHalf(state.cr4);
  registers.cr4 = lowHalf(state.cr4);
  registers.efer = lowHalf(state.efer);
  registers.pkru = lowHalf(state.pkru);
  mmu.updateControls();
  return mmu;
}

/**
 * Asks only whether an address is mapped: a supervisor read, with SMAP and the protection keys off. It faults for a
 * non-canonical address, an entry that is not present, a reserved bit or a missing table, and for nothing else.
 */
export function x86Translator(memory: CoreMemory, state: X86DumpState): DumpTranslator {
  const off = CR4.mask('SMAP', 'SMEP', 'PKE', 'PKS', 'LAM_SUP');
  const held = new DumpMemory(memory);
  const mmu = mmuOver(held, { ...state, cr4: state.cr4 & ~off }, 'profile');
  return {
    translate: (hi, lo) => singleTranslation(held, mmu, () => mmu.translate(hi, lo, Access.Read)),
    translateIn: () => {
      throw new RangeError('x86-64 truth files name no modes');
    },
  };
}

/**
 * One access, level by level, through an MMU that has cached nothing. @param access `Access` bits
 */
export function explainX86(
  memory: CoreMemory,
  state: X86DumpState,
  address: bigint,
  access: number,
): ExplainedWalk {
  const path = new DumpMemory(memory);
  const scout = mmuOver(path, state, 'none');
  path.complete(scout.fault, () => scout.translate(highHalf(address), lowHalf(address), access));
  return explainWalk(mmuOver(path.pristine(), state, 'profile'), address, access);
}
