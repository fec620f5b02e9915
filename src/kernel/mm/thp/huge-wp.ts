/**
 * Faults on a pmd that maps a huge page: a write to a read-only one, or no more than Accessed and Dirty. A page that is
 * this mm's alone is made writable; any other is split, and the fault copies one small page. A huge page of a file is
 * unmapped, and the fault goes on with the file's page.
 * @see Linux mm/huge_memory.c, `do_huge_pmd_wp_page`, `do_huge_zero_wp_pmd`, `huge_pmd_set_accessed`; mm/memory.c,
 * `wp_huge_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import {
  FAULT_FLAG_TRIED,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_FALLBACK,
} from '../fault/fault-flags.ts';
import { folioLock, folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import { checkStableAddressSpace } from '../fault/stable-address-space.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import type { TablePage } from '../page-table.ts';
import { moveAnonRmap } from '../rmap.ts';
import { flushAccessFlags } from '../tlb.ts';
import { handleUserfault } from '../userfaultfd/handle-userfault.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';
import { entryWritable, maybeWritable, vmaIsAccessible } from '../vma-protection.ts';
import { allocAnonFolioPmd, mapAnonFolioPmd } from './huge-fault.ts';
import { doHugePmdNumaPage } from './huge-numa.ts';
import { hugeStart, pmdIndex, pmdLock } from './huge-pmd.ts';
import { flushHugePmd, splitHugePmd } from './split-pmd.ts';

/** The pmd was a huge page when the fault read it: `originalHi` and `Lo`. FALLBACK: go on with ptes. */
export function* handleHugePmd(fault: VmFault): Task<number> {
  const { kernel, vma } = fault;
  const { format, lastLevel } = kernel.pageTables;
  const flags = format.flagsOf(fault.originalHi, fault.originalLo, lastLevel - 1);
  if ((flags & EntryFlag.Protnone) !== 0 && vmaIsAccessible(vma)) return yield* doHugePmdNumaPage(fault);
  // It is being split: when that is over there are ptes.
  const writes = fault.has(FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE);
  if (!writes || entryWritable(flags)) {
    yield* setAccessed(fault);
    return 0;
  }
  if (!vma.anonymous) {
    yield* splitHugePmd(fault.current, vma, fault.page);
    return VM_FAULT_FALLBACK;
  }
  const userfault = (flags & EntryFlag.UffdWp) !== 0 && (vma.flags & VM_UFFD_WP) !== 0;
  if (userfault && !fault.has(FAULT_FLAG_UNSHARE)) return yield* handleUserfault(fault, 'write-protect');
  return yield* doHugePmdWpPage(fault);
}

/** The pmd table, locked, if the pmd is still what the fault read. */
function* lockUnchanged(fault: VmFault): Task<TablePage | null> {
  const table = yield* pmdLock(fault.current, fault.mm, fault.page);
  if (table === null || unchanged(fault, table)) return table;
  yield* table.lock.unlock(fault.current);
  return null;
}

function unchanged({ kernel, page, originalHi, originalLo }: VmFault, table: TablePage): boolean {
  const { pageTables } = kernel;
  return pageTables.same(table, pmdIndex(pageTables, page), originalHi, originalLo);
}

/** @see `huge_pmd_set_accessed` */
function* setAccessed(fault: VmFault): Task<void> {
  const { current, kernel, mm, page } = fault;
  const table = yield* lockUnchanged(fault);
  if (table === null) return;
  const write = fault.has(FAULT_FLAG_WRITE);
  const changed = yield* setAccessFlags(
    fault,
    table,
    write ? EntryFlag.Young | EntryFlag.Dirty : EntryFlag.Young,
  );
  if (!changed && !fault.has(FAULT_FLAG_TRIED) && write && mm.context !== null) {
    yield* kernel.arch.flushSpuriousFault(current.cpu, mm.context, page);
  }
  yield* table.lock.unlock(current);
}

