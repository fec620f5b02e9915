/**
 * anon_vma: which VMAs may map the anonymous pages of a VMA. A VMA is chained to its own anon_vma and, after a fork, to
 * those of its ancestors, since it may still map pages that they faulted in. How many chain entries a VMA has decides
 * merges (a fork child does not merge with a VMA of no anon_vma), so the chains are kept exactly.
 * The entries of an anon_vma lie in a tree by the offsets that their VMAs cover; the lock of the whole family, which its
 * root has, protects the trees and keeps VMAs that a walk finds from being unlinked.
 * Left out: reference counts of anon_vmas (what nobody can reach is gone), reuse of their memory.
 * @see Linux mm/rmap.c, `anon_vma_clone`, `anon_vma_fork`, `unlink_anon_vmas`, `__anon_vma_prepare`; mm/vma.c,
 * `anon_vma_interval_tree_pre_update_vma`
 */
import { IntervalNode, IntervalTree } from '../../base/interval-tree.ts';
import type { Task } from '../../base/task.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { VmArea } from './vma.ts';

export class AnonVma {
  readonly kind = 'anon_vma';
  /** In reports, and to tell two apart. */
  readonly id: number;
  /** The anon_vma of the process that did not inherit any of this family; itself at the top. */
  readonly root: AnonVma;
  parent: AnonVma;
  /** Child anon_vmas; the top counts itself. */
  numChildren = 0;
  /** VMAs whose `anonVma` is this one. */
  numActiveVmas = 0;
  /** One entry per VMA that may map pages of this anon_vma (`rb_root`). Under the family's lock. */
  readonly chains = new IntervalTree<AnonVmaChain>();
  /** The last VMA has left it (`put_anon_vma`): a VMA may no longer be given it. */
  freed = false;
  #rwsem: RwSemaphore | null = null;

  constructor(id: number, parent: AnonVma | null) {
    this.id = id;
    this.parent = parent ?? this;
    this.root = parent === null ? this : parent.root;
  }

  /** The lock of the family, made when it is first needed: most anon_vmas of a large process never are anybody's aim. */
  get rwsem(): RwSemaphore {
    const { root } = this;
    root.#rwsem ??= new RwSemaphore(`anon_vma ${root.id}`);
    return root.#rwsem;
  }
}

/** Links one VMA with one anon_vma. */
export class AnonVmaChain extends IntervalNode {
  readonly vma: VmArea;
  readonly anonVma: AnonVma;

  constructor(vma: VmArea, anonVma: AnonVma) {
    super();
    this.vma = vma;
    this.anonVma = anonVma;
  }
}

/** Puts an entry into the tree of its anon_vma, by the range that its VMA has now. */
function insertChain(chain: AnonVmaChain): void {
  const { vma, anonVma } = chain;
  anonVma.chains.insert(chain, vma.pgoff, vma.pgoff + vma.pages - 1);
}

/** Chains `vma` to `anonVma`: newest first in the VMA's list, as in Linux. Needs the lock, where others can see them. */
export function anonVmaChainLink(vma: VmArea, anonVma: AnonVma): void {
  const chain = new AnonVmaChain(vma, anonVma);
  vma.anonVmaChain.unshift(chain);
  insertChain(chain);
}

/**
 * A fresh anon_vma for a VMA that has none: the top of a new family. Nobody else can know its lock.
 * @see mm/rmap.c, `__anon_vma_prepare`
 */
export function attachNewAnonVma(vma: VmArea, id: number): AnonVma {
  const anonVma = new AnonVma(id, null);
  anonVma.numChildren++;
  attachAnonVma(vma, anonVma);
  return anonVma;
}

/** Gives `vma`, which has none, an existing anon_vma (that of a neighbour it could merge with). Needs its lock. */
export function attachAnonVma(vma: VmArea, anonVma: AnonVma): void {
  if (vma.anonVma !== null) throw new Error(`${vma.name} has an anon_vma already`);
  vma.anonVma = anonVma;
  anonVmaChainLink(vma, anonVma);
  anonVma.numActiveVmas++;
}

/**
 * Chains `target` to everything `source` is chained to: the target may map the same pages. A target without an
 * anon_vma of its own may take over an ancestor's that has no VMA and at most one child left, so that repeated forks
 * do not pile anon_vmas up.
 * @see mm/rmap.c, `anon_vma_clone`
 */
