/**
 * One advice on its way over the VMAs of a range.
 * @see Linux mm/madvise.c, `struct madvise_behavior`
 */
import type { MmStruct } from '../mm.ts';
import type { MmuGather } from '../mmu-gather.ts';
import type { VmArea } from '../vma.ts';
import { LockMode } from './advice.ts';

export class MadviseState {
  readonly mm: MmStruct;
  readonly advice: number;
  /** What is held; VmaRead until a VMA is found, and MmapRead from then on if its lock does not do. */
  lockMode: LockMode = LockMode.None;
  /** Over all VMAs of the call, for advices that take pages away; else null. */
  gather: MmuGather | null = null;
  /** The part of the range that lies in `vma`, page numbers. A handler may shorten `end`. */
  start = 0;
  end = 0;
  /** The VMA before, or `vma` itself if the range begins inside. Null after mmap_lock was dropped. */
  prev: VmArea | null = null;
  #vma: VmArea | null = null;
  /** The handler has let mmap_lock go for a while: `vma` may be gone. */
  lockDropped = false;

  constructor(mm: MmStruct, advice: number) {
    this.mm = mm;
    this.advice = advice;
  }

  /** The VMA that the advice is for now. */
  get vma(): VmArea {
    if (this.#vma === null) throw new Error('madvise looks at a VMA without having one');
    return this.#vma;
  }

  set vma(vma: VmArea) {
    this.#vma = vma;
  }
}
