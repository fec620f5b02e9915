/**
 * A fault is a value that says what happened: the cause. What the processor reports of it (x86: vector, error code and
 * CR2; arm64: ESR_ELx and FAR_ELx) is a pure function of the cause, in the architecture's `fault-code.ts`.
 */

/** Why an access could not be made. 0 is success, so that `translate(…) !== 0` asks "did it fault?". */
export const FaultKind = {
  None: 0,
  /** The address is not one the paging mode can translate (x86: non-canonical). */
  NotCanonical: 1,
  /** An entry on the way is not present. */
  NotPresent: 2,
  /** There is a translation and it does not allow this access. */
  Permission: 3,
  /** An entry has a reserved bit set. */
  Reserved: 4,
  /** A table or the data itself lies outside every region of physical memory. */
  Bus: 5,
  /** arm64: an address in a register or a descriptor is wider than the configured output size. */
  AddressSize: 6,
  /** arm64: the Access flag is clear and hardware does not set it. */
  AccessFlag: 7,
  /** The alignment that the access or the memory type asks for is missing. */
  Alignment: 8,
  /** arm64 MTE: the logical tag of the pointer is not the Allocation Tag of the memory. */
  TagCheck: 9,
  /** The instruction that would make the access is UNDEFINED here: arm64 LDGM, STGM and STZGM at EL0. */
  Undefined: 10,
  /** arm64: the instruction is trapped to EL1 (DC ZVA at EL0 with SCTLR_EL1.DZE = 0); `reasons` holds the ISS. */
  Trapped: 11,
} as const;
export type FaultKind = (typeof FaultKind)[keyof typeof FaultKind];

export const FAULT_KIND_NAMES = [
  'none',
  'not canonical',
  'not present',
  'permission',
  'reserved bit',
  'bus error',
  'address size',
  'access flag',
  'alignment',
  'tag check',
  'undefined instruction',
  'trapped instruction',
] as const;

/** The one reused fault object of an MMU: valid after a call that did not return `FaultKind.None`. */
export class FaultSlot {
  kind: FaultKind = FaultKind.None;
  /** The faulting address, as the architecture reports it (x86 with linear-address masking: after masking). */
  addressHi = 0;
  addressLo = 0;
  /** The `Access` bits of the access. */
  access = 0;
  /** Level of the entry that decided, 1 for the last-level table; 0 when no entry was read (TLB hit, not canonical). */
  level = 0;
  /** Every reason that held, in the architecture's own bits (x86: `Reason` of permissions.ts). */
  reasons = 0;
  /** Physical address and contents of the deciding entry; meaningful when `level` is not 0. */
  entryAddressHi = 0;
  entryAddressLo = 0;
  entryHi = 0;
  entryLo = 0;
}
