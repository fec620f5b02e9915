/**
 * Taking pages of a file out of every address space that maps them: before they leave the page cache, so that later
 * accesses fault. Needs no mmap_lock; the i_mmap lock keeps the VMAs and their page tables where they are.
 * @see Linux mm/memory.c, `unmap_mapping_pages`, `unmap_mapping_folio`, `unmap_mapping_range_tree`
 */
import type { Task } from '../../base/task.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import type { TaskStruct } from '../task-struct.ts';
import { firstMapping, nextMapping } from './i-mmap.ts';
import type { VmArea } from './vma.ts';
import { type ZapDetails, zapPageRangeSingle } from './zap-range.ts';

/**
 * Unmaps the pages `first` to `last` (both included, `Infinity` for all) of the object everywhere. Markers that protect
 * against access stay.
 * @param evenCows private copies too: the file has become shorter. Else they stay: a hole was punched
 */
export function* unmapMappingPages(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  last: number,
  evenCows: boolean,
): Task<void> {
  yield* walk(current, mapping, first, last, { keepMarkers: true, keepCows: !evenCows });
}

/** Unmaps one page that is in the cache, which the caller has locked; markers in its place go too. */
export function* unmapMappingFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  last: number,
): Task<void> {
  yield* walk(current, mapping, first, last, { keepMarkers: false, keepCows: true });
}

function* walk(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  last: number,
  details: ZapDetails,
): Task<void> {
  yield* mapping.iMmapRwsem.downRead(current);
  let vma: VmArea | null = firstMapping(mapping, first, last);
  while (vma !== null) {
    const from = vma.start + Math.max(first - vma.pgoff, 0);
    const to = Math.min(vma.start + (last + 1 - vma.pgoff), vma.end);
    yield* zapPageRangeSingle(current, vma, from, to, details);
    vma = nextMapping(mapping, vma, first, last);
  }
  yield* mapping.iMmapRwsem.upRead(current);
}
