/** Signals and their codes by the names user space knows. */
import * as signals from '../../kernel/signal.ts';

const NAMES: Readonly<Record<number, string>> = {
  [signals.SIGTRAP]: 'SIGTRAP',
  [signals.SIGBUS]: 'SIGBUS',
  [signals.SIGKILL]: 'SIGKILL',
  [signals.SIGSEGV]: 'SIGSEGV',
};

const SEGV_CODES: Readonly<Record<number, string>> = {
  [signals.SEGV_MAPERR]: 'SEGV_MAPERR',
  [signals.SEGV_ACCERR]: 'SEGV_ACCERR',
  [signals.SEGV_BNDERR]: 'SEGV_BNDERR',
  [signals.SEGV_PKUERR]: 'SEGV_PKUERR',
  [signals.SEGV_MTEAERR]: 'SEGV_MTEAERR',
  [signals.SEGV_MTESERR]: 'SEGV_MTESERR',
  [signals.SEGV_CPERR]: 'SEGV_CPERR',
};

const BUS_CODES: Readonly<Record<number, string>> = {
  [signals.BUS_ADRALN]: 'BUS_ADRALN',
  [signals.BUS_ADRERR]: 'BUS_ADRERR',
  [signals.BUS_OBJERR]: 'BUS_OBJERR',
  [signals.BUS_MCEERR_AR]: 'BUS_MCEERR_AR',
  [signals.BUS_MCEERR_AO]: 'BUS_MCEERR_AO',
};

/** `SIGSEGV` for 11; `signal 63` for one without a name here. */
export const signalName = (signal: number): string => NAMES[signal] ?? `signal ${signal}`;

/** `SEGV_MAPERR` for code 1 of SIGSEGV; `SI_KERNEL` for an exception without an address. */
export function signalCodeName(signal: number, code: number): string {
  if (code === signals.SI_KERNEL) return 'SI_KERNEL';
  const codes = signal === signals.SIGBUS ? BUS_CODES : SEGV_CODES;
  return codes[code] ?? `code ${code}`;
}
