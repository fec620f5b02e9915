/**
 * Which accesses are tag checked, and what a failed check does: prepared whenever a register changes, so that an access
 * asks one table. The comparison itself is in ../mmu.ts, beside the data.
 * An access is checked when the top byte of its address is ignored (TBI), its Exception level has access to Allocation
 * Tags (SCTLR_EL1.ATA, ATA0), a fault would have an effect (TCF, TCF0), PSTATE.TCO = 0, the address is not exempt
 * (TCMA), the instruction is one that is checked, and the memory is Tagged Normal memory.
 * Left out: FEAT_MTE_STORE_ONLY, FEAT_MTE_PERM, FEAT_MTE_CANONICAL_TAGS and FEAT_MTE_NO_ADDRESS_TAGS.
 * @see Arm ARM (DDI 0487), "Tag checking", "Tag Checked and Tag Unchecked accesses"; shared pseudocode
 * AArch64.AccessIsTagChecked, AArch64.EffectiveTCF
 */
import { Access } from '../../access.ts';
import type { Arm64Features } from '../features.ts';
import { TCR_EL1 } from '../registers.ts';
import type { Arm64State } from '../state.ts';
import { SCTLR_EL1 } from '../system-registers.ts';

const { User: USER, Unprivileged: UNPRIVILEGED, Write: WRITE, Atomic: ATOMIC } = Access;

/** SCTLR_EL1.TCF and TCF0: the effect of a failed check. */
export const CheckMode = {
  None: 0,
  Synchronous: 1,
  Asynchronous: 2,
  /** Synchronous when the access reads (an atomic does), else asynchronous. FEAT_MTE3. */
  Asymmetric: 3,
} as const;
export type CheckMode = (typeof CheckMode)[keyof typeof CheckMode];

const TCF_SHIFT = SCTLR_EL1.field('TCF').low - 32;
const TCF0_SHIFT = SCTLR_EL1.field('TCF0').low - 32;
const ATA = SCTLR_EL1.half('ATA').hi;
const ATA0 = SCTLR_EL1.half('ATA0').hi;
const TBI0 = TCR_EL1.half('TBI0').hi;
const TBI1 = TCR_EL1.half('TBI1').hi;
const TCMA0 = TCR_EL1.half('TCMA0').hi;
const TCMA1 = TCR_EL1.half('TCMA1').hi;

const EVERY_TAG = 0xffff;
const ALL_BUT_0 = 0xfffe;
const ALL_BUT_15 = 0x7fff;

/** Index into `TagChecks.checked`: VA bit 55, `Access.User`, `Access.Unprivileged`. */
export const checkIndex = (hi: number, access: number): number =>
  ((hi >>> 23) & 1) | ((access & USER) >>> 1) | ((access & UNPRIVILEGED) >>> 4);

export class TagChecks {
  /** By `checkIndex`: bit n says that an access with logical tag n is checked. */
  readonly checked = new Int32Array(8);
  /** Is any access checked? */
  active = false;
  private modeEl0: CheckMode = CheckMode.None;
  private modeEl1: CheckMode = CheckMode.None;
  private tagAccessEl0 = false;
  private tagAccessEl1 = false;
  private unprivilegedIsEl0 = true;

  prepare(state: Readonly<Arm64State>, features: Arm64Features): void {
    const { sctlrHi } = state;
    const present = features.mte >= 2;
    this.tagAccessEl0 = present && (sctlrHi & ATA0) !== 0;
    this.tagAccessEl1 = present && (sctlrHi & ATA) !== 0;
    this.modeEl0 = effectiveMode(sctlrHi >>> TCF0_SHIFT, features);
    this.modeEl1 = effectiveMode(sctlrHi >>> TCF_SHIFT, features);
    this.unprivilegedIsEl0 = !(state.uao && features.uao);
    let any = 0;
    for (let index = 0; index < 8; index++) {
      const upper = (index & 1) !== 0;
      const el0 = (index & 2) !== 0 || ((index & 4) !== 0 && this.unprivilegedIsEl0);
      const on = !state.tco && (el0 ? this.tagAccessEl0 : this.tagAccessEl1) && this.mode(el0) !== 0;
      this.checked[index] = on ? checkedTags(state.tcrHi, upper) : 0;
      any |= this.checked[index] as number;
    }
    this.active = any !== 0;
  }

  /**
   * May an instruction with these rights see and change Allocation Tags? If not, it reads tag 0 and writes none.
   * @see Arm ARM (DDI 0487), shared pseudocode AArch64.AllocationTagAccessIsEnabled
   */
  allowsTagAccess(access: number): boolean {
    return this.isEl0(access) ? this.tagAccessEl0 : this.tagAccessEl1;
  }

  /** Does a failed check of this access raise an exception? Otherwise it is noted, and the access is made. */
  failsSynchronously(access: number): boolean {
    const mode = this.mode(this.isEl0(access));
    if (mode === CheckMode.Synchronous) return true;
    return mode === CheckMode.Asymmetric && ((access & WRITE) === 0 || (access & ATOMIC) !== 0);
  }

  /** With EL0's rights: executed there, or LDTR and STTR while PSTATE.UAO = 0. */
  isEl0(access: number): boolean {
    return (access & USER) !== 0 || ((access & UNPRIVILEGED) !== 0 && this.unprivilegedIsEl0);
  }

  private mode(el0: boolean): CheckMode {
    return el0 ? this.modeEl0 : this.modeEl1;
  }
}

/** 0b11 without FEAT_MTE3 is reserved and CONSTRAINED UNPREDICTABLE: here as 0b00, no effect. */
function effectiveMode(field: number, features: Arm64Features): CheckMode {
  const mode = (field & 3) as CheckMode;
  return mode === CheckMode.Asymmetric && features.mte < 3 ? CheckMode.None : mode;
}

/** The tags that are checked in one half of the address space: none without TBI, not the canonical one with TCMA. */
function checkedTags(tcrHi: number, upper: boolean): number {
  if ((tcrHi & (upper ? TBI1 : TBI0)) === 0) return 0;
  if ((tcrHi & (upper ? TCMA1 : TCMA0)) === 0) return EVERY_TAG;
  return upper ? ALL_BUT_15 : ALL_BUT_0;
}
