/**
 * The VMAs of an address space are in order and do not overlap, the tree finds each of them, and the counters that depend
 * on them alone agree: the number of VMAs, the pages of each kind, the pages that were promised.
 * @see Linux mm/vma.c, `validate_mm`; mm/mmap.c, `vm_stat_account`; kernel/fork.c, `vm_area_alloc`
 */
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import {
  isDataMapping,
  isExecMapping,
  isStackMapping,
  VM_ACCOUNT,
  VM_HUGETLB,
  VM_LOCKED,
  VM_SPECIAL,
} from '../../kernel/mm/vma-flags.ts';
import type { Audit } from './audit.ts';

export function auditVmas(audit: Audit): void {
  const { kernel } = audit;
  let charged = 0;
  let total = 0;
  for (const mm of audit.mms) {
    const vmas = [...mm.vmas];
    total += vmas.length;
    auditOrder(audit, mm, vmas);
    // What is left of an address space without users says what it had.
    if (mm.mmUsers > 0) auditTotals(audit, mm, vmas);
    for (const vma of vmas) {
      auditVma(audit, mm, vma);
      if ((vma.flags & VM_ACCOUNT) !== 0) charged += vma.pages;
    }
  }
  const { committedPages } = kernel;
  if (audit.options.committedMayExceed !== true || committedPages < charged)
    audit.expectEqual('committedPages', committedPages, charged);
  audit.expectEqual('the number of VMAs in use', kernel.vmAreas.live, total);
}

function auditOrder(audit: Audit, mm: MmStruct, vmas: readonly VmArea[]): void {
  audit.expectEqual(`map_count of ${mm.name}`, mm.mapCount, vmas.length);
  let end = 0;
  for (const vma of vmas) {
    if (!(vma.start < vma.end)) audit.report(`${vma.name} is empty: [${vma.start}, ${vma.end})`);
    if (vma.start < end) audit.report(`${vma.name} begins at page ${vma.start}, below its neighbour's end`);
    end = vma.end;
    const found = mm.vmas.lookup(vma.start) === vma && mm.vmas.lookup(vma.end - 1) === vma;
    if (!found) audit.report(`${vma.name} is not found at its first and last page`);
  }
  if (end > mm.taskSizePages) audit.report(`${mm.name} maps memory beyond its end`);
}

function auditVma(audit: Audit, mm: MmStruct, vma: VmArea): void {
  if (vma.mm !== mm) audit.report(`${vma.name} is in the tree of ${mm.name}`);
  // 1: attached, and nobody reads (`vm_refcnt`).
  audit.expectEqual(`vm_refcnt of ${vma.name}`, vma.refcount, 1);
  const unlockable = (vma.flags & (VM_SPECIAL | VM_HUGETLB)) !== 0;
  if (unlockable && (vma.flags & VM_LOCKED) !== 0) audit.report(`${vma.name} can not be locked, and is`);
}

const isLocked = (flags: number): boolean => (flags & VM_LOCKED) !== 0;

function auditTotals(audit: Audit, mm: MmStruct, vmas: readonly VmArea[]): void {
  const sum = (which: (flags: number) => boolean): number =>
    vmas.reduce((pages, vma) => (which(vma.flags) ? pages + vma.pages : pages), 0);
  const { options } = audit;
  audit.expectEqual(
    `total_vm of ${mm.name}`,
    mm.totalVm,
    sum(() => true),
  );
  // The three kinds exclude each other, in this order.
  audit.expectEqual(`exec_vm of ${mm.name}`, mm.execVm, sum(isExecMapping));
  const stack = sum((flags) => !isExecMapping(flags) && isStackMapping(flags));
  audit.expectEqual(`stack_vm of ${mm.name}`, mm.stackVm, stack);
  const data = sum((flags) => !isExecMapping(flags) && !isStackMapping(flags) && isDataMapping(flags));
  audit.expectEqual(`data_vm of ${mm.name}`, mm.dataVm, data);
  const locked = sum(isLocked);
  if (options.lockedVmMayExceed !== true || mm.lockedVm < locked)
    audit.expectEqual(`locked_vm of ${mm.name}`, mm.lockedVm, locked);
}
