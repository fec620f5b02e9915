/**
 * The arm64 MMU over a dump, with the dump's registers. It answers what a mapping allows and to what an address
 * translates; nothing it is asked changes the dump's tables.
 */
import { Access } from '../../arch/access.ts';
import { explainAccess } from '../../arch/arm64/explain.ts';
import { Arm64Mmu, Arm64State } from '../../arch/arm64/mmu.ts';
import { TCR_EL1 } from '../../arch/arm64/registers.ts';
import { SCTLR_EL1 } from '../../arch/arm64/system-registers.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { FaultKind } from '../../arch/fault.ts';
import { highHalf, lowHalf } from '../../base/u64.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { CoreMemory } from '../core/core-memory.ts';
import type { Arm64Leaf } from './arm64-leaves.ts';
import type { Arm64DumpState } from './arm64-state.ts';
import { DumpMemory } from './dump-memory.ts';
import { type DumpTranslator, singleTranslation, type Translated } from './dump-translator.ts';

/** The registers of a dump as an MMU has them; PSTATE.PAN, UAO and TCO = 0. */
export function registersOf(state: Arm64DumpState): Arm64State {
  const registers = new Arm64State();
  registers.sctlrHi = highHalf(state.sctlr);
  registers.sctlrLo = lowHalf(state.sctlr);
  registers.tcrHi = highHalf(state.tcr);
  registers.tcrLo = lowHalf(state.tcr);
  registers.tcr2Hi = highHalf(state.tcr2);
  registers.tcr2Lo = lowHalf(state.tcr2);
  registers.ttbr0Hi = highHalf(state.ttbr0);
  registers.ttbr0Lo = lowHalf(state.ttbr0);
  registers.ttbr1Hi = highHalf(state.ttbr1);
  registers.ttbr1Lo = lowHalf(state.ttbr1);
  registers.mairHi = highHalf(state.mair);
  registers.mairLo = lowHalf(state.mair);
  registers.pirHi = highHalf(state.pir);
  registers.pirLo = lowHalf(state.pir);
  registers.pire0Hi = highHalf(state.pire0);
  registers.pire0Lo = lowHalf(state.pire0);
  registers.porEl1Hi = highHalf(state.porEl1);
  registers.porEl1Lo = lowHalf(state.porEl1);
  registers.porEl0Hi = highHalf(state.porEl0);
  registers.porEl0Lo = lowHalf(state.porEl0);
  return registers;
}

/** Over memory without Allocation Tags: a dump holds none, so none are checked. */
function mmuOver(
  { memory }: DumpMemory,
  state: Arm64DumpState,
  pstate: Partial<Pick<Arm64State, 'pan' | 'uao' | 'tco'>>,
  retention: Retention,
): Arm64Mmu {
  const mmu = new Arm64Mmu(memory, { features: { ...state.features, mte: 0 }, retention });
  Object.assign(mmu.state, registersOf(state), pstate);
  mmu.updateControls();
  return mmu;
}

/** How the rows of a truth file are asked: reads at EL1 with PAN clear, at EL0, at EL1 with PAN set. */
const MODES = {
  el1: { access: Access.Read, pan: false },
  el0: { access: Access.User, pan: false },
  el1pan: { access: Access.Read, pan: true },
} as const;
type Mode = keyof typeof MODES;
export const ARM64_MODES = Object.keys(MODES) as readonly Mode[];

/** Asks whether an address is mapped for a read: in one mode, or in any. */
export function arm64Translator(memory: CoreMemory, state: Arm64DumpState): DumpTranslator {
  const held = new DumpMemory(memory);
  const [panClear, panSet] = [mmuOver(held, state, {}, 'none'), mmuOver(held, state, { pan: true }, 'none')];
  const translateIn = (mode: string, hi: number, lo: number): Translated => {
    const { access, pan } = MODES[mode as Mode];
    const mmu = pan ? panSet : panClear;
    return singleTranslation(held, mmu, () => mmu.probe(hi, lo, access));
  };
  return {
    translateIn,
    translate: (hi, lo) => {
      const kernel = translateIn('el1', hi, lo);
      if (kernel.physical !== null) return kernel;
      const user = translateIn('el0', hi, lo);
      return user.physical === null ? kernel : user;
    },
  };
}

