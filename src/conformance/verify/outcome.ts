/** Outcomes compared and in words. */
import { PAGE_FAULT_ERROR } from '../../arch/x86_64/registers.ts';
import { type Halves, hexHalves } from '../../base/u64.ts';
import type { Outcome } from './x86_64-vector.ts';

const sameWord = (a: Halves | undefined, b: Halves | undefined): boolean =>
  a === undefined || b === undefined ? a === b : a.hi === b.hi && a.lo === b.lo;

/** Every field: an address to the byte, a fault to its error code and CR2. */
export function sameOutcome(a: Outcome, b: Outcome): boolean {
  if (a.kind === 'address') return b.kind === 'address' && sameWord(a.address, b.address);
  if (a.kind === 'done') return b.kind === 'done';
  return b.kind === 'fault' && a.vector === b.vector && a.errorCode === b.errorCode && sameWord(a.cr2, b.cr2);
}

const VECTOR_NAMES: Readonly<Record<number, string>> = { 6: '#UD', 12: '#SS', 13: '#GP', 14: '#PF' };

/** `address 0x12346ce38`, `done`, `#PF error 0x5 (P US), CR2 0x25591fc43dc0`. */
export function outcomeText(outcome: Outcome): string {
  if (outcome.kind === 'address') return `address ${hexHalves(outcome.address.hi, outcome.address.lo)}`;
  if (outcome.kind === 'done') return 'done, no fault';
  const { vector, errorCode, cr2 } = outcome;
  const name = VECTOR_NAMES[vector] ?? `vector ${vector}`;
  if (vector !== 14) return `${name}(${errorCode})`;
  const bits = PAGE_FAULT_ERROR.format(BigInt(errorCode >>> 0)) || 'none';
  const address = cr2 === undefined ? '' : `, CR2 ${hexHalves(cr2.hi, cr2.lo)}`;
  return `#PF error ${hexHalves(0, errorCode)} (${bits})${address}`;
}