/** `pmdp_set_access_flags`. */
function* setAccessFlags(fault: VmFault, table: TablePage, set: number): Task<boolean> {
  const { current, kernel, mm, page } = fault;
  const { pageTables } = kernel;
  yield table.setEntry;
  const changed = pageTables.change(table, pmdIndex(pageTables, page), set, 0);
  const start = hugeStart(kernel, page);
  if (changed) yield* flushAccessFlags(current, mm, start, (set & EntryFlag.Dirty) !== 0);
  return changed;
}

/** @see `do_huge_pmd_wp_page` */
function* doHugePmdWpPage(fault: VmFault): Task<number> {
  const { current, kernel, vma, page } = fault;
  const { format, lastLevel } = kernel.pageTables;
  const head = format.frameOf(fault.originalHi, fault.originalLo, lastLevel - 1);
  if (kernel.frames.isHugeZero(head)) {
    const result = yield* doHugeZeroWpPmd(fault);
    if ((result & VM_FAULT_FALLBACK) === 0) return result;
  } else {
    const table = yield* lockUnchanged(fault);
    if (table === null) return 0;
    const verdict = yield* reuseHuge(fault, table, head);
    yield* table.lock.unlock(current);
    if (verdict !== Reuse.No) return 0;
  }
  yield* splitHugePmd(current, vma, page);
  return VM_FAULT_FALLBACK;
}

const Reuse = { No: 0, Done: 1, Changed: 2 } as const;
type Reuse = (typeof Reuse)[keyof typeof Reuse];

/** Makes the entry writable if the page is this mm's alone. The pmd's lock may be let go in between. */
function* reuseHuge(fault: VmFault, table: TablePage, head: number): Task<Reuse> {
  const { current } = fault;
  const { frames } = fault.kernel;
  if (!frames.hasFlag(head, FrameFlag.AnonExclusive)) {
    if (!(yield* folioTrylock(current, head)) && !(yield* lockFolioOutside(fault, table, head)))
      return Reuse.Changed;
    const alone = frames.hasFlag(head, FrameFlag.AnonExclusive) || (yield* becomesExclusive(fault, head));
    yield* folioUnlock(current, head);
    if (!alone) return Reuse.No;
  }
  if (fault.has(FAULT_FLAG_UNSHARE)) return Reuse.Done;
  yield* setAccessFlags(fault, table, EntryFlag.Young | EntryFlag.Dirty | maybeWritable(fault.vma));
  return Reuse.Done;
}

/** Waits for the folio lock without the pmd's; false, and the folio not locked, when the pmd has changed meanwhile. */
function* lockFolioOutside(fault: VmFault, table: TablePage, head: number): Task<boolean> {
  const { current, kernel } = fault;
  const { frames } = kernel;
  frames.get(head);
  yield* table.lock.unlock(current);
  yield* folioLock(current, head);
  yield* table.lock.lock(current);
  const same = unchanged(fault, table);
  if (!same) yield* folioUnlock(current, head);
  frames.put(head);
  return same;
}

/** Nobody but this entry has a reference: the page is ours from now on. Needs the folio lock. */
function* becomesExclusive({ kernel, vma }: VmFault, head: number): Task<boolean> {
  const { frames } = kernel;
  yield frames.refPoint(head);
  if (frames.refcount(head) !== 1) return false;
  moveAnonRmap(frames, head, vma);
  frames.setFlags(head, FrameFlag.AnonExclusive);
  return true;
}

/** A write to the huge zero page: a huge page of its own takes its place. @see `do_huge_zero_wp_pmd` */
function* doHugeZeroWpPmd(fault: VmFault): Task<number> {
  const { current, kernel, mm, vma, page } = fault;
  const { frames, pageTables } = kernel;
  const head = yield* allocAnonFolioPmd(fault);
  if (head === NO_FRAME) return VM_FAULT_FALLBACK;
  const table = yield* lockUnchanged(fault);
  const result = table === null ? 0 : checkStableAddressSpace(mm);
  const maps = table !== null && result === 0;
  if (maps) {
    yield table.setEntry;
    pageTables.getAndClear(table, pmdIndex(pageTables, page));
    yield* flushHugePmd(current, vma, hugeStart(kernel, page));
    yield* mapAnonFolioPmd(fault, table, head);
  }
  if (table !== null) yield* table.lock.unlock(current);
  if (!maps) frames.put(head);
  return result;
}
