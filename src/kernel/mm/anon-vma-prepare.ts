/**
 * Giving a VMA its anon_vma before the first anonymous page. A neighbour's is taken over when the two could merge but
 * for their access rights, so that a later mprotect can still join them.
 * @see Linux mm/rmap.c `__anon_vma_prepare`, mm/vma.c `find_mergeable_anon_vma`
 */
import type { Task } from '../../base/task.ts';
import { mmapAssertLocked } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { type AnonVma, attachAnonVma, attachNewAnonVma } from './anon-vma.ts';
import type { VmArea } from './vma.ts';
import { VM_ACCESS_FLAGS, VM_IGNORE_MERGE } from './vma-flags.ts';

/** Could `lower` and the adjacent `upper` be one VMA, access rights aside? @see `anon_vma_compatible` */
function anonVmaCompatible(lower: VmArea, upper: VmArea): boolean {
  return (
    lower.end === upper.start &&
    lower.file === upper.file &&
    ((lower.flags ^ upper.flags) & ~(VM_ACCESS_FLAGS | VM_IGNORE_MERGE)) === 0 &&
    lower.flagsHigh === upper.flagsHigh &&
    upper.pgoff === lower.pgoff + lower.pages
  );
}

/** A fork child's anon_vma is not lent out. @see `reusable_anon_vma` */
function reusableAnonVma(owner: VmArea, lower: VmArea, upper: VmArea): AnonVma | null {
  if (!anonVmaCompatible(lower, upper)) return null;
  return owner.anonVmaChain.length === 1 ? owner.anonVma : null;
}

function findMergeableAnonVma(vma: VmArea): AnonVma | null {
  const { vmas } = vma.mm;
  const next = vmas.find(vma.end);
  const fromNext = next === null ? null : reusableAnonVma(next, vma, next);
  if (fromNext !== null) return fromNext;
  const previous = vma.start === 0 ? null : vmas.find(vma.start - 1);
  return previous === null || previous === vma ? null : reusableAnonVma(previous, previous, vma);
}

/**
 * `anon_vma_prepare`. Needs mmap_lock held in any way. Two faults may come here at once: the page_table_lock decides.
 */
export function* anonVmaPrepare(current: TaskStruct, vma: VmArea): Task<void> {
  if (vma.anonVma !== null) return;
  mmapAssertLocked(current, vma.mm);
  yield* prepare(current, vma, findMergeableAnonVma(vma));
}

/** As `anonVmaPrepare` without mmap_lock, when neighbours come and go while they are looked at: a bug put in on purpose. */
export function* anonVmaPrepareUnlocked(current: TaskStruct, vma: VmArea): Task<void> {
  const { mm } = vma;
  yield mm.treeLoad;
  yield* prepare(current, vma, findMergeableAnonVma(vma));
}

function* prepare(current: TaskStruct, vma: VmArea, found: AnonVma | null): Task<void> {
  const { mm } = vma;
  if (found !== null) yield* found.rwsem.downWrite(current);
  if (found?.freed === true)
    current.kernel.watcher?.usedAfterFree(current, `anon_vma ${found.id}`, 'anon_vma_prepare');
  yield* mm.pageTableLock.lock(current);
  if (vma.anonVma === null) {
    if (found === null) attachNewAnonVma(vma, mm.kernel.nextSerial('anon_vma'));
    else attachAnonVma(vma, found);
  }
  yield* mm.pageTableLock.unlock(current);
  if (found !== null) yield* found.rwsem.upWrite(current);
}
