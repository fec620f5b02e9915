/**
 * The mappings of a file: every VMA with a file is in its object's `iMmap`, by the pages of the object that it covers,
 * from when it can be reached until its page tables go. Whoever changes a VMA's range takes it out and puts it back
 * under `iMmapRwsem` held for writing.
 * Left out: nodes of nonlinear mappings, the flush of aliasing data caches.
 * @see Linux mm/interval_tree.c, `vma_interval_tree_insert`; mm/vma.c, `__vma_link_file`, `vma_link_file`,
 * `__remove_shared_vm_struct`, `unlink_file_vma_batch_process`
 */
import { IntervalNode, type IntervalTree } from '../../base/interval-tree.ts';
import type { Task } from '../../base/task.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { VmArea } from './vma.ts';
import { VM_MAYWRITE, VM_SHARED } from './vma-flags.ts';

/** Where a VMA hangs in the tree of its file (`vma->shared.rb`). */
export class IMmapNode extends IntervalNode {
  readonly vma: VmArea;

  constructor(vma: VmArea) {
    super();
    this.vma = vma;
  }
}

/** The tree of an object, whose nodes are of the mm layer. */
function treeOf(mapping: AddressSpace): IntervalTree<IMmapNode> {
  return mapping.iMmap as IntervalTree<IMmapNode>;
}

/** May it be written, now or after mprotect? @see include/linux/mm.h, `is_shared_maywrite` */
export function isSharedMayWrite(flags: number): boolean {
  const both = VM_SHARED | VM_MAYWRITE;
  return (flags & both) === both;
}

/** Puts the VMA into the tree, with the range it has now. Needs `iMmapRwsem` for writing. */
export function iMmapInsert(vma: VmArea, mapping: AddressSpace): void {
  vma.iMmapNode ??= new IMmapNode(vma);
  treeOf(mapping).insert(vma.iMmapNode, vma.pgoff, vma.pgoff + vma.pages - 1);
}

/** Takes it out. Needs `iMmapRwsem` for writing. */
export function iMmapRemove(vma: VmArea, mapping: AddressSpace): void {
  if (vma.iMmapNode === null) throw new Error(`${vma.name} is not among the mappings of ${mapping.name}`);
  treeOf(mapping).remove(vma.iMmapNode);
}

/** A VMA that is new to the file: in the tree, and counted if it may be written. @see `__vma_link_file` */
export function linkFileLocked(vma: VmArea, mapping: AddressSpace): void {
  if (isSharedMayWrite(vma.flags)) mapping.iMmapWritable++;
  iMmapInsert(vma, mapping);
}

/** The opposite; the reference on the file is the caller's affair. @see `__remove_shared_vm_struct` */
export function unlinkFileLocked(vma: VmArea, mapping: AddressSpace): void {
  if (isSharedMayWrite(vma.flags)) mapping.iMmapWritable--;
  iMmapRemove(vma, mapping);
}

/** Links a new VMA with its file, if it has one. @see `vma_link_file` */
export function* vmaLinkFile(current: TaskStruct, vma: VmArea): Task<void> {
  if (vma.file === null) return;
  const { mapping } = vma.file;
  yield* mapping.iMmapRwsem.downWrite(current);
  linkFileLocked(vma, mapping);
  yield* mapping.iMmapRwsem.upWrite(current);
}

/** VMAs of one file that are unlinked in one section. @see mm/vma.h, `struct unlink_vma_file_batch` */
const BATCH = 8;

/**
 * Hides VMAs that are on their way out from those who look for mappings of their files; VMAs without a file are passed
 * over. Neighbours of one file are unlinked together.
 * @see `unlink_file_vma_batch_add`, `unlink_file_vma_batch_final`
 */
export function* unlinkFileVmas(current: TaskStruct, vmas: readonly VmArea[]): Task<void> {
  let at = 0;
  while (at < vmas.length) {
    const { file } = vmas[at] as VmArea;
    let end = at + 1;
    if (file !== null) {
      while (end < vmas.length && end - at < BATCH && vmas[end]?.file === file) end++;
      const { mapping } = file;
      yield* mapping.iMmapRwsem.downWrite(current);
      for (; at < end; at++) unlinkFileLocked(vmas[at] as VmArea, mapping);
      yield* mapping.iMmapRwsem.upWrite(current);
    }
    at = end;
  }
}

/**
 * One more mapping that may be written is coming. False when the object is sealed against it.
 * @see include/linux/fs.h, `mapping_map_writable`
 */
export function mappingMapWritable(mapping: AddressSpace): boolean {
  if (mapping.iMmapWritable < 0) return false;
  mapping.iMmapWritable++;
  return true;
}

/** @see include/linux/fs.h, `mapping_unmap_writable` */
export function mappingUnmapWritable(mapping: AddressSpace): void {
  mapping.iMmapWritable--;
}

/** The first VMA that maps one of the object's pages `first` to `last`, in order of offsets. */
export function firstMapping(mapping: AddressSpace, first: number, last: number): VmArea | null {
  return treeOf(mapping).firstOverlap(first, last)?.vma ?? null;
}

/** The next one after `vma`. Needs `iMmapRwsem` held since the first. */
export function nextMapping(mapping: AddressSpace, vma: VmArea, first: number, last: number): VmArea | null {
  if (vma.iMmapNode === null) throw new Error(`${vma.name} is not among the mappings of ${mapping.name}`);
  return treeOf(mapping).nextOverlap(vma.iMmapNode, first, last)?.vma ?? null;
}
