/** Single addresses put through the MMU over a dump, for comparing with what something else said of them. */
import { FAULT_KIND_NAMES, FaultKind } from '../../arch/fault.ts';
import type { Mmu } from '../../arch/mmu.ts';
import { type Halves, hexHalves } from '../../base/u64.ts';
import type { DumpMemory } from './dump-memory.ts';

/** What the MMU says of one address. */
export interface Translated {
  /** Null when it faults. */
  readonly physical: Halves | null;
  /** The address, or why there is none. */
  readonly text: string;
}

export interface DumpTranslator {
  /** Is the address mapped at all, and to what? */
  translate(hi: number, lo: number): Translated;
  /** Is it mapped for a read in this mode, one of the dump's `TruthFormat.modes`? */
  translateIn(mode: string, hi: number, lo: number): Translated;
}

/** One access by an MMU over `memory`. */
export function singleTranslation(
  memory: DumpMemory,
  mmu: Pick<Mmu, 'paHi' | 'paLo' | 'fault'>,
  attempt: () => FaultKind,
): Translated {
  const kind = memory.complete(mmu.fault, attempt);
  if (kind === FaultKind.None) {
    const physical = { hi: mmu.paHi, lo: mmu.paLo };
    return { physical, text: hexHalves(physical.hi, physical.lo) };
  }
  const { fault } = mmu;
  const entry = hexHalves(fault.entryHi, fault.entryLo);
  const at = fault.level === 0 ? '' : `, level ${fault.level} entry ${entry}`;
  return { physical: null, text: `no translation (${FAULT_KIND_NAMES[kind]}${at})` };
}
