/**
 * A walk over the VMAs of an address space that keeps its place in the tree between two VMAs, as Linux does: it remembers the
 * node that it is in. A change of the tree replaces nodes, and the old ones are freed after a grace period of RCU. So whoever
 * walks must keep changes out by mmap_lock, in either mode, or be in a section of RCU all the time, which finds out that its
 * node is dead and looks the place up again.
 * @see Linux include/linux/mm.h, `struct vma_iterator`, `vma_next`; lib/maple_tree.c, `mas_next`, `ma_dead_node`, `ma_free_rcu`
 */
import { callRcu } from '../lock/rcu.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';
import type { TreeIterator } from './vma-tree.ts';

/** Where a walk is. */
interface Place {
  readonly leaf: object;
  /** A change has taken it out of the tree. */
  dead: boolean;
  freed: boolean;
}

export class VmaIterator implements TreeIterator {
  readonly #current: TaskStruct;
  readonly #mm: MmStruct;
  /** What ends at or below it has been walked over. */
  #page: number;
  /** Null until there was a first VMA. */
  #place: Place | null = null;

  /** The first VMA is the one that ends above `fromPage`. `end` must be called. */
  constructor(current: TaskStruct, mm: MmStruct, fromPage: number) {
    this.#current = current;
    this.#mm = mm;
    this.#page = fromPage;
    mm.vmas.join(this);
  }

  /** The next VMA; null: there is none. */
  next(): VmArea | null {
    const { vmas, name } = this.#mm;
    const { watcher } = this.#current.kernel;
    if (this.#place?.freed === true)
      watcher?.usedAfterFree(this.#current, `a node of the VMA tree of ${name}`, 'vma_next');
    const vma = vmas.find(this.#page);
    if (vma === null) return null;
    this.#page = vma.end;
    const leaf = vmas.leafAt(vma.start);
    if (this.#place?.leaf !== leaf) this.#place = { leaf, dead: false, freed: false };
    return vma;
  }

  /** The walk is over, or its lock is let go. */
  end(): void {
    this.#mm.vmas.leave(this);
  }

  treeChanged(): void {
    const place = this.#place;
    if (place === null || place.dead || this.#mm.vmas.leafAt(this.#page) === place.leaf) return;
    place.dead = true;
    callRcu(this.#current.kernel, () => {
      place.freed = true;
    });
  }
}