export function* anonVmaClone(current: TaskStruct, target: VmArea, source: VmArea): Task<void> {
  // All that a VMA is chained to is one family.
  const family = source.anonVmaChain[0]?.anonVma ?? null;
  if (family !== null) yield* family.rwsem.downWrite(current);
  for (let i = source.anonVmaChain.length - 1; i >= 0; i--) {
    const { anonVma } = source.anonVmaChain[i] as AnonVmaChain;
    anonVmaChainLink(target, anonVma);
    if (target.anonVma === null && source.anonVma !== null && isReusable(current, anonVma, source)) {
      target.anonVma = anonVma;
    }
  }
  if (target.anonVma !== null) target.anonVma.numActiveVmas++;
  if (family !== null) yield* family.rwsem.upWrite(current);
}

/**
 * Has nobody but others' pages of long ago an interest in it? One counter was not enough to tell.
 * @see Linux v5.19 mm/rmap.c, `anon_vma_clone`; commit 2555283eb40d, "mm/rmap: Fix anon_vma->degree ambiguity leading to
 *   double-reuse" (2022)
 */
function isReusable({ kernel }: TaskStruct, anonVma: AnonVma, source: VmArea): boolean {
  const { numChildren, numActiveVmas } = anonVma;
  if (kernel.bugs.anonVmaReuse) return anonVma !== source.anonVma && numChildren + numActiveVmas < 2;
  return numChildren < 2 && numActiveVmas === 0;
}

/**
 * The child's VMA after fork: chained to all of the parent's anon_vmas, with an anon_vma of its own for what it will
 * fault in itself (unless it could take an old one over). Nothing when the parent's VMA has none.
 * @see mm/rmap.c, `anon_vma_fork`
 */
export function* anonVmaFork(current: TaskStruct, child: VmArea, parent: VmArea, id: number): Task<void> {
  if (parent.anonVma === null) return;
  child.anonVma = null;
  yield* anonVmaClone(current, child, parent);
  if (child.anonVma !== null) return;
  const anonVma = new AnonVma(id, parent.anonVma);
  yield* anonVma.rwsem.downWrite(current);
  attachAnonVma(child, anonVma);
  anonVma.parent.numChildren++;
  yield* anonVma.rwsem.upWrite(current);
}

/**
 * Takes `vma` out of every anon_vma; it is about to be freed, or merged away. Doing it twice is harmless.
 * @see mm/rmap.c, `unlink_anon_vmas`
 */
export function* unlinkAnonVmas(current: TaskStruct, vma: VmArea): Task<void> {
  const family = vma.anonVmaChain[0]?.anonVma ?? null;
  if (family === null) return;
  yield* family.rwsem.downWrite(current);
  for (const chain of vma.anonVmaChain) {
    const { anonVma } = chain;
    anonVma.chains.remove(chain);
    if (anonVma.chains.size > 0) continue;
    anonVma.parent.numChildren--;
    // Whoever is chained to a descendant is chained to this one: it has none either.
    anonVma.freed = true;
  }
  vma.anonVmaChain.length = 0;
  if (vma.anonVma !== null) {
    vma.anonVma.numActiveVmas--;
    vma.anonVma = null;
  }
  yield* family.rwsem.upWrite(current);
}

/**
 * Before the range of a VMA changes: its entries leave the trees, and come back with `anonVmaPostUpdate`. Needs the lock
 * from before the one to after the other.
 * @see `anon_vma_interval_tree_pre_update_vma`
 */
export function anonVmaPreUpdate(vma: VmArea): void {
  for (const chain of vma.anonVmaChain) chain.anonVma.chains.remove(chain);
}

/** @see `anon_vma_interval_tree_post_update_vma` */
export function anonVmaPostUpdate(vma: VmArea): void {
  for (const chain of vma.anonVmaChain) insertChain(chain);
}

/**
 * Has this VMA, or the one it was forked from, pages of an ancestor that were not copied? True when it is chained to
 * more than its own anon_vma.
 * @see mm/vma.c, `vma_had_uncowed_parents`
 */
export function vmaHadUncowedParents(vma: VmArea | null): boolean {
  return vma !== null && vma.anonVma !== null && vma.anonVmaChain.length !== 1;
}
