/**
 * A file and its pages and mappings know each other: each cached page names its file and offset, a page is in memory or
 * in swap, never both, every VMA of the file is in its tree with the range it has, and the tree has no others.
 * @see Linux mm/filemap.c, `__filemap_add_folio`; mm/interval_tree.c; include/linux/fs.h, `i_mmap_writable`
 */
import type { IntervalNode } from '../../base/interval-tree.ts';
import type { AddressSpace } from '../../kernel/frame/address-space.ts';
import { isSharedMayWrite } from '../../kernel/mm/i-mmap.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { type Audit, count, frameName } from './audit.ts';

export function auditFiles(audit: Audit): void {
  const users = new Map<AddressSpace, VmArea[]>();
  for (const file of audit.files) users.set(file, []);
  for (const mm of audit.mms) {
    for (const vma of mm.vmas) if (vma.file !== null) users.get(vma.file.mapping)?.push(vma);
  }
  for (const [file, vmas] of users) {
    auditPages(audit, file);
    auditMappings(audit, file, vmas);
    if (file.hole !== null || file.reservation !== null) audit.report(`${file.name} is still in fallocate`);
  }
}

function auditPages(audit: Audit, file: AddressSpace): void {
  const { frames } = audit.kernel;
  for (const index of file.indexes()) {
    const frame = file.frameAt(index);
    const name = `page ${index} of ${file.name}, ${frameName(frame)},`;
    if (frames.refcount(frame) === 0) audit.report(`${name} is free`);
    else if (frames.mapping(frame) !== file || frames.index(frame) !== index)
      audit.report(`${name} says it is page ${frames.index(frame)} of something else`);
    if (file.swapSlotAt(index) !== 0) audit.report(`${name} is in swap too`);
  }
  for (const index of file.swappedIndexes()) count(audit.slots, file.swapSlotAt(index));
}

function auditMappings(audit: Audit, file: AddressSpace, vmas: readonly VmArea[]): void {
  for (const vma of vmas) auditNode(audit, vma.iMmapNode, vma.iMmapNode?.vma ?? null, vma);
  audit.expectEqual(`the number of mappings of ${file.name}`, file.iMmap.size, vmas.length);
  if (file.iMmapWritable < 0) return;
  const writable = vmas.filter(({ flags }) => isSharedMayWrite(flags)).length;
  audit.expectEqual(`i_mmap_writable of ${file.name}`, file.iMmapWritable, writable);
}

/** The node of a tree that should be the VMA's, with its range. */
export function auditNode(audit: Audit, node: IntervalNode | null, owner: VmArea | null, vma: VmArea): void {
  const last = vma.pgoff + vma.pages - 1;
  if (node === null || !node.inTree) audit.report(`${vma.name} is not in a tree where it should be`);
  else if (owner !== vma) audit.report(`${vma.name} has the node of ${owner?.name}`);
  else if (node.first !== vma.pgoff || node.last !== last) {
    audit.report(
      `${vma.name} covers [${vma.pgoff}, ${last}] of its object, its node [${node.first}, ${node.last}]`,
    );
  }
}
