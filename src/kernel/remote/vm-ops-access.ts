/**
 * What `__access_remote_vm` does where GUP has no page for it: it asks the mapping's own operations, which know how to get at
 * memory of a device.
 * @see Linux mm/memory.c, `__access_remote_vm`, under CONFIG_HAVE_IOREMAP_PROT
 */
import { atomically, type Task } from '../../base/task.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';

/**
 * Moves all of `buffer` to or from byte `offset` of `page`, which may be more than a page and go beyond the VMA. Bytes moved;
 * 0 or -errno end the transfer. Needs mmap_lock.
 */
export function vmOpsAccess(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  offset: number,
  buffer: Uint8Array,
  write: boolean,
): Task<number> {
  const access = vma.ops?.access;
  if (access === undefined || !current.kernel.config.haveIoremapProt) return atomically(() => 0);
  return counted(current, access(current, vma, page, offset, buffer, write));
}

function* counted({ kernel }: TaskStruct, access: Task<number>): Task<number> {
  const moved = yield* access;
  if (moved > 0) kernel.remoteCounters.bytes += moved;
  return moved;
}
