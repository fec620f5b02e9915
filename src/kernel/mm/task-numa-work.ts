/**
 * The scan of NUMA balancing over a range of the task's own memory: its pages are marked, so that the next access to each is a
 * fault that tells which node uses it.
 * Left out: when it runs and how far (periods, `numa_scan_offset`), memory policies, VMAs that others scan.
 * @see Linux kernel/sched/fair.c, `task_numa_work`; mm/mempolicy.c, `change_prot_numa`, `vma_migratable`
 */
import type { Task } from '../../base/task.ts';
import { mmapReadTrylock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { MM_CP_PROT_NUMA } from './change-flags.ts';
import { changeProtection } from './change-protection.ts';
import { tlbFinishMmu, tlbGatherMmu } from './mmu-gather.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB, VM_IO, VM_MIXEDMAP, VM_PFNMAP, VM_READ, VM_WRITE } from './vma-flags.ts';
import { vmaIsAccessible } from './vma-protection.ts';

/** Pages marked of [start, end); none where mmap_lock is not to be had for reading at once. */
export function* taskNumaWork(current: TaskStruct, start: number, end: number): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} has no memory to scan`);
  if (!(yield* mmapReadTrylock(current, mm))) return 0;
  let marked = 0;
  for (let vma = mm.vmas.find(start); vma !== null && vma.start < end; vma = mm.vmas.find(vma.end)) {
    if (!isScanned(vma)) continue;
    marked += yield* changeProtNuma(current, vma, Math.max(vma.start, start), Math.min(vma.end, end));
  }
  yield* mmapReadUnlock(current, mm);
  return marked;
}

/** Not memory that cannot move, nor what many map alike: libraries, read only. */
function isScanned(vma: VmArea): boolean {
  if ((vma.flags & (VM_IO | VM_PFNMAP | VM_HUGETLB | VM_MIXEDMAP)) !== 0) return false;
  const library = vma.file !== null && (vma.flags & (VM_READ | VM_WRITE)) === VM_READ;
  return !library && vmaIsAccessible(vma);
}

/** Needs mmap_lock. @see `change_prot_numa` */
function* changeProtNuma(current: TaskStruct, vma: VmArea, start: number, end: number): Task<number> {
  const gather = yield* tlbGatherMmu(current, vma.mm);
  const marked = yield* changeProtection(current, vma.mm, vma, start, end, gather, MM_CP_PROT_NUMA);
  current.kernel.numaEvents.pteUpdates += marked;
  yield* tlbFinishMmu(current, gather);
  return marked;
}
