/**
 * Mapping memory of a device, which has no pages of the kernel's: all of it at once from the driver's mmap callback, or entry
 * by entry from its fault handler. The entries are special: nobody counts, references or reclaims what they map.
 * Left out: huge entries, the x86 check of memory types (PAT), L1TF's limit on PROT_NONE mappings.
 * @see Linux mm/memory.c, `remap_pfn_range`, `vm_iomap_memory`, `vmf_insert_pfn`, `vmf_insert_mixed`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { EINVAL, ENOMEM } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import { VM_FAULT_NOPAGE, VM_FAULT_OOM, VM_FAULT_SIGBUS } from './fault/fault-flags.ts';
import type { VmFault } from './fault/vm-fault.ts';
import { entryEnd, pteIndex } from './page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock } from './page-table-alloc.ts';
import type { VmArea } from './vma.ts';
import { VM_DONTDUMP, VM_DONTEXPAND, VM_IO, VM_PFNMAP } from './vma-flags.ts';
import { vmaPageProtection } from './vma-protection.ts';
import { zapPageRangeSingle } from './zap-range.ts';

/** What every mapping of I/O memory has. */
export const VM_OF_DEVICE = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP;

/**
 * Maps `pages` frames from `frame` on at `page` of a VMA that nobody else can reach yet; sets its flags. Of a private mapping
 * that may be written the whole VMA must be mapped, and its offset becomes the frame: copies are told from the device by it.
 * 0, -EINVAL, or -ENOMEM with nothing mapped.
 */
function* remapPfnRange(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  frame: number,
  pages: number,
): Task<number> {
  if (vma.cow) {
    if (page !== vma.start || page + pages !== vma.end) return -EINVAL;
    vma.pgoff = frame;
  }
  vma.flags |= VM_OF_DEVICE;
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const end = page + pages;
  for (let at = page; at < end; ) {
    const next = entryEnd(pageTables.format, at, end, pageTables.lastLevel - 1);
    if (!(yield* remapPtes(current, vma, at, next, frame + (at - page)))) {
      yield* zapPageRangeSingle(current, vma, page, end);
      return -ENOMEM;
    }
    at = next;
  }
  return 0;
}

/** The part in one pte table; false without memory for it. @see `remap_pte_range` */
function* remapPtes(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  frame: number,
): Task<boolean> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  if ((yield* pteAlloc(current, mm, start)) === null) return false;
  const table = yield* pteOffsetMapLock(current, mm, start);
  if (table === null) return false;
  const flags = vmaPageProtection(vma) | EntryFlag.Special;
  for (let page = start; page < end; page++) {
    yield table.setEntry;
    pageTables.setLeaf(table, pteIndex(pageTables, page), frame + (page - start), flags);
  }
  yield* pteUnmapUnlock(current, table);
  return true;
}

/**
 * Maps what the VMA's offset says of a device of `pages` pages from `frame` on.
 * 0, -EINVAL (the mapping goes beyond the device) or -ENOMEM.
 */
export function* vmIomapMemory(current: TaskStruct, vma: VmArea, frame: number, pages: number): Task<number> {
  if (vma.pgoff > pages || vma.pages > pages - vma.pgoff) return -EINVAL;
  return yield* remapPfnRange(current, vma, vma.start, frame + vma.pgoff, vma.pages);
}

/** From a fault handler: maps one frame where nothing is yet. VM_FAULT_NOPAGE, _SIGBUS or _OOM. */
export function* vmfInsertPfn(fault: VmFault, frame: number): Task<number> {
  const { current, kernel, mm, vma, page } = fault;
  if (!vma.contains(page)) return VM_FAULT_SIGBUS;
  const { pageTables } = kernel;
  if ((yield* pteAlloc(current, mm, page)) === null) return VM_FAULT_OOM;
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return VM_FAULT_OOM;
  pageTables.read(table, fault.index);
  if (pageTables.format.isNone(pageTables.hi, pageTables.lo)) {
    yield table.setEntry;
    pageTables.setLeaf(table, fault.index, frame, vmaPageProtection(vma) | EntryFlag.Special);
  }
  yield* pteUnmapUnlock(current, table);
  return VM_FAULT_NOPAGE;
}
