/**
 * `vm_ops->access` of most drivers: the physical memory behind an entry is mapped for the kernel (ioremap) and copied. The
 * entry is looked at twice, since mapping may sleep and the table's lock must not be held over it.
 * What lies behind the end of the VMA is not asked: the bytes that follow in physical memory are moved.
 * @see Linux mm/memory.c, `generic_access_phys`; arch/x86/mm/ioremap.c and arch/arm64/mm/ioremap.c, `ioremap_prot`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL, ENOMEM } from '../errno.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { type FollowedPfnmap, followPfnmapEnd, followPfnmapStart } from './follow-pfnmap.ts';
import type { VmArea } from './vma.ts';

const PAGE_BYTES = 4096;

/**
 * Bytes moved, which is all of `buffer`; -EINVAL: nothing is mapped at `page`, or a write meets an entry that is not writable;
 * -ENOMEM: the memory cannot be mapped as I/O memory, as it is the kernel's own (a private copy).
 */
export function* genericAccessPhys(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  offset: number,
  buffer: Uint8Array,
  write: boolean,
): Task<number> {
  const { kernel } = current;
  for (;;) {
    const first = yield* followPfnmapStart(current, vma, page);
    if (first === null) return -EINVAL;
    yield* followPfnmapEnd(current, first);
    if (write && !first.writable) return -EINVAL;
    if (!mayIoremap(kernel, first.frame, offset + buffer.length)) return -ENOMEM;
    const again = yield* followPfnmapStart(current, vma, page);
    if (again === null) return -EINVAL;
    const unchanged = isSame(first, again);
    if (unchanged) copy(kernel, first.frame, offset, buffer, write);
    yield* followPfnmapEnd(current, again);
    if (unchanged) return buffer.length;
  }
}

function isSame(first: FollowedPfnmap, again: FollowedPfnmap): boolean {
  const { frame, protection, writable } = first;
  return frame === again.frame && protection === again.protection && writable === again.writable;
}

/** Memory of the kernel's own is never mapped a second time with another type. */
function mayIoremap({ frames }: Kernel, frame: number, bytes: number): boolean {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  for (let i = 0; i < pages; i++) if (frames.owns(frame + i)) return false;
  return true;
}

/** A bus at whose end nobody answers reads as ones and takes every write. */
function copy({ machine }: Kernel, frame: number, offset: number, buffer: Uint8Array, write: boolean): void {
  for (let done = 0; done < buffer.length; ) {
    const at = offset + done;
    const inPage = at % PAGE_BYTES;
    const part = buffer.subarray(done, done + PAGE_BYTES - inPage);
    const target = frame + Math.floor(at / PAGE_BYTES);
    if (write) machine.memory.writeBytes(target, inPage, part);
    else if (!machine.memory.readBytes(target, inPage, part)) part.fill(0xff);
    done += part.length;
  }
}
