/**
 * What the processor reports of a fault: vector, error code and CR2, each a pure function of the cause in a `FaultSlot`.
 * Left out: HLAT, SGX and RMP bits of the error code; machine-check details of a bus error.
 *
 * @see Intel SDM vol. 3A, "Page-Fault Exceptions" and "Interrupt 14—Page-Fault Exception (#PF)"
 */
import { fromHalves } from '../../base/u64.ts';
import { Access } from '../access.ts';
import { FaultKind, type FaultSlot } from '../fault.ts';
import { KEY_REASONS, Reason } from './permissions.ts';
import { PAGE_FAULT_ERROR } from './registers.ts';

/** Exception vectors that an access can raise. */
export const Vector = {
  StackFault: 12,
  GeneralProtection: 13,
  PageFault: 14,
  /** A read of an address where there is no memory: reported as a machine check here. */
  MachineCheck: 18,
} as const;

const code = {
  P: PAGE_FAULT_ERROR.half('P').lo,
  WR: PAGE_FAULT_ERROR.half('WR').lo,
  US: PAGE_FAULT_ERROR.half('US').lo,
  RSVD: PAGE_FAULT_ERROR.half('RSVD').lo,
  ID: PAGE_FAULT_ERROR.half('ID').lo,
  PK: PAGE_FAULT_ERROR.half('PK').lo,
  SS: PAGE_FAULT_ERROR.half('SS').lo,
} as const;

/** The exception vector of a fault. A non-canonical address is #SS through the stack segment, else #GP. */
export function faultVector(fault: Readonly<FaultSlot>): number {
  if (fault.kind === FaultKind.NotCanonical) {
    return (fault.access & Access.StackSegment) !== 0 ? Vector.StackFault : Vector.GeneralProtection;
  }
  return fault.kind === FaultKind.Bus ? Vector.MachineCheck : Vector.PageFault;
}

/**
 * The error code of a fault. 0 for #GP and #SS.
 * P says that a translation was there or a reserved bit was found, so RSVD implies P; PK needs a translation and says
 * that a protection key alone would have forbidden the access, whatever else did; I/D is reported only with EFER.NXE
 * or CR4.SMEP.
 */
export function faultErrorCode(fault: Readonly<FaultSlot>): number {
  if (faultVector(fault) !== Vector.PageFault) return 0;
  const { kind, access, reasons } = fault;
  let error = 0;
  if (kind !== FaultKind.NotPresent) error |= code.P;
  if (kind === FaultKind.Reserved) error |= code.RSVD;
  if ((access & Access.Write) !== 0) error |= code.WR;
  if ((access & Access.User) !== 0) error |= code.US;
  if ((access & Access.ShadowStack) !== 0) error |= code.SS;
  if ((reasons & Reason.FetchIsReported) !== 0) error |= code.ID;
  if ((reasons & KEY_REASONS) !== 0) error |= code.PK;
  return error;
}

/**
 * What CR2 holds after a fault: the linear address for #PF, undefined where CR2 does not change. With linear-address
 * masking it is the address after masking, without the metadata.
 * @see Intel SDM vol. 3A, "Linear-Address Pre-Processing": masking comes before paging
 */
export function faultCr2(fault: Readonly<FaultSlot>): bigint | undefined {
  if (faultVector(fault) !== Vector.PageFault) return undefined;
  return fromHalves(fault.addressHi, fault.addressLo);
}
