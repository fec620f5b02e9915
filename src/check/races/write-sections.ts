/**
 * VMAs that a writer of mmap_lock has locked, put in or taken out, told of when it lets the lock go or downgrades it. Others
 * may give back the lock meanwhile that they have not got: a killed waiter does, in lockdep's books.
 */
import type { SharedObject } from '../../base/task.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import type { SchedTask } from '../../sched/task.ts';
import type { Watch } from './watch.ts';

/** The VMA may be changed again from now on by others only. Fields may be read: nobody's access is told. */
export type ChangedVma = (mm: MmStruct, vma: VmArea) => void;

interface Section {
  readonly mm: MmStruct;
  /** Who was at work first; null where no task was. */
  readonly writer: SchedTask | null;
  readonly vmas: Set<VmArea>;
}

export function afterWriteSections(watch: Watch, changed: ChangedVma): void {
  let open = new Map<SharedObject, Section>();
  watch.onRun(() => {
    open = new Map();
  });
  const note = (vma: VmArea): void => {
    const { mm } = vma;
    const section = open.get(mm.mmapLock);
    if (section === undefined) open.set(mm.mmapLock, { mm, writer: watch.stepping(), vmas: new Set([vma]) });
    else section.vmas.add(vma);
  };
  const ended = (task: SchedTask, lock: SharedObject): void => {
    if (open.size === 0) return;
    const section = open.get(lock);
    if (section === undefined || (section.writer !== null && section.writer !== task)) return;
    open.delete(lock);
    watch.unwatched(() => {
      for (const vma of section.vmas) changed(section.mm, vma);
    });
  };
  watch.onVmas({
    treeChanges: (_mm, vma) => note(vma),
    writeLocked: note,
    attached: note,
    detached: note,
    freed: (vma) => open.get(vma.mm.mmapLock)?.vmas.delete(vma),
  });
  watch.onLocks({ release: ended, downgrade: ended });
}
