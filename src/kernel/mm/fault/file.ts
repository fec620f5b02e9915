/**
 * Faults on memory with a file behind it, which shared anonymous memory is too: read, private write, shared write.
 * Left out: files on a disk (a page that is not cached is a hole and becomes a zeroed page, as in tmpfs), waiting for
 * I/O, huge pages, `page_mkwrite`, userfaultfd.
 * @see Linux mm/memory.c, `do_fault`, `do_read_fault`, `do_cow_fault`, `do_shared_fault`, `finish_fault`; mm/shmem.c,
 * `shmem_fault`
 */
import type { Task } from '../../../base/task.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { Kernel } from '../../kernel.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { Unsupported } from '../../unsupported.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { anonVmaPrepare } from '../anon-vma-prepare.ts';
import { endsRun, foldRun } from '../contiguous-ptes.ts';
import { MM_ANONPAGES } from '../mm.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { folioAddLru } from '../reclaim/lru.ts';
import { addMmCounter, mmCounter } from '../rmap.ts';
import { VM_SHARED, VM_UFFD_MISSING, VM_UFFD_WP, VMH_UFFD_MINOR } from '../vma-flags.ts';
import { doFaultAround } from './fault-around.ts';
import {
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_LOCKED,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from './fault-flags.ts';
import { folioLock, folioUnlock } from './folio-lock.ts';
import { copyUserPage } from './page-copy.ts';
import { setPte } from './set-pte.ts';
import { checkStableAddressSpace } from './stable-address-space.ts';
import type { VmFault } from './vm-fault.ts';

const ENDED = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY;

/** @see `do_fault` */
export function doFault(fault: VmFault): Task<number> {
  const { vma } = fault;
  if ((vma.flags & (VM_UFFD_MISSING | VM_UFFD_WP)) !== 0 || (vma.flagsHigh & VMH_UFFD_MINOR) !== 0) {
    throw new Unsupported('userfaultfd faults in file memory');
  }
  if (!fault.has(FAULT_FLAG_WRITE)) return doReadFault(fault);
  return (vma.flags & VM_SHARED) === 0 ? doCowFault(fault) : doSharedFault(fault);
}

function mappingOf(fault: VmFault): AddressSpace {
  if (fault.vma.file === null) throw new Error(`${fault.vma.name} has operations and no file`);
  return fault.vma.file.mapping;
}

/**
 * The page of an object at `index`, with a reference and locked; made, zeroed, when there is none. -1: no memory.
 * @see mm/shmem.c, `shmem_get_folio_gfp` with SGP_CACHE
 */
export function* getFolio(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { kernel } = current;
  const { frames } = kernel;
  for (;;) {
    const frame = mapping.frameAt(index);
    if (frame === -1) {
      const fresh = yield* addFolio(current, mapping, index);
      if (fresh === -1) return -1;
      if (fresh === -2) continue;
      return fresh;
    }
    frames.get(frame);
    yield* folioLock(frames, frame);
    if (mapping.frameAt(index) === frame) {
      makeUptodate(kernel, frame);
      return frame;
    }
    // Truncated while we waited for the lock.
    yield* folioUnlock(frames, frame);
    frames.put(frame);
  }
}

/** A page that fallocate reserved holds nothing yet. */
function makeUptodate(kernel: Kernel, frame: number): void {
  const { frames, machine } = kernel;
  if (frames.hasFlag(frame, FrameFlag.Uptodate)) return;
  machine.memory.zeroFrame(frame);
  frames.setFlags(frame, FrameFlag.Uptodate);
}

/** A new page in the cache, locked, with a reference for the caller. -1: no memory; -2: somebody was faster. */
function* addFolio(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { frames } = current.kernel;
  const frame = yield* allocUserFolio(current, null, 0, true);
  if (frame === NO_FRAME) return -1;
  yield mapping.change;
  if (mapping.frameAt(index) !== -1) {
    frames.put(frame);
    return -2;
  }
  frames.setFlags(frame, FrameFlag.Locked | FrameFlag.Uptodate);
  if (mapping.shmem) frames.setFlags(frame, FrameFlag.SwapBacked);
  folioAddLru(frames, frame);
  mapping.add(frames, index, frame);
  frames.get(frame);
  return frame;
}

/** `__do_fault`: finds the file's page, locked. SIGBUS beyond the end of the object. */
function* callFault(fault: VmFault): Task<number> {
  const mapping = mappingOf(fault);
  if (fault.pgoff >= mapping.sizePages) return VM_FAULT_SIGBUS;
  const frame = yield* getFolio(fault.current, mapping, fault.pgoff);
  if (frame === -1) return VM_FAULT_OOM;
  fault.frame = frame;
  return VM_FAULT_LOCKED;
}

function* unlockAndPut(fault: VmFault): Task<void> {
  const { frames } = fault.kernel;
  yield* folioUnlock(frames, fault.frame);
  frames.put(fault.frame);
}

function* doReadFault(fault: VmFault): Task<number> {
  const { frames } = fault.kernel;
  if (fault.vma.ops?.hasMapPages === true) {
    const around = yield* doFaultAround(fault, mappingOf(fault));
    if (around !== 0) return around;
  }
  let result = yield* callFault(fault);
  if ((result & ENDED) !== 0) return result;
  result |= yield* finishFault(fault);
  yield* folioUnlock(frames, fault.frame);
  // Unless the pte took it over, our reference goes.
  if ((result & ENDED) !== 0) frames.put(fault.frame);
  return result & ~VM_FAULT_LOCKED;
}

/** A write to a private mapping: the file's page is copied before anything is mapped. */
function* doCowFault(fault: VmFault): Task<number> {
  const { current, kernel, vma } = fault;
  const { frames } = kernel;
  yield* anonVmaPrepare(current, vma);
  fault.cowFrame = yield* allocUserFolio(current, vma, 0, false);
  if (fault.cowFrame === NO_FRAME) return VM_FAULT_OOM;
  let result = yield* callFault(fault);
  if ((result & ENDED) === 0) {
    yield* copyUserPage(kernel, fault.frame, fault.cowFrame);
    frames.setFlags(fault.cowFrame, FrameFlag.Uptodate);
    result |= yield* finishFault(fault);
    yield* unlockAndPut(fault);
  }
  if ((result & ENDED) !== 0) frames.put(fault.cowFrame);
  return result & ~VM_FAULT_LOCKED;
}

function* doSharedFault(fault: VmFault): Task<number> {
  const { frames } = fault.kernel;
  let result = yield* callFault(fault);
  if ((result & ENDED) !== 0) return result;
  result |= yield* finishFault(fault);
  if ((result & ENDED) !== 0) {
    yield* unlockAndPut(fault);
    return result & ~VM_FAULT_LOCKED;
  }
  // `fault_dirty_shared_page`: the data is newer than the file from now on.
  frames.setFlags(fault.frame, FrameFlag.Dirty);
  yield* folioUnlock(frames, fault.frame);
  return result & ~VM_FAULT_LOCKED;
}

/** Installs the pte, unless somebody else has. @see `finish_fault` */
function* finishFault(fault: VmFault): Task<number> {
  const { current, kernel, mm, vma } = fault;
  const { frames } = kernel;
  const cow = fault.has(FAULT_FLAG_WRITE) && (vma.flags & VM_SHARED) === 0;
  const frame = cow ? fault.cowFrame : fault.frame;
  if ((vma.flags & VM_SHARED) === 0) {
    const unstable = checkStableAddressSpace(mm);
    if (unstable !== 0) return unstable;
  }
  if ((yield* pteAlloc(current, mm, fault.page)) === null) return VM_FAULT_OOM;
  const table = yield* pteOffsetMapLock(current, mm, fault.page);
  if (table === null) return VM_FAULT_NOPAGE;
  const changed = !fault.unchanged(table);
  if (!changed) {
    yield table.setEntry;
    setPte(fault, table, fault.index, frame, false);
    if (endsRun(kernel, fault.page, frame)) yield* foldRun(current, mm, table, fault.page, frame);
    addMmCounter(mm, cow ? MM_ANONPAGES : mmCounter(frames, frame), 1);
  }
  yield* pteUnmapUnlock(current, table);
  return changed ? VM_FAULT_NOPAGE : 0;
}
