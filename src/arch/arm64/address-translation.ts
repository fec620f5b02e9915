/**
 * The address translation instructions AT S1E1R, S1E1W, S1E0R, S1E0W, S1E1RP and S1E1WP: a translation as the named access
 * would be made, its result or its fault in PAR_EL1. S1E1RP and S1E1WP heed PSTATE.PAN, the others do not. No alignment
 * and no Allocation Tag is checked, and a data address it is, so TBID does not apply.
 * Left out: the forms of EL2 and EL3, stage 2, S1E1A (FEAT_ATS1A), the 128-bit PAR_EL1 (FEAT_D128).
 *
 * Choices where the manual allows several:
 * - With hardware management of the Access flag the instruction may set it or not: here it does not, and succeeds. The
 *   same holds for dirty state.
 * - It walks the tables in memory, though it may use what the TLBs hold; it fills nothing.
 * - PAR_EL1 bit 10 reads as 0; PAR_EL1[63:48] after a fault read as 0.
 *
 * @see Arm ARM (DDI 0487), "Address translation instructions", "PAR_EL1, Physical Address Register"
 */
import { InputError } from '../../base/input-error.ts';
import { fromHalves, highHalf, lowHalf } from '../../base/u64.ts';
import { Access } from '../access.ts';
import { FaultKind, type FaultSlot } from '../fault.ts';
import { faultStatus } from './fault-code.ts';
import { Reason } from './fault-reasons.ts';
import type { Arm64Features } from './features.ts';
import { parShareability } from './memory-attributes.ts';
import { PAR_EL1, PAR_EL1_FAULT } from './system-registers.ts';
import type { Translation } from './translation.ts';

export interface AtOperation {
  /** As the assembler writes it. */
  readonly name: string;
  /** `Access` bits of the access it stands for. */
  readonly access: number;
  /** Heeds PSTATE.PAN (FEAT_PAN2). */
  readonly pan: boolean;
}

export const AT_OPERATIONS: readonly AtOperation[] = [
  { name: 'S1E1R', access: Access.Read, pan: false },
  { name: 'S1E1W', access: Access.Write, pan: false },
  { name: 'S1E0R', access: Access.Read | Access.User, pan: false },
  { name: 'S1E0W', access: Access.Write | Access.User, pan: false },
  { name: 'S1E1RP', access: Access.Read, pan: true },
  { name: 'S1E1WP', access: Access.Write, pan: true },
];

/** @param name in any case: `s1e1rp` @throws InputError when there is no such instruction here */
export function atNamed(name: string): AtOperation {
  const upper = name.toUpperCase();
  const found = AT_OPERATIONS.find((operation) => operation.name === upper);
  if (found !== undefined) return found;
  throw new InputError('no such AT instruction of the EL1&0 regime', {
    expected: AT_OPERATIONS.map((operation) => operation.name).join(', '),
    found: `'${name}'`,
  });
}

/** Why the instruction is UNDEFINED on this CPU at this Exception level; null when it is not. */
export function atUndefined(
  operation: AtOperation,
  features: Pick<Arm64Features, 'pan'>,
  exceptionLevel: 0 | 1,
): string | null {
  if (exceptionLevel === 0) return `AT ${operation.name} is UNDEFINED at EL0`;
  if (operation.pan && features.pan < 2) return `AT ${operation.name} needs FEAT_PAN2`;
  return null;
}

/**
 * Executes the instruction at EL1 and writes PAR_EL1.
 * @param address Xt
 * @returns false when the walk met an External abort: that is an exception (a Data Abort with CM = 1 and WnR = 1, its
 *   cause in `mmu.fault`) and not a result, and PAR_EL1, which is UNKNOWN then, stays
 */
export function executeAt(mmu: Translation, operation: AtOperation, address: bigint): boolean {
  const { state } = mmu;
  const { pan } = state;
  if (pan && !operation.pan) mmu.setPan(false);
  const kind = mmu.probe(highHalf(address), lowHalf(address), operation.access);
  if (pan && !operation.pan) mmu.setPan(true);
  if (kind === FaultKind.Bus) {
    abort(mmu.fault);
    return false;
  }
  if (kind === FaultKind.None) setTranslated(mmu);
  else {
    state.parHi = 0;
    state.parLo = failed(mmu.fault);
  }
  return true;
}

/** The cause of the Data Abort: at EL1, where the instruction is executed, though it may ask with the rights of EL0. */
function abort(fault: FaultSlot): void {
  fault.reasons |= Reason.Maintenance;
  if ((fault.access & Access.User) !== 0) fault.access ^= Access.User | Access.Unprivileged;
}

/** PAR_EL1 as a 64-bit word. */
export const parEl1 = ({ state }: Translation): bigint => fromHalves(state.parHi, state.parLo);

// Halves and not layouts: a system that is asked for many translations spends its time here.
const SH_SHIFT = PAR_EL1.field('SH').low;
const PA = PAR_EL1.half('PA');
const ATTR_SHIFT = PAR_EL1.field('ATTR').low - 32;
const NON_SECURE = PAR_EL1.half('NS', 'NSE').lo;
const FAILED = PAR_EL1_FAULT.half('F', 'RES1_11').lo;
const FST_SHIFT = PAR_EL1_FAULT.field('FST').low;
const OVERLAY = PAR_EL1_FAULT.half('Overlay').lo;
const DIRTY_BIT = PAR_EL1_FAULT.half('DirtyBit').lo;

/** NS is 1: all addresses here are Non-secure. Bit 11 is RES1, as there is no FEAT_RME. */
function setTranslated(mmu: Translation): void {
  const { state, memoryAttribute } = mmu;
  const shareability = parShareability(memoryAttribute, mmu.shareability);
  state.parHi = (memoryAttribute << ATTR_SHIFT) | (mmu.paHi & PA.hi);
  state.parLo = (mmu.paLo & PA.lo) | NON_SECURE | (shareability << SH_SHIFT);
}

/** Bits 31:0; the others are 0. */
function failed(fault: FaultSlot): number {
  const par = FAILED | (faultStatus(fault) << FST_SHIFT);
  if (fault.kind !== FaultKind.Permission) return par;
  const overlay = (fault.reasons & Reason.Overlay) !== 0 ? OVERLAY : 0;
  return par | overlay | ((fault.reasons & Reason.DirtyBit) !== 0 ? DIRTY_BIT : 0);
}
