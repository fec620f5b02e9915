/**
 * Looking at one entry of a mapping of device memory: what it maps and how, good as long as the table's lock is held.
 * Left out: entries above the last level, which no driver here makes.
 * @see Linux mm/memory.c, `follow_pfnmap_start`, `follow_pfnmap_end`, `pfnmap_lockdep_assert`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from './page-table-alloc.ts';
import type { VmArea } from './vma.ts';
import { VM_IO, VM_PFNMAP } from './vma-flags.ts';
import { entryWritable } from './vma-protection.ts';

/** `struct follow_pfnmap_args`, the answers. */
export interface FollowedPfnmap {
  /** Locked. */
  readonly table: TablePage;
  readonly frame: number;
  /** `EntryFlag` bits of the entry (`pgprot`). */
  readonly protection: number;
  readonly writable: boolean;
  /** False for a private copy, which is a page of the kernel's. */
  readonly special: boolean;
}

/** What the hardware may set at any time is no part of the protection. */
const OF_HARDWARE = EntryFlag.Young | EntryFlag.Dirty;

/**
 * The entry of `page`, its table locked until `followPfnmapEnd`; null, nothing locked, where Linux gives -EINVAL: outside the
 * VMA, in a VMA that is neither VM_IO nor VM_PFNMAP, or nothing mapped.
 * @throws Error without mmap_lock and without the lock of the file's mappings: the table might go away
 */
export function* followPfnmapStart(
  current: TaskStruct,
  vma: VmArea,
  page: number,
): Task<FollowedPfnmap | null> {
  assertPfnmapLocked(current, vma);
  if (!vma.contains(page) || (vma.flags & (VM_IO | VM_PFNMAP)) === 0) return null;
  const table = yield* pteOffsetMapLock(current, vma.mm, page);
  if (table === null) return null;
  const { pageTables } = vma.mm.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  if ((flags & EntryFlag.Present) === 0) {
    yield* pteUnmapUnlock(current, table);
    return null;
  }
  return {
    table,
    frame: pageTables.frame(table.level),
    protection: flags & ~OF_HARDWARE,
    writable: entryWritable(flags),
    special: (flags & EntryFlag.Special) !== 0,
  };
}

export function followPfnmapEnd(current: TaskStruct, { table }: FollowedPfnmap): Task<void> {
  return pteUnmapUnlock(current, table);
}

function assertPfnmapLocked(current: TaskStruct, { mm, file, name }: VmArea): void {
  if (mm.mmapLock.isHeldBy(current) || file?.mapping.iMmapRwsem.isHeldBy(current) === true) return;
  throw new Error(`${current.name} looks at an entry of ${name} without ${mm.mmapLock.name}`);
}
