/**
 * Signals that memory management sends, with the values user space sees. Delivery, handlers and masks are not modelled:
 * a signal of a fault ends the access and is reported to the program that made it.
 * @see Linux include/uapi/asm-generic/siginfo.h and signal.h
 */

export const SIGBUS = 7;
export const SIGKILL = 9;
export const SIGSEGV = 11;
export const SIGCHLD = 17;
export const SIGTRAP = 5;

/** si_code of SIGSEGV. */
export const SEGV_MAPERR = 1;
export const SEGV_ACCERR = 2;
export const SEGV_BNDERR = 3;
export const SEGV_PKUERR = 4;
export const SEGV_MTEAERR = 8;
export const SEGV_MTESERR = 9;
export const SEGV_CPERR = 10;
/** si_code of SIGBUS. */
export const BUS_ADRALN = 1;
export const BUS_ADRERR = 2;
export const BUS_OBJERR = 3;
export const BUS_MCEERR_AR = 4;
export const BUS_MCEERR_AO = 5;
/** Sent by the kernel itself, without an address: a general protection fault. */
export const SI_KERNEL = 0x80;

/** What a handler with SA_SIGINFO would see. */
export interface SignalInfo {
  readonly signal: number;
  readonly code: number;
  /** si_addr, a byte address. */
  readonly address: bigint;
  /** si_pkey, with SEGV_PKUERR only: the key of the VMA. */
  readonly pkey?: number;
  /** si_addr_lsb, with BUS_MCEERR_* only. */
  readonly addressLsb?: number;
}
