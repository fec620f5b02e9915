/**
 * Finds uses of an address space whose last reference is gone: a reference taken to it, its mmap_lock, the place where
 * a writer of its VMAs waits, its tree. Tables that are used after they were freed are another check's.
 */
import type { SharedObject } from '../../base/task.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'mm-use-after-free';

export const mmUseAfterFree: CheckDefinition = {
  name: NAME,
  rule: 'Nothing of an mm_struct is touched after its last mm_count is dropped.',
  source: 'Linux include/linux/sched/mm.h, mmgrab; mm/mmap_lock.c, vma_start_read: the mmgrab of July 2025',
  attach(watch) {
    let freed = new Map<SharedObject, MmStruct>();
    watch.onRun(() => {
      freed = new Map();
    });
    watch.onVmas({
      mmFreed: (mm) => {
        freed.set(mm.mmapLock, mm);
        mm.vmaWriterWait.onUse = () => tell(watch, mm, 'wakes who waits for readers of a VMA of');
        mm.onCount = () => tell(watch, mm, 'counts a reference to');
      },
      treeChanges: (mm) => {
        if (freed.has(mm.mmapLock)) tell(watch, mm, 'changes the tree of');
      },
    });
    const touched = (lock: SharedObject): void => {
      if (freed.size === 0) return;
      const mm = freed.get(lock);
      if (mm !== undefined) tell(watch, mm, 'takes mmap_lock of');
    };
    watch.onLocks({
      acquire: (_task, lock) => touched(lock),
      acquired: (_task, lock) => touched(lock),
      release: (_task, lock) => touched(lock),
    });
  },
};

function tell(watch: Watch, mm: MmStruct, what: string): void {
  const who = watch.stepping()?.name ?? 'somebody';
  watch.report(NAME, `${who} ${what} ${mm.name}, which is freed`, [mm.mmapLock.name]);
}
