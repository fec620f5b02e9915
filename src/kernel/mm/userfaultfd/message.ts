/**
 * `struct uffd_msg` as user space reads it: 32 bytes, little endian.
 * @see Linux include/uapi/linux/userfaultfd.h, `struct uffd_msg`
 */
import type { UffdMessage } from './context.ts';
import {
  UFFD_EVENT_FORK,
  UFFD_EVENT_PAGEFAULT,
  UFFD_EVENT_REMAP,
  UFFD_EVENT_REMOVE,
  UFFD_EVENT_UNMAP,
  UFFD_MSG_BYTES,
} from './uffd-abi.ts';

/** `uffd_msg.event`. */
export const EVENT_NUMBERS: Readonly<Record<UffdMessage['event'], number>> = {
  pagefault: UFFD_EVENT_PAGEFAULT,
  fork: UFFD_EVENT_FORK,
  remap: UFFD_EVENT_REMAP,
  remove: UFFD_EVENT_REMOVE,
  unmap: UFFD_EVENT_UNMAP,
};

/** @param childFd the descriptor that a fork event brings; whoever keeps descriptors chooses it */
export function encodeMessage(message: UffdMessage, childFd = 0): Uint8Array {
  const bytes = new Uint8Array(UFFD_MSG_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[0] = EVENT_NUMBERS[message.event];
  const words = argumentWords(message, childFd);
  for (const [index, word] of words.entries()) view.setBigUint64(8 + index * 8, word, true);
  return bytes;
}

function argumentWords(message: UffdMessage, childFd: number): readonly bigint[] {
  switch (message.event) {
    case 'pagefault':
      return [BigInt(message.flags), message.address, BigInt(message.threadId)];
    case 'fork':
      return [BigInt(childFd)];
    case 'remap':
      return [message.from, message.to, message.length];
    default:
      return [message.start, message.end];
  }
}
