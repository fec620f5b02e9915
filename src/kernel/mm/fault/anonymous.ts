/**
 * The first touch of private anonymous memory: the zero page for a read, a page of its own for a write.
 * Left out: large folios.
 * @see Linux mm/memory.c, `do_anonymous_page`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { MM_ANONPAGES } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { addMmCounter, addNewAnonRmap } from '../rmap.ts';
import { handleUserfault } from '../userfaultfd/handle-userfault.ts';
import { VM_SHARED, VM_UFFD_MISSING, VM_WRITE } from '../vma-flags.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { FAULT_FLAG_WRITE, VM_FAULT_OOM, VM_FAULT_SIGBUS } from './fault-flags.ts';
import { vmfAnonPrepare } from './fault-lock.ts';
import { clearUserPage } from './page-copy.ts';
import { checkStableAddressSpace } from './stable-address-space.ts';
import { type VmFault, withOriginalUffdWp } from './vm-fault.ts';

export function* doAnonymousPage(fault: VmFault): Task<number> {
  const { current, mm, vma } = fault;
  // A shared mapping always has a file behind it; one without has a broken driver.
  if ((vma.flags & VM_SHARED) !== 0) return VM_FAULT_SIGBUS;
  if ((yield* pteAlloc(current, mm, fault.page)) === null) return VM_FAULT_OOM;
  return fault.has(FAULT_FLAG_WRITE) ? yield* mapOwnPage(fault) : yield* mapZeroPage(fault);
}

/** Takes the lock and looks whether the pte is still to be filled; null, with the lock let go, when it is not. */
function* lockEmptyPte(fault: VmFault): Task<TablePage | null> {
  const table = yield* pteOffsetMapLock(fault.current, fault.mm, fault.page);
  if (table === null || fault.unchanged(table)) return table;
  yield* pteUnmapUnlock(fault.current, table);
  return null;
}

function* mapZeroPage(fault: VmFault): Task<number> {
  const { current, kernel, mm, vma, index } = fault;
  const table = yield* lockEmptyPte(fault);
  if (table === null) return 0;
  const result = checkStableAddressSpace(mm);
  if (result === 0 && (vma.flags & VM_UFFD_MISSING) !== 0) {
    yield* pteUnmapUnlock(current, table);
    return yield* handleUserfault(fault, 'missing');
  }
  if (result === 0) {
    yield table.setEntry;
    const flags = withOriginalUffdWp(fault, vmaPageProtection(vma) | EntryFlag.Special);
    kernel.pageTables.setLeaf(table, index, kernel.frames.zeroFrame, flags);
  }
  yield* pteUnmapUnlock(current, table);
  return result;
}

function* mapOwnPage(fault: VmFault): Task<number> {
  const { current, kernel, mm, vma, page, index } = fault;
  const { frames } = kernel;
  const refused = yield* vmfAnonPrepare(fault);
  if (refused !== 0) return refused;
  const frame = yield* allocUserFolio(current, vma, 0, true);
  if (frame === NO_FRAME) return VM_FAULT_OOM;
  yield* clearUserPage(kernel, frame);
  frames.setFlags(frame, FrameFlag.Uptodate);
  let flags = vmaPageProtection(vma) | EntryFlag.Young;
  if ((vma.flags & VM_WRITE) !== 0) flags |= EntryFlag.Dirty | maybeWritable(vma);
  const table = yield* lockEmptyPte(fault);
  if (table === null) {
    frames.put(frame);
    return 0;
  }
  const result = checkStableAddressSpace(mm);
  if (result === 0 && (vma.flags & VM_UFFD_MISSING) !== 0) {
    yield* pteUnmapUnlock(current, table);
    frames.put(frame);
    return yield* handleUserfault(fault, 'missing');
  }
  if (result === 0) {
    addMmCounter(mm, MM_ANONPAGES, 1);
    addNewAnonRmap(frames, frame, vma, page);
    yield table.setEntry;
    kernel.pageTables.setLeaf(table, index, frame, withOriginalUffdWp(fault, flags));
  } else {
    frames.put(frame);
  }
  yield* pteUnmapUnlock(current, table);
  return result;
}
