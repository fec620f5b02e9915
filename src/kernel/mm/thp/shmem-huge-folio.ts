/**
 * A new huge page of shared memory, for a fault.
 * @see Linux mm/shmem.c, `shmem_get_folio_gfp`, `shmem_suitable_orders`, `shmem_alloc_and_add_folio`
 */
import type { Task } from '../../../base/task.ts';
import { EEXIST } from '../../errno.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { NO_SLOT } from '../../frame/swap-area.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { folioSetLocked } from '../fault/folio-lock.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import { hugePages } from '../page-table.ts';
import { folioAddLru } from '../reclaim/lru.ts';
import { VM_NOHUGEPAGE } from '../vma-flags.ts';
import { hugeStart } from './huge-pmd.ts';
import { HPAGE_PMD_ORDER, thpVmaSuitable } from './policy.ts';
import { shmemAllowsHugePage } from './shmem-policy.ts';

/** Is any page of the object's huge page at `first` cached, or in swap? */
function isTaken(mapping: AddressSpace, first: number, pages: number): boolean {
  for (let index = first; index < first + pages; index++) {
    if (mapping.frameAt(index) !== -1 || mapping.swapSlotAt(index) !== NO_SLOT) return true;
  }
  return false;
}

/**
 * Puts a huge page into the cache, around `index`: the frame of that page; it is locked, not uptodate, with a reference
 * for the caller. NO_FRAME: there may be none, or memory is short or in pieces; -EEXIST: look again.
 */
export function* shmemAddHugeFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  fault: VmFault,
): Task<number> {
  const { kernel, vma, page } = fault;
  const { frames } = kernel;
  const pages = hugePages(kernel.pageTables);
  const first = index - (index % pages);
  if ((vma.flags & VM_NOHUGEPAGE) !== 0 || !thpVmaSuitable(vma, hugeStart(kernel, page))) return NO_FRAME;
  if (!shmemAllowsHugePage(kernel, mapping, index, vma.flags, false)) return NO_FRAME;
  // Not after a wait for so much memory.
  if (isTaken(mapping, first, pages)) return NO_FRAME;
  const head = yield* allocUserFolio(current, null, HPAGE_PMD_ORDER, false);
  if (head === NO_FRAME) return NO_FRAME;
  yield mapping.change;
  if (isTaken(mapping, first, pages)) {
    frames.put(head);
    return -EEXIST;
  }
  folioSetLocked(current, head);
  frames.setFlags(head, FrameFlag.SwapBacked);
  folioAddLru(frames, head);
  mapping.addLarge(frames, first, head);
  frames.get(head);
  return head + (index - first);
}
