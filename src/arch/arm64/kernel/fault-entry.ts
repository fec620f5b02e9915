/**
 * From the abort to a question about VMAs: what Linux's table of fault status codes makes of ESR_EL1 and FAR_EL1.
 * Left out: kernel faults that are bugs, spurious faults of the kernel half, parity errors, watchpoints.
 * @see Linux arch/arm64/mm/fault.c, `fault_info`, `do_mem_abort`, `do_page_fault`, `do_sea`, `do_tag_check_fault`;
 *   arch/arm64/kernel/entry-common.c, `el0t_64_sync_handler`
 */
import { FaultKind, type FaultSlot } from '../../fault.ts';
import { AccessVerdict, EntryKind, type PageFaultInfo } from '../../kernel-arch.ts';
import { VmAccess } from '../../vm-access.ts';
import { ExceptionClass, faultEsrHigh, faultEsrLow } from '../fault-code.ts';
import { ESR_EL1_DATA_ABORT } from '../registers.ts';
import { untaggedHigh } from './untagged-address.ts';

const EC_SHIFT = ESR_EL1_DATA_ABORT.field('EC').low;
const STATUS = ESR_EL1_DATA_ABORT.half('DFSC').lo;
const WNR = ESR_EL1_DATA_ABORT.half('WnR').lo;
const CM = ESR_EL1_DATA_ABORT.half('CM').lo;
const OVERLAY = ESR_EL1_DATA_ABORT.half('Overlay').hi;

const SIGILL = 4;
const SIGBUS = 7;
const SIGKILL = 9;
const SIGSEGV = 11;
const ILL_ILLOPC = 1;
const BUS_ADRALN = 1;
const BUS_OBJERR = 3;
const SEGV_MTESERR = 9;
const SI_KERNEL = 0x80;

/** What a fault status code leads to: the handlers of `fault_info`. */
const Handler = { Bad: 0, Translation: 1, Page: 2, ExternalAbort: 3, TagCheck: 4, Alignment: 5 } as const;
type Handler = (typeof Handler)[keyof typeof Handler];

interface FaultAction {
  readonly handler: Handler;
  readonly signal: number;
  readonly code: number;
}

const BAD: FaultAction = { handler: Handler.Bad, signal: SIGKILL, code: SI_KERNEL };
const TRANSLATION: FaultAction = { handler: Handler.Translation, signal: SIGSEGV, code: 0 };
const PAGE: FaultAction = { handler: Handler.Page, signal: SIGSEGV, code: 0 };
const WALK_ABORT: FaultAction = { handler: Handler.ExternalAbort, signal: SIGKILL, code: SI_KERNEL };

const ACTIONS: readonly FaultAction[] = Array.from({ length: 64 }, (_, status): FaultAction => {
  if ((status >= 4 && status <= 7) || status === 43) return TRANSLATION;
  if (status >= 8 && status <= 15) return PAGE;
  if (status === 16) return { handler: Handler.ExternalAbort, signal: SIGBUS, code: BUS_OBJERR };
  if (status === 17) return { handler: Handler.TagCheck, signal: SIGSEGV, code: SEGV_MTESERR };
  if (status >= 19 && status <= 23) return WALK_ABORT;
  if (status === 33) return { handler: Handler.Alignment, signal: SIGBUS, code: BUS_ADRALN };
  return BAD;
});

export interface FaultFeatures {
  /** First page number that is not user space. */
  readonly taskSizePages: number;
  /** log2 of the bytes of a page. */
  readonly pageShift: number;
  /** FEAT_MTE_TAGGED_FAR: FAR_EL1[63:60] of a tag check fault are the pointer's. */
  readonly taggedFar: boolean;
}

/** Fills `out` from the MMU's fault. */
export function decodeFault(fault: Readonly<FaultSlot>, features: FaultFeatures, out: PageFaultInfo): void {
  out.addressHi = fault.addressHi;
  out.addressLo = fault.addressLo;
  out.keyRights = 0;
  if (fault.kind === FaultKind.Undefined || fault.kind === FaultKind.Trapped) {
    signalOf(SIGILL, ILL_ILLOPC, out);
    // The address of the instruction, which is not known here.
    out.addressHi = 0;
    out.addressLo = 0;
    return;
  }
  const esr = faultEsrLow(fault);
  const exceptionClass = esr >>> EC_SHIFT;
  out.instruction =
    exceptionClass === ExceptionClass.InstructionAbortLowerEl ||
    exceptionClass === ExceptionClass.InstructionAbortSameEl;
  out.user = (exceptionClass & 1) === 0;
  if (exceptionClass === ExceptionClass.PcAlignment) signalOf(SIGBUS, BUS_ADRALN, out);
  else dispatch(ACTIONS[esr & STATUS] as FaultAction, features, out);
  out.write = !out.instruction && (esr & WNR) !== 0 && (esr & CM) === 0;
  out.protection = fault.kind === FaultKind.Permission;
  out.protectionKey = (faultEsrHigh(fault) & OVERLAY) !== 0;
}

/** @see `do_mem_abort` */
function dispatch({ handler, signal, code }: FaultAction, features: FaultFeatures, out: PageFaultInfo): void {
  const untagged = untaggedHigh(out.addressHi);
  if (handler === Handler.Translation || handler === Handler.Page) {
    out.kind = EntryKind.PageFault;
    const address = (untagged >>> 0) * 2 ** (32 - features.pageShift);
    out.page = address + (out.addressLo >>> features.pageShift);
    // Both a hole between the halves and the kernel's half: SEGV_MAPERR, `do_bad_area` or no VMA.
    out.beyondUser = out.page >= features.taskSizePages;
    return;
  }
  signalOf(signal, code, out);
  // What is no fault of the program's own, and external aborts, show no tag bits.
  if (handler === Handler.Bad || handler === Handler.ExternalAbort) out.addressHi = untagged;
  if (handler === Handler.TagCheck && !features.taggedFar) {
    out.addressHi = (untagged & ~TAG_HIGH) | (out.addressHi & TAG_HIGH);
  }
}

/** Bits 59:56 of an address: here of its high half. */
const TAG_HIGH = 0x0f00_0000;

function signalOf(signal: number, code: number, out: PageFaultInfo): void {
  out.kind = EntryKind.Signal;
  out.signal = signal;
  out.code = code;
}

/**
 * Which of its rights the VMA must have for the access, any of them.
 * @see `do_page_fault`, `__do_page_fault`
 */
export function accessError(info: PageFaultInfo, vmFlags: number, epan: boolean): AccessVerdict {
  if (info.protectionKey) return AccessVerdict.DeniedByKey;
  return (vmFlags & requiredFlags(info, epan)) === 0 ? AccessVerdict.Denied : AccessVerdict.Allowed;
}

function requiredFlags(info: PageFaultInfo, epan: boolean): number {
  if (info.instruction) return VmAccess.Exec;
  if (info.write) return VmAccess.Write;
  // Write implies read; execution does where execute-only mappings cannot be kept from the kernel.
  return VmAccess.Read | VmAccess.Write | (epan ? 0 : VmAccess.Exec);
}
