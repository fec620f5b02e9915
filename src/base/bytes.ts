/**
 * Whole numbers as bytes and back, for register and memory images at the edges. The only importer of bigint-buffer:
 * it takes a Buffer and nothing else, reads a negative number's minus sign as a digit, and drops the *low* end of a
 * number that is too wide, all silently; so every argument is checked here. Its pure JavaScript half is used, because
 * the native one overruns its buffer (CVE-2025-3194) and would have to be compiled.
 */
import { Buffer } from 'node:buffer';
import { toBigIntBE, toBigIntLE, toBufferBE, toBufferLE } from 'bigint-buffer/dist/browser.js';

/**
 * An unsigned number of `bytes.length` bytes, least significant first.
 * @throws RangeError when `bytes` is empty or not a Uint8Array
 */
export function readLittleEndian(bytes: Uint8Array): bigint {
  return toBigIntLE(asBuffer(bytes));
}

/** As `readLittleEndian`, most significant byte first. */
export function readBigEndian(bytes: Uint8Array): bigint {
  return toBigIntBE(asBuffer(bytes));
}

/**
 * `width` bytes, least significant first.
 * @throws RangeError unless `width` ≥ 1 and 0 ≤ `value` < 2^(8·width)
 */
export function writeLittleEndian(value: bigint, width: number): Uint8Array {
  checkRange(value, width);
  return plain(toBufferLE(value, width));
}

/** As `writeLittleEndian`, most significant byte first. */
export function writeBigEndian(value: bigint, width: number): Uint8Array {
  checkRange(value, width);
  return plain(toBufferBE(value, width));
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (!(bytes instanceof Uint8Array)) throw new RangeError('not a Uint8Array');
  if (bytes.length === 0) throw new RangeError('no bytes to read a number from');
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function checkRange(value: bigint, width: number): void {
  if (!Number.isSafeInteger(width) || width < 1) throw new RangeError(`a width of ${width} bytes`);
  if (typeof value !== 'bigint') throw new RangeError('not a bigint');
  // The shift leaves -1 of a negative number.
  if (value >> BigInt(8 * width) !== 0n) {
    throw new RangeError(`${value} does not fit ${width} unsigned bytes`);
  }
}

/** A copy without Buffer's methods: slicing a Buffer shares memory, slicing a Uint8Array does not. */
const plain = (buffer: Uint8Array): Uint8Array => new Uint8Array(buffer);
