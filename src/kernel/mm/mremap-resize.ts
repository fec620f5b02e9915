/**
 * The part of mremap that changes a mapping's length where it is: the end is unmapped, or pages are added behind it.
 * @see Linux mm/mremap.c, `shrink_vma`, `expand_vma`, `expand_vma_in_place`, `vma_expandable`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, ENOMEM } from '../errno.ts';
import { vmaMergeExtend } from './copy-vma.ts';
import { getUnmappedArea } from './get-unmapped-area.ts';
import { MAP_FIXED } from './mman.ts';
import { accountMremap, chargeMremap } from './mremap-accounting.ts';
import type { MremapOperation } from './mremap-operation.ts';
import { vmUnacctMemory } from './overcommit.ts';

/**
 * Unmaps what is beyond the new length; that may be several VMAs, or none. 0 or a negative errno.
 * @param dropLock let mmap_lock go on success: nothing else is left to do
 * @see `shrink_vma`
 */
export function* shrinkVma(operation: MremapOperation, dropLock: boolean): Task<number> {
  const { mm, page, newPages, oldPages } = operation;
  const error = yield* operation.unmap(page + newPages, page + oldPages, dropLock);
  operation.vma = null;
  if (error !== 0) return error;
  if (dropLock) {
    operation.mmapLocked = false;
    return 0;
  }
  operation.vma = mm.vmas.lookup(page);
  return operation.vma === null ? -EFAULT : 0;
}

/** Does the range end with its VMA, and are the pages behind it free? @see `vrm_can_expand_in_place` */
export function canExpandInPlace({ current, mm, mapped, page, oldPages, delta }: MremapOperation): boolean {
  if (mapped.end - page !== oldPages) return false;
  const end = mapped.end + delta;
  if (mm.vmas.findIntersection(mapped.end, end) !== null) return false;
  const placed = getUnmappedArea(current, {
    mm,
    address: BigInt(mapped.start) << 12n,
    pages: end - mapped.start,
    flags: MAP_FIXED,
    alignForHugePages: false,
  });
  return placed >= 0;
}

/** 0 or -ENOMEM. @see `expand_vma_in_place` */
export function* expandInPlace(operation: MremapOperation): Task<number> {
  const { current, mm, mapped, delta } = operation;
  if (!chargeMremap(operation)) return -ENOMEM;
  const expanded = yield* vmaMergeExtend(current, mapped, delta);
  if (expanded === null) {
    vmUnacctMemory(mm.kernel, operation.charged);
    operation.charged = 0;
    return -ENOMEM;
  }
  operation.vma = expanded;
  accountMremap(operation, delta);
  return 0;
}
