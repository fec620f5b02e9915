/**
 * From the exception to a question about VMAs: what Linux's handlers of #PF, #GP and #SS make of the error code and CR2.
 * Left out: vsyscall emulation, the AMD prefetch erratum, SGX, kernel-mode faults that are bugs.
 * @see Linux arch/x86/mm/fault.c, `exc_page_fault`, `access_error`, `bad_area_access_from_pkeys`; arch/x86/kernel/traps.c
 */
import { Access } from '../../access.ts';
import type { FaultSlot } from '../../fault.ts';
import { AccessVerdict, EntryKind, type PageFaultInfo } from '../../kernel-arch.ts';
import { VmAccess } from '../../vm-access.ts';
import { faultErrorCode, faultVector, Vector } from '../fault-code.ts';
import { PAGE_FAULT_ERROR, PKRU } from '../registers.ts';
import { VMH_SHADOW_STACK, vmaPkey } from './protection-map.ts';

const P = PAGE_FAULT_ERROR.half('P').lo;
const WR = PAGE_FAULT_ERROR.half('WR').lo;
const RSVD = PAGE_FAULT_ERROR.half('RSVD').lo;
const ID = PAGE_FAULT_ERROR.half('ID').lo;
const PK = PAGE_FAULT_ERROR.half('PK').lo;
const SS = PAGE_FAULT_ERROR.half('SS').lo;
const PKRU_ACCESS_DISABLE = PKRU.half('AD0').lo;
const PKRU_WRITE_DISABLE = PKRU.half('WD0').lo;
const PKRU_BITS_PER_KEY = 2;

const SIGBUS = 7;
const SIGSEGV = 11;
/** si_code of a signal that the kernel sends without a better reason. */
const SI_KERNEL = 0x80;

/** Fills `out` from the MMU's fault. `taskSizePages`: the first page that is not user space. */
export function decodeFault(
  fault: Readonly<FaultSlot>,
  taskSizePages: number,
  pkru: number,
  out: PageFaultInfo,
): void {
  const vector = faultVector(fault);
  out.addressHi = fault.addressHi;
  out.addressLo = fault.addressLo;
  out.page = (fault.addressHi >>> 0) * 0x10_0000 + (fault.addressLo >>> 12);
  out.user = (fault.access & Access.User) !== 0;
  out.keyRights = pkru;
  if (vector !== Vector.PageFault) {
    // #GP: SIGSEGV; #SS and what the bus refuses: SIGBUS. The processor reports no address.
    out.kind = EntryKind.Signal;
    out.signal = vector === Vector.GeneralProtection ? SIGSEGV : SIGBUS;
    out.code = SI_KERNEL;
    return;
  }
  const error = faultErrorCode(fault);
  out.kind = EntryKind.PageFault;
  out.protection = (error & P) !== 0;
  out.write = (error & WR) !== 0;
  out.instruction = (error & ID) !== 0;
  out.protectionKey = (error & PK) !== 0;
  out.shadowStack = (error & SS) !== 0;
  out.corrupt = (error & RSVD) !== 0;
  out.beyondUser = out.page >= taskSizePages;
}

/** @see arch/x86/include/asm/pkeys.h, `__pkru_allows_pkey` */
export function pkruAllows(pkru: number, key: number, write: boolean): boolean {
  const rights = pkru >>> (key * PKRU_BITS_PER_KEY);
  if ((rights & PKRU_ACCESS_DISABLE) !== 0) return false;
  return !write || (rights & PKRU_WRITE_DISABLE) === 0;
}

/** @see `access_error` */
export function accessError(info: PageFaultInfo, vmFlags: number, vmFlagsHigh: number): AccessVerdict {
  if (info.protectionKey) return AccessVerdict.DeniedByKey;
  const { write, instruction } = info;
  if (!instruction && !pkruAllows(info.keyRights, vmaPkey(vmFlagsHigh), write))
    return AccessVerdict.DeniedByKey;
  const allowed = info.shadowStack
    ? (vmFlagsHigh & VMH_SHADOW_STACK) !== 0 && (vmFlags & VmAccess.Write) !== 0
    : ordinaryAccessAllowed(info, vmFlags, vmFlagsHigh);
  return allowed ? AccessVerdict.Allowed : AccessVerdict.Denied;
}

function ordinaryAccessAllowed(info: PageFaultInfo, vmFlags: number, vmFlagsHigh: number): boolean {
  if (info.write) return (vmFlagsHigh & VMH_SHADOW_STACK) === 0 && (vmFlags & VmAccess.Write) !== 0;
  // A read or fetch that a present entry refuses is refused for good; one that found nothing is faulted in first, even
  // a fetch from a VMA that is not executable.
  if (info.protection) return false;
  return (vmFlags & (VmAccess.Read | VmAccess.Write | VmAccess.Exec)) !== 0;
}
