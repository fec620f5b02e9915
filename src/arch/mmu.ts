/**
 * One CPU's MMU as the generic kernel and the conformance runner see it. Addresses and values are int32 halves; nothing
 * is allocated per access. Invalidation and registers are the architecture's own.
 */
import type { FaultKind, FaultSlot } from './fault.ts';
import type { WalkObserver } from './walk-observer.ts';

export interface Mmu {
  /**
   * Translates a byte address.
   * @param access `Access` bits
   * @returns 0, with the physical address in `paHi`/`paLo`; or a fault kind, with the cause in `fault`
   */
  translate(hi: number, lo: number, access: number): FaultKind;
  /**
   * As `translate`, for `length` bytes that lie within one page, with every check that looks at more than the first
   * byte: alignment and, on arm64, Allocation Tags. An access that passes can be made. What an asynchronous tag check
   * leaves behind is left behind.
   */
  translateBytes(hi: number, lo: number, access: number, length: number): FaultKind;
  readonly paHi: number;
  readonly paLo: number;
  readonly fault: FaultSlot;

  /** Reads 8 bytes, at any alignment; the result is in `valueHi`/`valueLo`. `FaultKind.Bus`: no memory there. */
  read64(hi: number, lo: number, access: number): FaultKind;
  /** Writes 8 bytes, at any alignment: all or none. A write even when `access` lacks `Access.Write`. */
  write64(hi: number, lo: number, access: number, valueHi: number, valueLo: number): FaultKind;
  readonly valueHi: number;
  readonly valueLo: number;

  /** Fills `target` from a byte range that lies within one page. @throws Error when it does not */
  readBytes(hi: number, lo: number, access: number, target: Uint8Array): FaultKind;
  /** Writes `source` to a byte range that lies within one page, as `write64` does. @throws Error when it does not */
  writeBytes(hi: number, lo: number, access: number, source: Uint8Array): FaultKind;

  /** Told about every step while not null; costs one branch per step when null. */
  observer: WalkObserver | null;
}
