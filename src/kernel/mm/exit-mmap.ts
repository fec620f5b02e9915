/**
 * The end of an address space: everything is zapped under mmap_lock for reading, then tables and VMAs go under it for
 * writing. Nobody uses it any more; whoever still looks (the OOM reaper, khugepaged) is kept out by the locks.
 * @see Linux mm/mmap.c, `exit_mmap`
 */
import type { Task } from '../../base/task.ts';
import { mmapReadLock, mmapReadUnlock, mmapWriteLock, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { freePgtables, USER_PGTABLES_CEILING } from './free-pgtables.ts';
import { MMF_OOM_SKIP, type MmStruct } from './mm.ts';
import { tlbFinishMmu, tlbGatherMmu } from './mmu-gather.ts';
import { mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { removeVma } from './munmap.ts';
import { vmUnacctMemory } from './overcommit.ts';
import { VM_ACCOUNT } from './vma-flags.ts';
import { vmaMarkDetached, vmaStartWrite } from './vma-lock.ts';
import { zapRange } from './zap-range.ts';

export function* exitMmap(current: TaskStruct, mm: MmStruct): Task<void> {
  yield* mmuNotifierStart(current, mmuNotifierRange(mm, 0, mm.taskSizePages, 'release'));
  mm.notifiers = null;
  yield* mmapReadLock(current, mm);
  const vmas = [...mm.vmas];
  if (vmas.length === 0) {
    yield* mmapReadUnlock(current, mm);
    return;
  }
  const gather = yield* tlbGatherMmu(current, mm, true);
  for (const vma of vmas) yield* zapRange(current, mm, vma, vma.start, vma.end, gather);
  yield* mmapReadUnlock(current, mm);
  mm.flagBits |= MMF_OOM_SKIP;
  yield* mmapWriteLock(current, mm);
  yield* freePgtables(current, mm, gather, vmas, 0, USER_PGTABLES_CEILING, true);
  yield* tlbFinishMmu(current, gather);
  for (const vma of vmas) {
    if ((vma.flags & VM_ACCOUNT) !== 0) vmUnacctMemory(mm.kernel, vma.pages);
    // Done with the tables, unless there never were any.
    yield* vmaStartWrite(current, mm, vma);
    yield* vmaMarkDetached(current, vma);
    mm.vmas.remove(vma.start);
    mm.mapCount--;
    yield* removeVma(current, vma);
  }
  yield* mmapWriteUnlock(current, mm);
}
