/**
 * Finds entries of page tables that a task changes while nothing keeps the mapping there that they are of: the lock of a table
 * protects the table, not what it stands for. Enough is mmap_lock of the address space; the own lock of the VMA that has the
 * page; the lock of a file's mappings or of anon_vmas, under which walks from pages to VMAs work. Left out: an address
 * space that nobody uses any more; huge pages of pools, which have locks of their own and tables that are shared.
 */
import type { SharedObject } from '../../base/task.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { SchedTask } from '../../sched/task.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'pte-without-mapping-lock';
const RMAP_LOCK = /^(i_mmap_rwsem|anon_vma) /;

export const pteWithoutMappingLock: CheckDefinition = {
  name: NAME,
  rule: 'An entry changes only under a lock that keeps its mapping: mmap_lock, the lock of its VMA, or one of reverse mapping.',
  source:
    'Linux Documentation/mm/process_addrs.rst, "Page tables", on installing, zapping and modifying entries',
  attach(watch) {
    let rmapLocks = new Map<SchedTask, number>();
    watch.onRun(() => {
      rmapLocks = new Map();
    });
    const count = (task: SchedTask, lock: SharedObject, by: number): void => {
      if (RMAP_LOCK.test(lock.name)) rmapLocks.set(task, (rmapLocks.get(task) ?? 0) + by);
    };
    watch.onLocks({
      acquire: (task, lock) => count(task, lock, 1),
      acquired: (task, lock) => count(task, lock, 1),
      release: (task, lock) => count(task, lock, -1),
    });
    watch.onTableChange((change) => look(watch, change, rmapLocks));
  },
};

function look(watch: Watch, change: TableChange, rmapLocks: ReadonlyMap<SchedTask, number>): void {
  const { place, next, old, page } = change;
  const task = watch.stepping();
  const { mm } = place;
  if (task === null || mm === null || mm.mmUsers === 0) return;
  // Tables come and go by rules of their own.
  if (next.kind === EntryKind.Table || old.kind === EntryKind.Table) return;
  if (isOfPool(watch, next.frame) || isOfPool(watch, old.frame)) return;
  if (mm.mmapLock.isHeldBy(task) || (rmapLocks.get(task) ?? 0) > 0) return;
  const vma = mm.vmas.lookup(page);
  if (vma?.isReadBy(task) === true) return;
  const where = `page 0x${page.toString(16)} of ${mm.name}`;
  const text = `${task.name} changes the entry of ${where} and holds neither mmap_lock nor the lock of the VMA there`;
  watch.report(NAME, text, [change.table.name]);
}

/** Tables with huge pages of a pool may be in several address spaces, of which a change knows one. */
function isOfPool({ kernel: { frames } }: Watch, frame: number): boolean {
  return frame !== -1 && frames.owns(frame) && frames.hasFlag(frames.head(frame), FrameFlag.Hugetlb);
}
