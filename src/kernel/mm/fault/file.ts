/**
 * Faults on memory with a file behind it, which shared anonymous memory is too: read, private write, shared write.
 * Left out: files on a disk (a page that is not cached is a hole and becomes a zeroed page, as in tmpfs), waiting for
 * I/O, `page_mkwrite`.
 * @see Linux mm/memory.c, `do_fault`, `do_read_fault`, `do_cow_fault`, `do_shared_fault`; mm/shmem.c,
 * `shmem_fault`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, ENOMEM } from '../../errno.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { shmemFallocWait } from '../shmem-falloc-wait.ts';
import { Sgp, shmemGetFolio } from '../shmem-get-folio.ts';
import { shmemUserfault } from '../userfaultfd/shmem-userfault.ts';
import { VM_MIXEDMAP, VM_PFNMAP, VM_SHARED, VM_UFFD_WP, VMH_UFFD_MINOR } from '../vma-flags.ts';
import { doDeviceFault } from './device.ts';
import { faultDirtySharedPage } from './dirty-shared-page.ts';
import { doFaultAround } from './fault-around.ts';
import {
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_HWPOISON,
  VM_FAULT_LOCKED,
  VM_FAULT_MAJOR,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from './fault-flags.ts';
import { vmfAnonPrepare, vmfCanCallFault } from './fault-lock.ts';
import { finishFault } from './finish-fault.ts';
import { folioUnlock } from './folio-lock.ts';
import { copyUserPage } from './page-copy.ts';
import type { VmFault } from './vm-fault.ts';

const ENDED = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY;

/** @see `do_fault` */
export function doFault(fault: VmFault): Task<number> {
  const { vma } = fault;
  if ((vma.flags & (VM_PFNMAP | VM_MIXEDMAP)) !== 0) return doDeviceFault(fault);
  if (!fault.has(FAULT_FLAG_WRITE)) return doReadFault(fault);
  return (vma.flags & VM_SHARED) === 0 ? doCowFault(fault) : doSharedFault(fault);
}

/** Where user space wants to see each fault. @see include/linux/userfaultfd_k.h, `uffd_disable_fault_around` */
function disablesFaultAround({ vma }: VmFault): boolean {
  return (vma.flags & VM_UFFD_WP) !== 0 || (vma.flagsHigh & VMH_UFFD_MINOR) !== 0;
}

function mappingOf(fault: VmFault): AddressSpace {
  if (fault.vma.file === null) throw new Error(`${fault.vma.name} has operations and no file`);
  return fault.vma.file.mapping;
}

/** `__do_fault`: finds the file's page, locked. */
function* callFault(fault: VmFault): Task<number> {
  const result = yield* fault.vma.ops?.fault?.(fault) ?? shmemFault(fault);
  if ((result & ENDED) !== 0) return result;
  if (fault.kernel.frames.hasFlag(fault.frame, FrameFlag.HwPoison)) {
    yield* unlockAndPut(fault);
    return VM_FAULT_HWPOISON;
  }
  return result;
}

/** `shmem_fault`: SIGBUS beyond the end of the object. */
function* shmemFault(fault: VmFault): Task<number> {
  const mapping = mappingOf(fault);
  const waited = yield* shmemFallocWait(fault, mapping);
  if (waited !== 0) return waited;
  const frame = yield* shmemGetFolio(fault.current, mapping, fault.pgoff, Sgp.Cache, fault);
  if (frame === -EAGAIN) return yield* shmemUserfault(fault);
  if (frame < 0) return frame === -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
  fault.frame = frame;
  return fault.major ? VM_FAULT_LOCKED | VM_FAULT_MAJOR : VM_FAULT_LOCKED;
}

function* unlockAndPut(fault: VmFault): Task<void> {
  const { frames } = fault.kernel;
  yield* folioUnlock(fault.current, fault.frame);
  frames.put(fault.frame);
}

function* doReadFault(fault: VmFault): Task<number> {
  const { frames } = fault.kernel;
  if (fault.vma.ops?.hasMapPages === true && !disablesFaultAround(fault)) {
    const around = yield* doFaultAround(fault, mappingOf(fault));
    if (around !== 0) return around;
  }
  const refused = yield* vmfCanCallFault(fault);
  if (refused !== 0) return refused;
  let result = yield* callFault(fault);
  if ((result & ENDED) !== 0) return result;
  result |= yield* finishFault(fault);
  yield* folioUnlock(fault.current, fault.frame);
  // Unless the pte took it over, our reference goes.
  if ((result & ENDED) !== 0) frames.put(fault.frame);
  return result & ~VM_FAULT_LOCKED;
}

/** A write to a private mapping: the file's page is copied before anything is mapped. */
function* doCowFault(fault: VmFault): Task<number> {
  const { current, kernel, vma } = fault;
  const { frames } = kernel;
  const refused = (yield* vmfCanCallFault(fault)) || (yield* vmfAnonPrepare(fault));
  if (refused !== 0) return refused;
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
  const refused = yield* vmfCanCallFault(fault);
  if (refused !== 0) return refused;
  let result = yield* callFault(fault);
  if ((result & ENDED) !== 0) return result;
  result |= yield* finishFault(fault);
  if ((result & ENDED) !== 0) {
    yield* unlockAndPut(fault);
    return result & ~VM_FAULT_LOCKED;
  }
  result |= yield* faultDirtySharedPage(fault, fault.frame);
  return result & ~VM_FAULT_LOCKED;
}
