/**
 * The copy between a kernel buffer and a page that the caller has a reference to, through the kernel's own mapping of all
 * memory, where no permission of the target counts.
 * @see Linux mm/memory.c, `__access_remote_vm`: kmap_local_folio, `copy_from_user_page`, `copy_to_user_page`
 */
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';

/**
 * Moves `bytes` bytes at byte `offset` of `frame` to the buffer from `at` on, or from there.
 * @throws Error when the frame has no memory
 */
export function copyRemotePage(
  current: TaskStruct,
  frame: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  bytes: number,
  write: boolean,
): void {
  const { machine, remoteCounters, frames } = current.kernel;
  const { memory } = machine;
  const part = at === 0 && bytes === buffer.length ? buffer : buffer.subarray(at, at + bytes);
  if (frames.hasFlag(frame, FrameFlag.NoDirectMap)) {
    // Whoever asks the VMA never comes here. Linux would die of it; here it is said, and nothing is moved.
    current.kernel.warnings.once(current, 'copy_from_user_page', 'a page fault of the kernel: secret memory');
    if (!write) part.fill(0);
    return;
  }
  if (current.kernel.watcher !== null) current.kernel.watcher.copied(current, frame, offset, bytes, write);
  const present = write ? memory.writeBytes(frame, offset, part) : memory.readBytes(frame, offset, part);
  if (!present) throw new Error(`frame 0x${frame.toString(16)} of the allocator has no memory`);
  remoteCounters.bytes += bytes;
  current.kernel.remoteWatcher?.copied(current, frame, offset, buffer, at, bytes);
}
