/**
 * Memory of a graphics driver: pages of RAM that it maps by number (VM_PFNMAP), so that mappings keep no references to them,
 * and that it takes back when memory is short. It takes them out of all address spaces first, by the list of mappings of its
 * file, and gives them to the allocator then; an access afterwards is a SIGBUS.
 * Left out: everything that is drawn; pages are allocated when the object is made, not when it is first mapped.
 * @see Linux drivers/gpu/drm/drm_gem_shmem_helper.c, `drm_gem_shmem_mmap`, `drm_gem_shmem_fault`, `drm_gem_shmem_purge_locked`
 */
import { atomically, type Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import type { Kernel } from '../kernel.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import type { TaskStruct } from '../task-struct.ts';
import { allocUserFolio } from './alloc-folio.ts';
import { VM_FAULT_SIGBUS } from './fault/fault-flags.ts';
import type { VmFault } from './fault/vm-fault.ts';
import { MappedFile } from './mapped-file.ts';
import { vmfInsertPfn } from './remap-pfn.ts';
import { unmapMappingPages } from './unmap-mapping.ts';
import type { VmArea, VmOperations } from './vma.ts';
import { VM_DONTDUMP, VM_DONTEXPAND, VM_PFNMAP, VM_SHARED } from './vma-flags.ts';

const ALL = Number.POSITIVE_INFINITY;

/** One object, opened for reading and writing. Its pages are in its page cache. */
export class GemFile extends MappedFile {
  /** Held while pages are mapped or taken away (`dma_resv_lock`). */
  readonly reservation: RwSemaphore;
  readonly operations: VmOperations;

  constructor(kernel: Kernel, pages: number) {
    const name = `gem${kernel.nextSerial('gem')}`;
    super({
      name,
      mapping: new AddressSpace(`i_pages ${name}`, pages * 4096, false),
      readable: true,
      writable: true,
      kind: name,
      mmap: (_current, vma) => atomically(() => mapGem(vma, this)),
    });
    this.reservation = new RwSemaphore(`dma_resv ${name}`);
    this.operations = {
      name: 'gem',
      hasClose: false,
      hasMapPages: false,
      fault: (fault) => gemFault(fault, this),
    };
  }
}

/** Allocates all pages, zeroed. False without memory for them. @see `drm_gem_get_pages` */
export function* gemGetPages(current: TaskStruct, file: GemFile): Task<boolean> {
  const { frames } = current.kernel;
  const { mapping } = file;
  for (let index = 0; index < mapping.sizePages; index++) {
    const frame = yield* allocUserFolio(current, null, 0, true);
    if (frame === NO_FRAME) return false;
    mapping.add(frames, index, frame);
  }
  return true;
}

/** 0, or -EINVAL for a private mapping or one beyond the end. */
function mapGem(vma: VmArea, file: GemFile): number {
  if ((vma.flags & VM_SHARED) === 0 || vma.pgoff + vma.pages > file.mapping.sizePages) return -EINVAL;
  vma.ops = file.operations;
  vma.flags |= VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP;
  return 0;
}

function* gemFault(fault: VmFault, file: GemFile): Task<number> {
  yield* file.reservation.downWrite(fault.current);
  const frame = file.mapping.frameAt(fault.pgoff);
  const result = frame === -1 ? VM_FAULT_SIGBUS : yield* vmfInsertPfn(fault, frame);
  yield* file.reservation.upWrite(fault.current);
  return result;
}

/**
 * Takes the pages back: nobody has them mapped any more, and then they are free. 0.
 * @see `drm_gem_shmem_purge_locked`; Linux include/drm/drm_vma_manager.h, `drm_vma_node_unmap`
 */
export function* gemPurge(current: TaskStruct, file: GemFile): Task<number> {
  const { mapping } = file;
  yield* file.reservation.downWrite(current);
  yield* unmapMappingPages(current, mapping, 0, ALL, true);
  for (const index of mapping.indexes()) {
    yield mapping.change;
    mapping.remove(current.kernel.frames, index);
  }
  yield* file.reservation.upWrite(current);
  return 0;
}