/** One access, level by level, through an MMU that has cached nothing. @param access `Access` bits */
export function explainArm64(
  memory: CoreMemory,
  state: Arm64DumpState,
  address: bigint,
  access: number,
): ExplainedWalk {
  const path = new DumpMemory(memory);
  const pstate = (access & Access.User) !== 0 ? state.pstateEl0 : state.pstateEl1;
  const { pan, uao, tco } = pstate;
  const scout = mmuOver(path, state, { pan, uao, tco }, 'none');
  path.complete(scout.fault, () => scout.probe(highHalf(address), lowHalf(address), access));
  const mmu = mmuOver(path.pristine(), state, { pan, uao, tco }, 'profile');
  return withDumpRemarks(explainAccess(mmu, address, access), state, pstate.origin);
}

/** Where PSTATE comes from, and that tags were not checked where the registers ask for it. */
function withDumpRemarks(walk: ExplainedWalk, { sctlr }: Arm64DumpState, origin: string): ExplainedWalk {
  const registers = walk.registers.map((register) =>
    register.name === 'PSTATE' ? { ...register, summary: `${register.summary}; ${origin}` } : register,
  );
  const user = (walk.access & Access.User) !== 0;
  const asked = SCTLR_EL1.has(sctlr, user ? 'ATA0' : 'ATA') && SCTLR_EL1.has(sctlr, user ? 'TCF0' : 'TCF');
  const data = (walk.access & Access.Fetch) === 0 && walk.outcome.kind === 'translation';
  const unchecked = asked && data ? ['tag check: unchecked: a dump holds no Allocation Tags'] : [];
  return { ...walk, registers, rules: [...walk.rules, ...unchecked] };
}

/** What may be done with a page, as bits; PAN does not count. */
export const Right = {
  EL1_READ: 1,
  EL1_WRITE: 2,
  EL1_EXECUTE: 4,
  EL0_READ: 8,
  EL0_WRITE: 16,
  EL0_EXECUTE: 32,
  /** An address on the way is too wide: no access comes to its permissions. */
  ADDRESS_SIZE: 64,
} as const;

const ASKED: readonly (readonly [access: number, right: number])[] = [
  [Access.Read, Right.EL1_READ],
  [Access.Write, Right.EL1_WRITE],
  [Access.Fetch, Right.EL1_EXECUTE],
  [Access.User, Right.EL0_READ],
  [Access.User | Access.Write, Right.EL0_WRITE],
  [Access.User | Access.Fetch, Right.EL0_EXECUTE],
];

/**
 * What every page allows: each kind of access is put to the MMU, so that tables above the page, SCTLR_EL1.WXN, implied
 * PXN, E0PD, permission indirection and overlays count as they do for an access. Access flags count as set: software that
 * keeps them itself (TCR_EL1.HA = 0) sets them before an access ends.
 */
export class Arm64RightsOracle {
  readonly #held: DumpMemory;
  readonly #mmu: Arm64Mmu;

  constructor(memory: CoreMemory, state: Arm64DumpState) {
    this.#held = new DumpMemory(memory);
    this.#mmu = mmuOver(this.#held, accessFlagsSet(state), {}, 'none');
  }

  /** `Right` bits of the page that a leaf starts with. */
  rightsOf({ page }: Readonly<Arm64Leaf>): number {
    const hi = Math.floor(page / 2 ** 20) | 0;
    const lo = (page % 2 ** 20) << 12;
    let rights = 0;
    for (const [access, right] of ASKED) {
      const kind = this.#held.complete(this.#mmu.fault, () => this.#mmu.probe(hi, lo, access));
      if (kind === FaultKind.None) rights |= right;
      else if (kind === FaultKind.AddressSize) return Right.ADDRESS_SIZE;
    }
    return rights;
  }
}

/** Hardware sets access flags, and goes on leaving dirty state alone where it did. */
function accessFlagsSet(state: Arm64DumpState): Arm64DumpState {
  if (TCR_EL1.has(state.tcr, 'HA') && state.features.hafdbs !== 0) return state;
  const { hafdbs } = state.features;
  const tcr = TCR_EL1.set(TCR_EL1.set(state.tcr, 'HA', 1), 'HD', 0);
  return { ...state, tcr, features: { ...state.features, hafdbs: hafdbs === 0 ? 1 : hafdbs } };
}
