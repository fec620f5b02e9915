/**
 * What an atomic read-modify-write instruction of FEAT_LSE makes of the old value, in int32 halves.
 * @see Arm ARM (DDI 0487), "Atomic instructions"; shared pseudocode MemAtomic
 */
export const AtomicOperation = {
  /** LDADD. */
  Add: 0,
  /** LDCLR: the bits of the operand are cleared. */
  Clear: 1,
  /** LDEOR. */
  ExclusiveOr: 2,
  /** LDSET: the bits of the operand are set. */
  Set: 3,
  /** LDSMAX, LDSMIN, LDUMAX, LDUMIN. */
  SignedMaximum: 4,
  SignedMinimum: 5,
  UnsignedMaximum: 6,
  UnsignedMinimum: 7,
  /** SWP. */
  Swap: 8,
} as const;
export type AtomicOperation = (typeof AtomicOperation)[keyof typeof AtomicOperation];

/** Bits 31:0 of a sum, and its carry into bit 32. */
const carryOf = (a: number, b: number): number => ((a >>> 0) + (b >>> 0) > 0xffffffff ? 1 : 0);

const unsignedBelow = (aHi: number, aLo: number, bHi: number, bLo: number): boolean =>
  aHi === bHi ? aLo >>> 0 < bLo >>> 0 : aHi >>> 0 < bHi >>> 0;
const signedBelow = (aHi: number, aLo: number, bHi: number, bLo: number): boolean =>
  aHi === bHi ? aLo >>> 0 < bLo >>> 0 : aHi < bHi;

/** Does the operand take the place of the old value? For the operations that choose one of the two. */
function takesOperand(
  operation: AtomicOperation,
  oldHi: number,
  oldLo: number,
  hi: number,
  lo: number,
): boolean {
  switch (operation) {
    case AtomicOperation.SignedMaximum:
      return signedBelow(oldHi, oldLo, hi, lo);
    case AtomicOperation.SignedMinimum:
      return signedBelow(hi, lo, oldHi, oldLo);
    case AtomicOperation.UnsignedMaximum:
      return unsignedBelow(oldHi, oldLo, hi, lo);
    case AtomicOperation.UnsignedMinimum:
      return unsignedBelow(hi, lo, oldHi, oldLo);
    default:
      return true;
  }
}

/** Bits 31:0 of the new value. */
export function atomicLow(
  operation: AtomicOperation,
  oldHi: number,
  oldLo: number,
  hi: number,
  lo: number,
): number {
  if (operation === AtomicOperation.Add) return (oldLo + lo) | 0;
  if (operation === AtomicOperation.Clear) return oldLo & ~lo;
  if (operation === AtomicOperation.ExclusiveOr) return oldLo ^ lo;
  if (operation === AtomicOperation.Set) return oldLo | lo;
  return takesOperand(operation, oldHi, oldLo, hi, lo) ? lo : oldLo;
}

/** Bits 63:32 of the new value. */
export function atomicHigh(
  operation: AtomicOperation,
  oldHi: number,
  oldLo: number,
  hi: number,
  lo: number,
): number {
  if (operation === AtomicOperation.Add) return (oldHi + hi + carryOf(oldLo, lo)) | 0;
  if (operation === AtomicOperation.Clear) return oldHi & ~hi;
  if (operation === AtomicOperation.ExclusiveOr) return oldHi ^ hi;
  if (operation === AtomicOperation.Set) return oldHi | hi;
  return takesOperand(operation, oldHi, oldLo, hi, lo) ? hi : oldHi;
}
