/**
 * The first touch of anonymous memory where a huge page may go: a huge page of its own for a write, the huge zero page
 * for a read. Whatever stands against it makes the fault an ordinary one.
 * Left out: charging to a memory cgroup, the statistics of /proc/vmstat.
 * @see Linux mm/huge_memory.c, `do_huge_pmd_anonymous_page`, `__do_huge_pmd_anonymous_page`, `vma_alloc_anon_folio_pmd`,
 * `map_anon_folio_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { FAULT_FLAG_WRITE, VM_FAULT_FALLBACK, VM_FAULT_OOM } from '../fault/fault-flags.ts';
import { vmfAnonPrepare } from '../fault/fault-lock.ts';
import { checkStableAddressSpace } from '../fault/stable-address-space.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import { MM_ANONPAGES } from '../mm.ts';
import { hugePages, type TablePage } from '../page-table.ts';
import { addMmCounter, addNewAnonHugeRmap } from '../rmap.ts';
import { handleUserfault } from '../userfaultfd/handle-userfault.ts';
import { noteHugePage } from '../vm-events.ts';
import { VM_UFFD_MISSING } from '../vma-flags.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { allocateDeposit, depositTable, freeDeposit, hugeStart, pmdIndex, pmdLock } from './huge-pmd.ts';
import { getHugeZeroFolio } from './huge-zero.ts';
import { khugepagedEnterVma } from './khugepaged-list.ts';
import { HPAGE_PMD_ORDER, thpVmaSuitable } from './policy.ts';

/** The pmd is none and policy allows a huge page. VM_FAULT_FALLBACK: go on with ptes. */
export function* doHugePmdAnonymousPage(fault: VmFault): Task<number> {
  const { kernel, mm, vma, page } = fault;
  if (!thpVmaSuitable(vma, hugeStart(kernel, page))) return VM_FAULT_FALLBACK;
  const prepared = yield* vmfAnonPrepare(fault);
  if (prepared !== 0) return prepared;
  yield* khugepagedEnterVma(vma);
  if (fault.has(FAULT_FLAG_WRITE)) return yield* mapOwnHugePage(fault);
  const deposit = allocateDeposit(kernel, mm);
  if (deposit === null) return VM_FAULT_OOM;
  const zero = getHugeZeroFolio(mm);
  if (zero === NO_FRAME) {
    freeDeposit(kernel, mm, deposit);
    return VM_FAULT_FALLBACK;
  }
  const flags = vmaPageProtection(vma);
  return yield* installHuge(fault, deposit, (table) => installLeaf(fault, table, zero, flags));
}

/** @see `__do_huge_pmd_anonymous_page` */
function* mapOwnHugePage(fault: VmFault): Task<number> {
  const { kernel, mm } = fault;
  const { frames } = kernel;
  const head = yield* allocAnonFolioPmd(fault);
  if (head === NO_FRAME) return VM_FAULT_FALLBACK;
  const deposit = allocateDeposit(kernel, mm);
  if (deposit === null) {
    frames.put(head);
    return VM_FAULT_OOM;
  }
  let mapped = false;
  const result = yield* installHuge(fault, deposit, function* (table): Task<void> {
    mapped = true;
    yield* mapAnonFolioPmd(fault, table, head);
  });
  if (!mapped) {
    yield frames.refPoint(head);
    frames.put(head);
  }
  return result;
}

/** A zeroed huge page, or `NO_FRAME` (-1): memory is short or in pieces. @see `vma_alloc_anon_folio_pmd` */
export function* allocAnonFolioPmd(fault: VmFault): Task<number> {
  const { current, kernel, vma } = fault;
  const { frames } = kernel;
  const head = yield* allocUserFolio(current, vma, HPAGE_PMD_ORDER, true);
  if (head === NO_FRAME) return NO_FRAME;
  const { object } = frames.refPoint(head);
  yield new SchedPoint(PointKind.Write, object, 'folio_zero_user', StepCost.PageCopy);
  frames.setFlags(head, FrameFlag.Uptodate);
  return head;
}

/**
 * Locks the pmd; if it is still none and nothing else is against it, lets `install` write it and puts the table by, else
 * gives the table back. 0 also when somebody else was faster.
 */
function* installHuge(
  fault: VmFault,
  deposit: TablePage,
  install: (table: TablePage) => Task<void>,
): Task<number> {
  const { current, kernel, mm, vma, page } = fault;
  const { pageTables } = kernel;
  const table = yield* pmdLock(current, mm, page);
  if (table === null) throw new Error(`no pmd table for a fault in ${vma.name}`);
  pageTables.read(table, pmdIndex(pageTables, page));
  const empty = pageTables.format.isNone(pageTables.hi, pageTables.lo);
  const result = empty ? checkStableAddressSpace(mm) : 0;
  const missing = result === 0 && empty && (vma.flags & VM_UFFD_MISSING) !== 0;
  const installs = empty && result === 0 && !missing;
  if (installs) {
    yield* install(table);
    depositTable(table, deposit);
  }
  yield* table.lock.unlock(current);
  if (!installs) freeDeposit(kernel, mm, deposit);
  return missing ? yield* handleUserfault(fault, 'missing') : result;
}

function* installLeaf(fault: VmFault, table: TablePage, frame: number, flags: number): Task<void> {
  const { pageTables } = fault.kernel;
  yield table.setEntry;
  pageTables.setLeaf(table, pmdIndex(pageTables, fault.page), frame, flags);
  noteHugePage(fault.current, 'thp-fault', hugeStart(fault.kernel, fault.page));
}

/** A huge page of this VMA's own, dirty and, as the VMA is, writable. Needs the pmd's lock. @see `map_anon_folio_pmd` */
export function* mapAnonFolioPmd(fault: VmFault, table: TablePage, head: number): Task<void> {
  const { kernel, mm, vma, page } = fault;
  addNewAnonHugeRmap(kernel.frames, head, vma, hugeStart(kernel, page));
  addMmCounter(mm, MM_ANONPAGES, hugePages(kernel.pageTables));
  const flags = vmaPageProtection(vma) | EntryFlag.Dirty | maybeWritable(vma);
  yield* installLeaf(fault, table, head, flags);
}
