/**
 * Where VMAs come from. The cache is type-safe under RCU: an object that was given back may become another VMA, of any
 * process, at once, while a lockless reader still looks at it; only the memory itself waits for a grace period. So a
 * reader that has found a VMA in the tree must take a reference and then ask whether it is still the VMA it meant.
 * The object given back last is handed out first, as each CPU's list of the allocator does: the worst case for readers.
 * Left out: CPUs do not have lists of their own; failing allocations.
 * @see Linux kernel/fork.c, `vm_area_alloc`, `vm_area_free`, `vma_state_init`; SLAB_TYPESAFE_BY_RCU in include/linux/slab.h
 */
import type { MmStruct } from './mm.ts';
import { VmArea } from './vma.ts';

/** Objects kept; further ones go back to the allocator with their slab, when nobody can see them any more. */
const KEPT = 120;

export class VmAreaSlab {
  readonly #free: VmArea[] = [];
  /** VMAs in use. */
  live = 0;

  take(): VmArea | null {
    this.live++;
    return this.#free.pop() ?? null;
  }

  give(vma: VmArea): void {
    this.live--;
    if (this.#free.length < KEPT) this.#free.push(vma);
  }
}

/** A VMA that is in no tree, detached. Pages. Its name is new even when the object is not. */
export function vmAreaAlloc(
  mm: MmStruct,
  start: number,
  end: number,
  flags: number,
  flagsHigh: number,
  pgoff: number,
): VmArea {
  const fresh = new VmArea(mm, start, end, flags, flagsHigh, pgoff);
  const used = mm.kernel.vmAreas.take();
  const { vmaWatcher } = mm.kernel;
  if (vmaWatcher !== null) vmaWatcher.made(used ?? fresh, mm);
  if (used === null) return fresh;
  // Whatever a new VMA begins with, one made of an old object begins with as well.
  const fields = { anonVma: null, file: null, ops: null, userfaultfd: null, privateData: null };
  return Object.assign(used, fresh, { start, end, flags, flagsHigh, pgoff }, fields);
}

/**
 * Gives a VMA back. From now on the object may be another VMA. What a reader under RCU may still look at stays: the mm,
 * the reference count and the lock's sequence; a range that nobody may read is no number.
 * @throws Error when somebody has a reference or it is chained to an anon_vma
 */
export function vmAreaFree(vma: VmArea): void {
  if (vma.refcount !== 0) throw new Error(`${vma.name} is freed with reference count ${vma.refcount}`);
  if (vma.anonVmaChain.length !== 0) throw new Error(`${vma.name} is freed with its anon_vma`);
  vma.start = Number.NaN;
  vma.end = Number.NaN;
  const { vmaWatcher } = vma.mm.kernel;
  if (vmaWatcher !== null) vmaWatcher.freed(vma);
  vma.mm.kernel.vmAreas.give(vma);
}
