/**
 * Finds changes of the tree of VMAs that others could see half of: without mmap_lock held for writing, of a VMA that is not
 * write-locked (so a fault could take its lock before it is complete); and VMAs that are in the tree and detached, attached
 * and not in the tree, or in it with another range than their own, when the writer lets mmap_lock go.
 */
import type { SharedObject } from '../../base/task.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_REFCNT_EXCLUDE_READERS_FLAG } from '../../kernel/mm/vma-lock.ts';
import type { TreeChange } from '../../kernel/mm/vma-watcher.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'vma-tree-change';

export const vmaTreeChange: CheckDefinition = {
  name: NAME,
  rule: 'The tree of VMAs changes under mmap_lock held for writing, and only where its VMAs are write-locked.',
  source:
    'Linux Documentation/mm/process_addrs.rst; commits of 6.4.1 to 6.4.3 on per-VMA locks; CVE-2023-3269 (StackRot)',
  attach(watch) {
    const sections = new WriteSections(watch);
    watch.onVmas({
      treeChanges: (mm, vma, change) => sections.changes(mm, vma, change),
      writeLocked: (vma) => sections.note(vma),
      attached: (vma) => sections.note(vma),
      detached: (vma) => sections.note(vma),
      freed: (vma) => sections.freed(vma),
    });
    watch.onLocks({
      release: (_task, lock) => sections.ended(lock),
      downgrade: (_task, lock) => sections.ended(lock),
    });
  },
};

interface Section {
  readonly mm: MmStruct;
  readonly vmas: Set<VmArea>;
}

class WriteSections {
  readonly #watch: Watch;
  /** By mmap_lock: VMAs that were write-locked, came or went since it was taken for writing. */
  readonly #open = new Map<SharedObject, Section>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  note(vma: VmArea): void {
    const { mm } = vma;
    const section = this.#open.get(mm.mmapLock);
    if (section === undefined) this.#open.set(mm.mmapLock, { mm, vmas: new Set([vma]) });
    else section.vmas.add(vma);
  }

  freed(vma: VmArea): void {
    this.#open.get(vma.mm.mmapLock)?.vmas.delete(vma);
  }

  changes(mm: MmStruct, vma: VmArea, change: TreeChange): void {
    const task = this.#watch.stepping();
    if (task === null) return;
    this.note(vma);
    if (!mm.mmapLock.isWrittenBy(task)) {
      this.#tell(
        vma,
        `${task.name} changes the tree of ${mm.name} and does not hold its mmap_lock for writing`,
      );
    } else if (vma.vmLockSeq !== mm.mmLockSeq) {
      const what =
        change === 'insert' ? 'puts in' : change === 'remove' ? 'takes out' : 'changes the range of';
      this.#tell(
        vma,
        `${task.name} ${what} ${vma.name} in the tree of ${mm.name}, which is not write-locked`,
      );
    }
  }

  ended(lock: SharedObject): void {
    const section = this.#open.get(lock);
    if (section === undefined) return;
    this.#open.delete(lock);
    this.#watch.unwatched(() => {
      for (const vma of section.vmas) this.#look(section.mm, vma);
    });
  }

  #look({ vmas, name }: MmStruct, vma: VmArea): void {
    const { refcount, start, end } = vma;
    const inTree = vmas.lookup(start) === vma;
    if (refcount >= VM_REFCNT_EXCLUDE_READERS_FLAG) {
      this.#tell(vma, `${vma.name} keeps readers out, and its writer has let mmap_lock go`);
    } else if (refcount === 0 && inTree) {
      this.#tell(vma, `${vma.name} is in the tree of ${name} and detached: nobody can take its lock`);
    } else if (refcount !== 0 && !inTree) {
      this.#tell(vma, `${vma.name} is attached and not in the tree of ${name}`);
    } else if (
      inTree &&
      (vmas.lookup(end - 1) !== vma || vmas.lookup(start - 1) === vma || vmas.lookup(end) === vma)
    ) {
      this.#tell(vma, `the tree of ${name} has another range for ${vma.name} than the VMA itself`);
    }
  }

  #tell(vma: VmArea, text: string): void {
    this.#watch.report(NAME, text, [vma.name]);
  }
}
