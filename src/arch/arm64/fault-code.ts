/**
 * What the processor reports of a fault taken to EL1: ESR_EL1 and FAR_EL1, each a pure function of the cause in a
 * `FaultSlot`. Left out: routing to EL2 and EL3, stage 2, Granule Protection Checks, SError, parity errors.
 *
 * @see Arm ARM (DDI 0487), "ESR_EL1, Exception Syndrome Register (EL1)", "Exception entry", "MMU fault types"
 */
import { fromHalves } from '../../base/u64.ts';
import { Access } from '../access.ts';
import { FaultKind, type FaultSlot } from '../fault.ts';
import { Reason } from './fault-reasons.ts';
import { ESR_EL1, ESR_EL1_DATA_ABORT } from './registers.ts';

/** ESR_EL1.EC of the exceptions that an access can raise. */
export const ExceptionClass = {
  /** An UNDEFINED instruction has the class of all that has no other. */
  Unknown: 0,
  TrappedSystemInstruction: 0x18,
  InstructionAbortLowerEl: 0x20,
  InstructionAbortSameEl: 0x21,
  PcAlignment: 0x22,
  DataAbortLowerEl: 0x24,
  DataAbortSameEl: 0x25,
  SpAlignment: 0x26,
} as const;

const EC_SHIFT = ESR_EL1.field('EC').low;
const IL = ESR_EL1.half('IL').lo;
const WNR = ESR_EL1_DATA_ABORT.half('WnR').lo;
const CM = ESR_EL1_DATA_ABORT.half('CM').lo;
const DIRTY_BIT = ESR_EL1_DATA_ABORT.half('DirtyBit').hi;
const OVERLAY = ESR_EL1_DATA_ABORT.half('Overlay').hi;

/** Fault status codes; those with a level are the code of level 0, to which the level is added. */
const Status = {
  AddressSize: 0b000000,
  Translation: 0b000100,
  AccessFlag: 0b001000,
  Permission: 0b001100,
  ExternalAbort: 0b010000,
  TagCheck: 0b010001,
  ExternalAbortOnWalkMinus1: 0b010011,
  ExternalAbortOnWalk: 0b010100,
  Alignment: 0b100001,
  AddressSizeMinus1: 0b101001,
  TranslationMinus1: 0b101011,
} as const;

/** Level -1 of the architecture, as `FaultSlot.level` counts. */
const LEVEL_MINUS_1 = 5;

/** The level of a fault as the architecture counts, -1 to 3. A fault before any descriptor was read is of level 0. */
export function faultLevel(fault: Readonly<FaultSlot>): number {
  return fault.level === 0 ? 0 : 4 - fault.level;
}

/**
 * DFSC, IFSC or PAR_EL1.FST of a fault: six bits. An External abort of the data itself (not of the walk) has level 0 in
 * the slot.
 */
export function faultStatus(fault: Readonly<FaultSlot>): number {
  const minus1 = fault.level === LEVEL_MINUS_1;
  const level = faultLevel(fault);
  switch (fault.kind) {
    case FaultKind.NotPresent:
      return minus1 ? Status.TranslationMinus1 : Status.Translation + level;
    case FaultKind.AddressSize:
      return minus1 ? Status.AddressSizeMinus1 : Status.AddressSize + level;
    case FaultKind.AccessFlag:
      return Status.AccessFlag + level;
    case FaultKind.Permission:
      return Status.Permission + level;
    case FaultKind.Alignment:
      return Status.Alignment;
    case FaultKind.TagCheck:
      return Status.TagCheck;
    case FaultKind.Bus:
      if (fault.level === 0) return Status.ExternalAbort;
      return minus1 ? Status.ExternalAbortOnWalkMinus1 : Status.ExternalAbortOnWalk + level;
    default:
      throw new Error(`fault kind ${fault.kind} does not exist on arm64`);
  }
}

/** ESR_EL1.EC. A misaligned PC has a class of its own, and so has a misaligned SP. */
export function faultExceptionClass(fault: Readonly<FaultSlot>): number {
  const user = (fault.access & Access.User) !== 0;
  if (fault.kind === FaultKind.Undefined) return ExceptionClass.Unknown;
  if (fault.kind === FaultKind.Trapped) return ExceptionClass.TrappedSystemInstruction;
  if ((fault.reasons & Reason.StackPointer) !== 0) return ExceptionClass.SpAlignment;
  if ((fault.access & Access.Fetch) !== 0) {
    if (fault.kind === FaultKind.Alignment) return ExceptionClass.PcAlignment;
    return user ? ExceptionClass.InstructionAbortLowerEl : ExceptionClass.InstructionAbortSameEl;
  }
  return user ? ExceptionClass.DataAbortLowerEl : ExceptionClass.DataAbortSameEl;
}

/**
 * ESR_EL1.WnR of an access. An atomic one reads first: its fault is a read's unless only the write was denied.
 * @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Data Abort", WnR
 */
function isReportedAsWrite(fault: Readonly<FaultSlot>): boolean {
  if ((fault.access & Access.Write) === 0) return false;
  return (fault.access & Access.Atomic) === 0 || (fault.reasons & Reason.WriteOfAtomic) !== 0;
}

/**
 * Bits 31:0 of ESR_EL1, as an int32. AT and cache maintenance set CM, and WnR whatever they ask.
 * @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Data Abort", CM and WnR
 */
export function faultEsrLow(fault: Readonly<FaultSlot>): number {
  const exceptionClass = faultExceptionClass(fault);
  let esr = (exceptionClass << EC_SHIFT) | IL;
  switch (exceptionClass) {
    case ExceptionClass.Unknown:
    case ExceptionClass.PcAlignment:
    case ExceptionClass.SpAlignment:
      return esr;
    case ExceptionClass.TrappedSystemInstruction:
      return esr | fault.reasons;
  }
  esr |= faultStatus(fault);
  if ((fault.reasons & Reason.Maintenance) !== 0) return esr | CM | WNR;
  if ((fault.access & Access.Fetch) === 0 && isReportedAsWrite(fault)) esr |= WNR;
  return esr;
}

/** Bits 63:32 of ESR_EL1: ISS2, of Permission faults only. */
export function faultEsrHigh(fault: Readonly<FaultSlot>): number {
  if (fault.kind !== FaultKind.Permission) return 0;
  let esr = 0;
  if ((fault.reasons & Reason.DirtyBit) !== 0) esr |= DIRTY_BIT;
  if ((fault.reasons & Reason.Overlay) !== 0) esr |= OVERLAY;
  return esr;
}

/** ESR_EL1. IL is 1: every instruction of A64 has 32 bits. ISV is 0, as in every abort of stage 1 translation. */
export function faultEsr(fault: Readonly<FaultSlot>): bigint {
  return fromHalves(faultEsrHigh(fault), faultEsrLow(fault));
}

/**
 * FAR_EL1: the faulting address with its top byte, except that of a fetch is what was branched to after the top byte was
 * made a sign extension. Its halves are `fault.addressHi` and `fault.addressLo`.
 * @see Arm ARM (DDI 0487), "FAR_EL1, Fault Address Register (EL1)", "AArch64.BranchAddr"
 */
export function faultFar(fault: Readonly<FaultSlot>): bigint {
  return fromHalves(fault.addressHi, fault.addressLo);
}
