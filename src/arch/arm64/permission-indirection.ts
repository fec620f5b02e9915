/**
 * Stage 1 permission indirection (FEAT_S1PIE): a four-bit index from the descriptor chooses a field of PIR_EL1 for EL1
 * and of PIRE0_EL1 for EL0. Left out: accesses to Guarded Control Stacks; their memory is readable.
 * @see Arm ARM (DDI 0487), "Stage 1 permissions", "Indirect permissions"; "PIR_EL1, Permission Indirection Register 1 (EL1)";
 * shared pseudocode AArch64.S1IndirectBasePermissions
 */
import { Grant, type Permissions } from './permission-grants.ts';

const { R, W, X } = Grant;

/** The base permissions that a field of PIR_EL1 or PIRE0_EL1 stands for. Those not named are reserved: no access. */
const FIELD_GRANTS: readonly number[] = [
  0,
  R,
  X,
  R | X,
  0,
  R | W,
  R | W | X,
  R | W | X,
  R,
  R,
  R | X,
  0,
  R | W,
  0,
  R | W | X,
  0,
];

/** Field value 0b0110: writable memory is not executable, or executable memory not writable if an overlay applies. */
const READ_WRITE_NOT_EXECUTE = 0b0110;
/** Field value 0b1001: memory of a Guarded Control Stack, which stack operations write. */
const GUARDED_CONTROL_STACK = 0b1001;
/** Fields with this bit are not subject to overlays. */
const NO_OVERLAY = 0b1000;

/** Field `index` of a register of sixteen four-bit fields. */
export const permissionField = (hi: number, lo: number, index: number): number =>
  ((index < 8 ? lo : hi) >>> (4 * (index & 7))) & 0xf;

/**
 * Base permissions of a page under indirection. What EL1 may execute and EL0 may write is accessible to neither; a
 * Guarded Control Stack counts for EL1 as executed, for EL0 as written.
 * @param privileged @param unprivileged the fields of PIR_EL1 and PIRE0_EL1
 */
export function indirectPermissions(privileged: number, unprivileged: number): Permissions {
  const el1 = FIELD_GRANTS[privileged] as number;
  const el0 = FIELD_GRANTS[unprivileged] as number;
  const trusted = (el1 & X) !== 0 || privileged === GUARDED_CONTROL_STACK;
  const conflict = trusted && ((el0 & W) !== 0 || unprivileged === GUARDED_CONTROL_STACK);
  return {
    el1: conflict ? 0 : el1,
    el0: conflict ? 0 : el0,
    conflict,
    wxn1: privileged === READ_WRITE_NOT_EXECUTE,
    wxn0: unprivileged === READ_WRITE_NOT_EXECUTE,
    overlay1: (privileged & NO_OVERLAY) === 0,
    overlay0: (unprivileged & NO_OVERLAY) === 0,
  };
}
