/**
 * Taking a page from the children of the mapping that owns the promises, whose own copy found the pool empty. A child that
 * has lost a page fails in every later fault: it must not find zeros where data was.
 * @see Linux mm/hugetlb.c, `unmap_ref_private`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { VmArea } from '../vma.ts';
import { VM_MAYSHARE } from '../vma-flags.ts';
import { vmasMapping } from './file-vmas.ts';
import { hugetlbData, inodeOfVma } from './hugetlb-vma.ts';
import { unmapHugepageRangeSingle } from './zap.ts';

/**
 * Unmaps `frame`, which `vma` maps at page `start`, from other private mappings of the file that own no promises. Needs
 * neither the fault mutex nor the vma_lock.
 */
export function* unmapRefPrivate(current: TaskStruct, vma: VmArea, start: number, frame: number): Task<void> {
  const inode = inodeOfVma(vma);
  const index = vma.indexOf(start);
  yield* inode.mapping.iMmapRwsem.downWrite(current);
  for (const other of vmasMapping(inode, index, index + 1)) {
    if (other === vma || (other.flags & VM_MAYSHARE) !== 0 || hugetlbData(other).owner) continue;
    // As in Linux at the address that the page has here: a child has it there too, unless it moved its mapping.
    if (!other.contains(start)) continue;
    yield* unmapHugepageRangeSingle(current, other, start, start + inode.pages, {
      frame,
      dropMarkers: false,
    });
  }
  yield* inode.mapping.iMmapRwsem.upWrite(current);
}
