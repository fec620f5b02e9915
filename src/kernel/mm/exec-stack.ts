/**
 * The stack of a program that execve is about to start. It begins as one page at the highest place that the architecture
 * has for stacks and grows while the strings are copied; when it is known where the stack belongs it is moved down, with
 * what it maps. Until then its VMA carries two flags that no stack has, so that nobody moves its pages about.
 * Left out: executable stacks, stacks that grow up, KSM.
 * @see Linux mm/vma_exec.c, `create_init_stack_vma`, `relocate_vma_down`; fs/exec.c, `setup_arg_pages`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINTR, ENOMEM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { anonVmaPostUpdate, anonVmaPreUpdate } from './anon-vma.ts';
import { freePgdRange, USER_PGTABLES_CEILING } from './free-pgtables.ts';
import type { MmStruct } from './mm.ts';
import { tlbFinishMmu, tlbGatherMmu } from './mmu-gather.ts';
import { movePageTables } from './move-page-tables.ts';
import { securityVmEnoughMemory } from './overcommit.ts';
import { limitPages } from './rlimit.ts';
import { expandDownwards } from './stack.ts';
import type { VmArea } from './vma.ts';
import { VM_ACCOUNT, VM_DATA_DEFAULT_FLAGS, VM_GROWSDOWN, VM_STACK_INCOMPLETE_SETUP } from './vma-flags.ts';
import { vmaInitWriteLocked, vmaMarkAttached, vmaStartWrite } from './vma-lock.ts';
import { vmAreaAlloc } from './vma-slab.ts';

/** What a new stack has below its strings beside room for itself: 128 KiB. */
const EXTRA_PAGES = 32;

/** One page at the top of `mm`, which is new and empty. The VMA, or -ENOMEM, -EINTR. */
export function* createInitStackVma(current: TaskStruct, mm: MmStruct): Task<VmArea | number> {
  const { arch } = mm.kernel;
  const end = arch.stackTopMaxPages;
  const { flags, flagsHigh } = arch.dataDefaultFlags;
  const all = VM_GROWSDOWN | VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | VM_STACK_INCOMPLETE_SETUP | flags;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  if (securityVmEnoughMemory(mm, 1) !== 0) {
    yield* mmapWriteUnlock(current, mm);
    return -ENOMEM;
  }
  const vma = vmAreaAlloc(mm, end - 1, end, all, flagsHigh, end - 1);
  vmaInitWriteLocked(mm, vma);
  yield mm.treeStore;
  mm.vmas.insert(vma);
  vmaMarkAttached(vma);
  mm.mapCount++;
  mm.totalVm = 1;
  mm.stackVm = 1;
  yield* mmapWriteUnlock(current, mm);
  return vma;
}

/** Gives the VMA other ends; what it maps keeps its offsets, so the caller moves it. Needs the VMA write-locked. */
function* setRange(current: TaskStruct, vma: VmArea, start: number, end: number): Task<void> {
  const { mm, anonVma } = vma;
  yield* vmaStartWrite(current, mm, vma);
  if (anonVma !== null) {
    yield* anonVma.rwsem.downWrite(current);
    anonVmaPreUpdate(vma);
  }
  yield mm.treeStore;
  mm.vmas.resize(vma.start, start, end);
  vma.start = start;
  vma.end = end;
  if (anonVma === null) return;
  anonVmaPostUpdate(vma);
  yield* anonVma.rwsem.upWrite(current);
}

/**
 * Moves the stack `shift` pages down. Needs mmap_lock for writing, and nothing may be mapped below. 0, -EFAULT (something
 * is), or -ENOMEM with the mm in disorder: it has to go.
 * @see `relocate_vma_down`
 */
function* relocateVmaDown(current: TaskStruct, vma: VmArea, shift: number): Task<number> {
  const { mm, start: oldStart, end: oldEnd, pages } = vma;
  const newStart = oldStart - shift;
  const newEnd = oldEnd - shift;
  if (mm.vmas.find(newStart) !== vma) return -EFAULT;
  yield* setRange(current, vma, newStart, oldEnd);
  const moved = yield* movePageTables(current, {
    old: vma,
    new: vma,
    oldPage: oldStart,
    newPage: newStart,
    pages,
    needRmapLocks: false,
    forStack: true,
  });
  if (moved < pages) return -ENOMEM;
  const gather = yield* tlbGatherMmu(current, mm);
  const ceiling = mm.vmas.find(oldEnd)?.start ?? USER_PGTABLES_CEILING;
  yield* freePgdRange(current, mm, gather, Math.max(newEnd, oldStart), oldEnd, newEnd, ceiling);
  yield* tlbFinishMmu(current, gather);
  yield* setRange(current, vma, newStart, newEnd);
  return 0;
}

/**
 * Brings the stack to its place, below page `top`, and lets it grow a little. 0, -ENOMEM, -EFAULT or -EINTR.
 * @param strings address of the lowest string, in bytes, where it is now
 * @see `setup_arg_pages`
 */
export function* setupArgPages(current: TaskStruct, vma: VmArea, top: number, strings: bigint): Task<number> {
  const { mm } = vma;
  const lowest = mm.kernel.config.mmapMinPage;
  if (top < lowest || vma.pages >= top - lowest) return -ENOMEM;
  const shift = vma.end - top;
  const first = strings - (BigInt(shift) << 12n);
  mm.argStart = first;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  let error = shift === 0 ? 0 : yield* relocateVmaDown(current, vma, shift);
  if (error === 0) {
    yield* vmaStartWrite(current, mm, vma);
    vma.flags &= ~VM_STACK_INCOMPLETE_SETUP;
    mm.startStack = first;
    const room = Math.min(limitPages(current.rlimits.stack), vma.pages + EXTRA_PAGES);
    if ((yield* expandDownwards(current, vma, vma.end - room)) !== 0) error = -EFAULT;
  }
  yield* mmapWriteUnlock(current, mm);
  return error;
}
