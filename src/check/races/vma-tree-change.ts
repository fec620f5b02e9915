/**
 * Finds changes of the tree of VMAs that others could see half of: without mmap_lock held for writing, of a VMA that is not
 * write-locked (so a fault could take its lock before it is complete); and VMAs that are in the tree and detached, attached
 * and not in the tree, or in it with another range than their own, when the writer lets mmap_lock go.
 */
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_REFCNT_EXCLUDE_READERS_FLAG } from '../../kernel/mm/vma-lock.ts';
import type { TreeChange } from '../../kernel/mm/vma-watcher.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';
import { afterWriteSections } from './write-sections.ts';

const NAME = 'vma-tree-change';

export const vmaTreeChange: CheckDefinition = {
  name: NAME,
  rule: 'The tree of VMAs changes under mmap_lock held for writing, and only where its VMAs are write-locked.',
  source:
    'Linux Documentation/mm/process_addrs.rst; commits of 6.4.1 to 6.4.3 on per-VMA locks; CVE-2023-3269 (StackRot)',
  attach(watch) {
    watch.onVmas({ treeChanges: (mm, vma, change) => changes(watch, mm, vma, change) });
    afterWriteSections(watch, (mm, vma) => look(watch, mm, vma));
  },
};

function changes(watch: Watch, mm: MmStruct, vma: VmArea, change: TreeChange): void {
  const task = watch.stepping();
  if (task === null) return;
  if (!mm.mmapLock.isWrittenBy(task)) {
    const text = `${task.name} changes the tree of ${mm.name} and does not hold its mmap_lock for writing`;
    watch.report(NAME, text, [vma.name]);
  } else if (vma.vmLockSeq !== mm.mmLockSeq) {
    const what = change === 'insert' ? 'puts in' : change === 'remove' ? 'takes out' : 'changes the range of';
    const text = `${task.name} ${what} ${vma.name} in the tree of ${mm.name}, which is not write-locked`;
    watch.report(NAME, text, [vma.name]);
  }
}

function look(watch: Watch, { vmas, name }: MmStruct, vma: VmArea): void {
  const { refcount, start, end } = vma;
  const inTree = vmas.lookup(start) === vma;
  const tell = (text: string): void => watch.report(NAME, text, [vma.name]);
  if (refcount >= VM_REFCNT_EXCLUDE_READERS_FLAG) {
    tell(`${vma.name} keeps readers out, and its writer has let mmap_lock go`);
  } else if (refcount === 0 && inTree) {
    tell(`${vma.name} is in the tree of ${name} and detached: nobody can take its lock`);
  } else if (refcount !== 0 && !inTree) {
    tell(`${vma.name} is attached and not in the tree of ${name}`);
  } else if (
    inTree &&
    (vmas.lookup(end - 1) !== vma || vmas.lookup(start - 1) === vma || vmas.lookup(end) === vma)
  ) {
    tell(`the tree of ${name} has another range for ${vma.name} than the VMA itself`);
  }
}
