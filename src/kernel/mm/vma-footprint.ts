/**
 * Fields of VMAs and the trees they stand in, as parts of footprints. The locks that guard them are in footprints anyway:
 * this is for kernels in which one of them is missing.
 */
import type { Footprint } from '../../base/footprint.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';
import type { TreeChange, VmaField, VmaWatcher } from './vma-watcher.ts';

/** Notes what is touched, and tells the one who looks on already. */
export class VmaFootprint implements VmaWatcher {
  readonly #footprint: Footprint;
  readonly #next: VmaWatcher | null;

  constructor(footprint: Footprint, next: VmaWatcher | null) {
    this.#footprint = footprint;
    this.#next = next;
  }

  touched(vma: VmArea, field: VmaField, write: boolean): void {
    if (this.#footprint.enabled) {
      // Who looks at a VMA has found it in the tree.
      this.#footprint.readObject(vma.mm.treeLoad.object);
      if (write) this.#footprint.writeObject(vma);
      else this.#footprint.readObject(vma);
    }
    this.#next?.touched(vma, field, write);
  }

  treeChanges(mm: MmStruct, vma: VmArea, change: TreeChange, start: number, end: number): void {
    if (this.#footprint.enabled) this.#footprint.writeObject(mm.treeStore.object);
    this.#next?.treeChanges(mm, vma, change, start, end);
  }

  made(vma: VmArea, mm: MmStruct): void {
    this.#changes(vma);
    this.#next?.made(vma, mm);
  }

  freed(vma: VmArea): void {
    this.#changes(vma);
    this.#next?.freed(vma);
  }

  readerCounted(vma: VmArea, before: number): void {
    this.#next?.readerCounted(vma, before);
  }

  writeLocked(vma: VmArea): void {
    this.#changes(vma);
    this.#next?.writeLocked(vma);
  }

  attached(vma: VmArea): void {
    this.#changes(vma);
    this.#next?.attached(vma);
  }

  detached(vma: VmArea): void {
    this.#changes(vma);
    this.#next?.detached(vma);
  }

  forked(copy: VmArea, source: VmArea): void {
    this.#next?.forked(copy, source);
  }

  /** The VMA's number, against that of mmap_lock's write section. */
  lookedAtLock(vma: VmArea, mm: MmStruct): void {
    if (!this.#footprint.enabled) return;
    this.#footprint.readObject(vma);
    this.#footprint.readObject(mm.mmapLock);
  }

  speculationBegun(mm: MmStruct): void {
    this.#next?.speculationBegun(mm);
  }

  speculationAsked(mm: MmStruct): void {
    this.#next?.speculationAsked(mm);
  }

  mmFreed(mm: MmStruct): void {
    this.#next?.mmFreed(mm);
  }

  #changes(vma: VmArea): void {
    if (this.#footprint.enabled) this.#footprint.writeObject(vma);
  }
}
