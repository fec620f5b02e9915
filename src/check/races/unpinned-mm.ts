/**
 * Finds a reader that gives back a VMA of an address space which nothing keeps for it, and where it may have to wake a writer
 * afterwards: once the reader is counted off, the writer may go on without being woken, exit, and free what the reader is
 * about to use.
 * A reference is nobody's by name. What is not accounted for by tasks, and by CPUs that have the address space loaded, counts
 * as the reader's: a reference of somebody else can hide a missing one, and none is missed that is there.
 */
import type { Kernel } from '../../kernel/kernel.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { VmArea } from '../../kernel/mm/vma.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'unpinned-mm';

export const unpinnedMm: CheckDefinition = {
  name: NAME,
  rule: 'Who gives back a VMA of another address space has a reference to that until the writer there is woken.',
  source: 'Linux mm/mmap_lock.c, vma_start_read; commit 9bbffee67ffd (2025)',
  attach(watch) {
    watch.onLocks({
      release: (_task, lock) => {
        if (lock instanceof VmArea) look(watch, lock.mm);
      },
    });
  },
};

function look(watch: Watch, mm: MmStruct): void {
  const task = watch.stepping();
  if (task === null || task.mm === mm || isKept(watch.kernel, mm)) return;
  const text = `${task.name} gives back a VMA of ${mm.name}, where a writer may wait, and has no reference to that`;
  watch.report(NAME, text, [mm.mmapLock.name]);
}

/** Are there more references than those of the tasks that run in it and of CPUs that have it loaded for nobody? */
function isKept({ tasks, activeMm }: Kernel, mm: MmStruct): boolean {
  let users = mm.mmUsers;
  for (const task of tasks.values()) if (task.mm === mm) users--;
  if (users > 0) return true;
  let references = mm.mmUsers > 0 ? mm.mmCount - 1 : mm.mmCount;
  for (const active of activeMm) if (active.borrowed && active.mm === mm) references--;
  return references > 0;
}
