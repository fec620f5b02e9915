/** Where in a transfer the bytes are that a design has just copied. */
import type { RemoteTransfer } from '../../kernel/remote/design.ts';

/**
 * Bytes from the beginning of the transfer. What is left of a transfer goes to a part of its buffer; a design that copies
 * aside has a buffer of the same length.
 */
export function placeInTransfer({ buffer: whole }: RemoteTransfer, buffer: Uint8Array, at: number): number {
  const isPart = buffer.buffer === whole.buffer;
  return (isPart ? buffer.byteOffset - whole.byteOffset : 0) + at;
}
