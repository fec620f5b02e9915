/**
 * Around every change of the ranges of VMAs that others can find by their pages: splits and merges. The VMAs leave the
 * trees of their file and of their anon_vmas before it and come back after it, and whoever walks these trees is kept out
 * all the time: the file's i_mmap lock first, then that of the anon_vmas.
 * Left out: the flush of aliasing data caches.
 * @see Linux mm/vma.c, `struct vma_prepare`, `vma_prepare`, `vma_complete`, `init_multi_vma_prep`
 */
import type { Task } from '../../base/task.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import type { TaskStruct } from '../task-struct.ts';
import { type AnonVma, anonVmaPostUpdate, anonVmaPreUpdate, unlinkAnonVmas } from './anon-vma.ts';
import { iMmapInsert, iMmapRemove, linkFileLocked, unlinkFileLocked } from './i-mmap.ts';
import type { MmStruct } from './mm.ts';
import type { UprobeHooks } from './uprobe-hooks.ts';
import type { VmArea } from './vma.ts';
import { vmaMarkDetached } from './vma-lock.ts';
import { vmAreaFree } from './vma-slab.ts';

/** The VMAs of one change. All are write-locked. */
export interface VmaPrepare {
  /** Its range changes. */
  readonly vma: VmArea;
  /** Its range changes as well: the neighbour that gives a part away (`adj_next`). */
  readonly adjacent: VmArea | null;
  /** New: split off from `vma`, with a reference on its file and chained to its anon_vmas. */
  readonly insert: VmArea | null;
  /** Merged away. */
  readonly removed: readonly VmArea[];
  /** Of mremap: what a mapping has of breakpoints moves with its pages (`skip_vma_uprobe`). */
  readonly skipsUprobes?: boolean;
}

function mappingOf({ vma }: VmaPrepare): AddressSpace | null {
  return vma.file?.mapping ?? null;
}

function anonVmaOf({ vma, adjacent }: VmaPrepare): AnonVma | null {
  return vma.anonVma ?? adjacent?.anonVma ?? null;
}

/** Before the ranges change. The VMA that comes is in the file's tree already, so that no page is ever without one. */
export function* vmaPrepare(current: TaskStruct, change: VmaPrepare): Task<void> {
  const { vma, adjacent, insert } = change;
  const mapping = mappingOf(change);
  if (mapping !== null) {
    yield* mapping.iMmapRwsem.downWrite(current);
    if (insert !== null) linkFileLocked(insert, mapping);
  }
  const anonVma = anonVmaOf(change);
  if (anonVma !== null) {
    yield* anonVma.rwsem.downWrite(current);
    anonVmaPreUpdate(vma);
    if (adjacent !== null) anonVmaPreUpdate(adjacent);
  }
  if (mapping !== null) {
    iMmapRemove(vma, mapping);
    if (adjacent !== null) iMmapRemove(adjacent, mapping);
  }
}

/** @see `vma_complete` */
function* tellUprobes(current: TaskStruct, uprobes: UprobeHooks, change: VmaPrepare): Task<void> {
  const { vma, adjacent, insert, removed, skipsUprobes } = change;
  if (skipsUprobes !== true) yield* uprobes.mmap(current, vma);
  if (adjacent !== null) yield* uprobes.mmap(current, adjacent);
  for (const gone of removed) uprobes.munmap(gone, gone.start, gone.end);
  if (insert !== null) yield* uprobes.mmap(current, insert);
}

/** After the ranges and the tree of the address space have changed. VMAs that were merged away are freed. */
export function* vmaComplete(current: TaskStruct, mm: MmStruct, change: VmaPrepare): Task<void> {
  const { vma, adjacent, removed } = change;
  const mapping = mappingOf(change);
  if (mapping !== null) {
    if (adjacent !== null) iMmapInsert(adjacent, mapping);
    iMmapInsert(vma, mapping);
    for (const gone of removed) unlinkFileLocked(gone, mapping);
  }
  const anonVma = anonVmaOf(change);
  if (anonVma !== null) {
    anonVmaPostUpdate(vma);
    if (adjacent !== null) anonVmaPostUpdate(adjacent);
    yield* anonVma.rwsem.upWrite(current);
  }
  if (mapping !== null) yield* mapping.iMmapRwsem.upWrite(current);
  if (mapping !== null && mm.kernel.uprobes !== null) yield* tellUprobes(current, mm.kernel.uprobes, change);
  for (const gone of removed) {
    yield* vmaMarkDetached(current, gone);
    // Never the last reference: the VMA that took its place has the same file.
    if (gone.file !== null) gone.file.count--;
    yield* unlinkAnonVmas(current, gone);
    mm.mapCount--;
    vmAreaFree(gone);
  }
}
