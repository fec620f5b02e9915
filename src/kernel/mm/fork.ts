/**
 * The address-space half of fork: every VMA and what it maps, the parent's mmap_lock held for writing all the time.
 * Left out: ksm registration, the executable's file.
 * @see Linux kernel/fork.c `dup_mm`; mm/mmap.c `dup_mmap`
 */
import type { Task } from '../../base/task.ts';
import { EINTR, ENOMEM } from '../errno.ts';
import { SINGLE_DEPTH_NESTING } from '../lock/lock-classes.ts';
import { mmapWriteLockKillable, mmapWriteLockNested, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { anonVmaFork } from './anon-vma.ts';
import { copyPageRange } from './copy-page-range.ts';
import { hugetlbDupVmaPrivate } from './hugetlb/hugetlb-vma.ts';
import { vmaLinkFile } from './i-mmap.ts';
import { getFile } from './mapped-file.ts';
import { MMF_UNSTABLE, type MmStruct, vmStatAccount } from './mm.ts';
import { mmAlloc, mmput } from './mm-lifetime.ts';
import { securityVmEnoughMemory } from './overcommit.ts';
import { khugepagedFork } from './thp/khugepaged-list.ts';
import { flushTlbMm } from './tlb.ts';
import {
  dupUserfaultfd,
  dupUserfaultfdFail,
  type PendingEvent,
  userfaultfdSendEvents,
} from './userfaultfd/events.ts';
import type { VmArea } from './vma.ts';
import { VM_ACCOUNT, VM_DONTCOPY, VM_HUGETLB, VM_LOCKED_MASK, VM_WIPEONFORK } from './vma-flags.ts';
import { vmaInitWriteLocked, vmaMarkAttached, vmaStartWrite } from './vma-lock.ts';
import { vmAreaAlloc } from './vma-slab.ts';

/**
 * A copy of `parent`'s address space for the process called `name`, with one user; -EINTR (killed) or -ENOMEM.
 * @see `dup_mm`
 */
export function* dupMm(current: TaskStruct, parent: MmStruct, name: string): Task<MmStruct | number> {
  const child = mmAlloc(current.kernel, name, parent.mmapBasePage);
  if (child === null) return -ENOMEM;
  copyLayout(child, parent);
  if (parent.context !== null && child.context !== null) {
    current.kernel.arch.protectionKeys.duplicate(parent.context, child.context);
  }
  const { dupMmapSem } = current.kernel;
  yield* dupMmapSem.downRead(current);
  const error = yield* dupMmap(current, child, parent);
  yield* dupMmapSem.upRead(current);
  if (error === 0) return child;
  yield* mmput(current, child);
  return error;
}

/** What `mm_init` and the plain copy of the structure take over. */
function copyLayout(child: MmStruct, parent: MmStruct): void {
  const { startCode, endCode, startData, endData, startBrk, brk, startStack } = parent;
  const { argStart, argEnd, envStart, envEnd, dumpable, coredumpFilter } = parent;
  Object.assign(child, { startCode, endCode, startData, endData, startBrk, brk, startStack });
  Object.assign(child, { argStart, argEnd, envStart, envEnd, dumpable, coredumpFilter });
}

/** 0, -EINTR or -ENOMEM. A child that is not complete is marked unstable: whoever finds it must not rely on its contents. */
function* dupMmap(current: TaskStruct, child: MmStruct, parent: MmStruct): Task<number> {
  if ((yield* mmapWriteLockKillable(current, parent)) !== 0) return -EINTR;
  const { bugs, uprobes } = current.kernel;
  uprobes?.dupMmap(parent, child);
  // Nobody else can know the child: the second lock of the same class cannot deadlock.
  yield* mmapWriteLockNested(current, child, SINGLE_DEPTH_NESTING);
  child.totalVm = parent.totalVm;
  child.dataVm = parent.dataVm;
  child.execVm = parent.execVm;
  child.stackVm = parent.stackVm;
  const events: PendingEvent[] = [];
  let error = 0;
  for (const vma of parent.vmas.snapshot()) {
    if (!bugs.forkWithoutVmaWriteLock) yield* vmaStartWrite(current, parent, vma);
    if ((vma.flags & VM_DONTCOPY) !== 0) {
      vmStatAccount(child, vma.flags, -vma.pages);
      continue;
    }
    // Nobody needs the copy for which a victim of the OOM killer would take yet more memory.
    error = current.fatalSignalPending() ? -EINTR : yield* dupVma(current, child, vma, events);
    if (error !== 0) break;
  }
  if (error !== 0) child.flagBits |= MMF_UNSTABLE;
  else yield* khugepagedFork(child, parent);
  yield* mmapWriteUnlock(current, child);
  yield* flushTlbMm(current, parent);
  yield* mmapWriteUnlock(current, parent);
  if (error === 0) yield* userfaultfdSendEvents(current, events);
  else yield* dupUserfaultfdFail(events);
  return error;
}

function* dupVma(current: TaskStruct, mm: MmStruct, parent: VmArea, events: PendingEvent[]): Task<number> {
  if ((parent.flags & VM_ACCOUNT) !== 0 && securityVmEnoughMemory(parent.mm, parent.pages) !== 0)
    return -ENOMEM;
  const vma = vmAreaAlloc(mm, parent.start, parent.end, parent.flags, parent.flagsHigh, parent.pgoff);
  vma.file = parent.file;
  vma.ops = parent.ops;
  if ((parent.flags & VM_HUGETLB) !== 0) hugetlbDupVmaPrivate(vma);
  vmaInitWriteLocked(mm, vma);
  yield* dupUserfaultfd(current, vma, parent, events);
  const wiped = (vma.flags & VM_WIPEONFORK) !== 0;
  if (!wiped) yield* anonVmaFork(current, vma, parent, mm.kernel.nextSerial('anon_vma'));
  vma.flags &= ~VM_LOCKED_MASK;
  yield mm.treeStore;
  mm.vmas.insert(vma);
  vmaMarkAttached(vma);
  mm.mapCount++;
  if (vma.file !== null) getFile(vma.file);
  yield* vmaLinkFile(current, vma);
  return wiped ? 0 : yield* copyPageRange(current, vma, parent);
}
