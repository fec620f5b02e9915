/**
 * What an arm64 CPU's MMU is made with, and the registers it reads: EL1&0 translation regime, MTE.
 */
import type { Retention, TlbProfile } from '../../hardware/retention.ts';
import type { Arm64Features } from './features.ts';

/**
 * The registers as int32 halves. At reset the MMU is off (SCTLR_EL1.M = 0). After changing any of them call
 * `updateControls`; `pan` and `uao` alone have cheap setters on the MMU.
 */
export class Arm64State {
  sctlrHi = 0;
  sctlrLo = 0;
  tcrHi = 0;
  tcrLo = 0;
  tcr2Hi = 0;
  tcr2Lo = 0;
  ttbr0Hi = 0;
  ttbr0Lo = 0;
  ttbr1Hi = 0;
  ttbr1Lo = 0;
  mairHi = 0;
  mairLo = 0;
  pirHi = 0;
  pirLo = 0;
  pire0Hi = 0;
  pire0Lo = 0;
  porEl1Hi = 0;
  porEl1Lo = 0;
  porEl0Hi = 0;
  porEl0Lo = 0;
  gcrHi = 0;
  gcrLo = 0;
  rgsrHi = 0;
  rgsrLo = 0;
  parHi = 0;
  parLo = 0;
  /** TFSR_EL1 and TFSRE0_EL1: bit 0 for the lower, bit 1 for the upper address range. */
  tfsr = 0;
  tfsre0 = 0;
  /** PSTATE.PAN, PSTATE.UAO and PSTATE.TCO. */
  pan = false;
  uao = false;
  tco = false;
}

export interface Arm64MmuOptions {
  readonly features?: Arm64Features;
  readonly retention?: Retention;
  readonly profile?: TlbProfile;
}
