/**
 * What happens when an access to user memory faults, made by the program itself or by the kernel on its behalf: find the
 * VMA, ask whether it allows the access, handle the fault and try again; or a signal; or, in the kernel, a short copy.
 * Faults of user mode first try the VMA's own lock; the kernel's own go to mmap_lock at once.
 * Left out: the OOM killer (a task that gets no memory is killed itself), vsyscall, kernel-mode faults outside copies
 * (they would be our bug, and throw).
 * @see Linux arch/x86/mm/fault.c, `do_user_addr_fault`, `bad_area_nosemaphore`, `do_sigbus`; include/linux/sched/signal.h,
 * `fault_signal_pending`; lib/usercopy.c
 */
import { Access } from '../../arch/access.ts';
import { AccessVerdict, EntryKind, PageFaultInfo } from '../../arch/kernel-arch.ts';
import type { Mmu } from '../../arch/mmu.ts';
import type { Task } from '../../base/task.ts';
import { fromHalves, highHalf, lowHalf } from '../../base/u64.ts';
import { mmapReadUnlock } from '../lock/mmap-lock.ts';
import { enterFromUserMode, exitToUserMode } from '../process/user-mode.ts';
import {
  BUS_ADRERR,
  BUS_MCEERR_AR,
  SEGV_ACCERR,
  SEGV_MAPERR,
  SEGV_PKUERR,
  SI_KERNEL,
  SIGBUS,
  SIGKILL,
  SIGSEGV,
  type SignalInfo,
} from '../signal.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FAULT_FLAG_DEFAULT,
  FAULT_FLAG_INSTRUCTION,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_USER,
  FAULT_FLAG_VMA_LOCK,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
  VM_FAULT_ERROR,
  VM_FAULT_HWPOISON,
  VM_FAULT_HWPOISON_LARGE,
  VM_FAULT_MAJOR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  vmFaultGetHindex,
} from './fault/fault-flags.ts';
import { handleMmFault } from './fault/handle-mm-fault.ts';
import { lockVmaUnderRcu, noteVmaLockRetry } from './lock-vma-under-rcu.ts';
import type { MmStruct } from './mm.ts';
import { lockMmAndFindVma } from './stack.ts';
import { noteAccess } from './translation-footprint.ts';
import type { VmArea } from './vma.ts';
import { pkeyOf } from './vma-flags.ts';
import { vmaEndRead } from './vma-lock.ts';

const PAGE_BYTES = 4096;

/**
 * For a fault that the MMU of `current`'s CPU has just reported. Null: make the access again. Else the signal that it
 * ends with, or that came first: a tag check that had failed before. Nothing may run between the fault and the first
 * step of this.
 */
export function* handleUserFault(current: TaskStruct): Task<SignalInfo | null> {
  const info = new PageFaultInfo();
  current.kernel.arch.faultInfo(current.cpu, info);
  if (info.user) enterFromUserMode(current);
  const { mm } = current;
  let signal = signalAtOnce(current, info);
  // No generator in between: every step of a fault would pass through it.
  if (signal === null && mm !== null) signal = yield* doUserAddrFault(current, mm, info);
  if (!info.user) return signal;
  return exitToUserMode(current, signal);
}

/** The signal of an exception for which no VMA is looked up, else null. */
function signalAtOnce(current: TaskStruct, info: PageFaultInfo): SignalInfo | null {
  if (info.kind === EntryKind.Signal) {
    const address = info.code === SI_KERNEL ? 0n : fromHalves(info.addressHi, info.addressLo);
    return { signal: info.signal, code: info.code, address };
  }
  if (info.corrupt)
    throw new Error(`page table of ${current.name} has a reserved bit set at ${addressText(info)}`);
  if (info.beyondUser || current.mm === null) return segmentationFault(info, SEGV_MAPERR);
  return null;
}

function addressText(info: PageFaultInfo): string {
  return `0x${fromHalves(info.addressHi, info.addressLo).toString(16)}`;
}

function segmentationFault(info: PageFaultInfo, code: number): SignalInfo {
  return { signal: SIGSEGV, code, address: fromHalves(info.addressHi, info.addressLo) };
}

const offsetOf = (info: PageFaultInfo): number => info.addressLo & (PAGE_BYTES - 1);

function faultFlagsOf(info: PageFaultInfo): number {
  let flags = FAULT_FLAG_DEFAULT;
  // A shadow-stack page must be writable even to be read.
  if (info.write || info.shadowStack) flags |= FAULT_FLAG_WRITE;
  if (info.instruction) flags |= FAULT_FLAG_INSTRUCTION;
  if (info.user) flags |= FAULT_FLAG_USER;
  return flags;
}

/** @see `do_user_addr_fault` */
function* doUserAddrFault(current: TaskStruct, mm: MmStruct, info: PageFaultInfo): Task<SignalInfo | null> {
  let flags = faultFlagsOf(info);
  if (info.user && current.kernel.config.perVmaLocks) {
    const attempt = yield* tryUnderVmaLock(current, mm, info, flags);
    if (attempt.done) return attempt.signal;
    ({ flags } = attempt);
  }
  for (;;) {
    const attempt = yield* tryUnderMmapLock(current, mm, info, flags);
    if (attempt.done) return attempt.signal;
    ({ flags } = attempt);
  }
}

/** Handled, or to be handled under mmap_lock (again) with these flags. */
type Attempt =
  | { readonly done: true; readonly signal: SignalInfo | null }
  | { readonly done: false; readonly flags: number };

const HANDLED: Attempt = { done: true, signal: null };

function* tryUnderMmapLock(
  current: TaskStruct,
  mm: MmStruct,
  info: PageFaultInfo,
  flags: number,
): Task<Attempt> {
  const vma = yield* lockMmAndFindVma(current, mm, info.page);
  if (vma === null) return { done: true, signal: segmentationFault(info, SEGV_MAPERR) };
  const denied = refusal(current, info, vma);
  if (denied !== null) {
    yield* mmapReadUnlock(current, mm);
    return { done: true, signal: denied };
  }
  const result = yield* handleMmFault(current, vma, info.page, flags, offsetOf(info));
  // With COMPLETED or RETRY the handler has let mmap_lock go.
  if ((result & VM_FAULT_COMPLETED) !== 0) return HANDLED;
  if ((result & VM_FAULT_RETRY) !== 0) {
    const signal = faultSignalPending(current, info);
    return signal === null ? { done: false, flags: flags | FAULT_FLAG_TRIED } : { done: true, signal };
  }
  yield* mmapReadUnlock(current, mm);
  return (result & VM_FAULT_ERROR) === 0 ? HANDLED : { done: true, signal: signalOf(current, info, result) };
}

function* tryUnderVmaLock(
  current: TaskStruct,
  mm: MmStruct,
  info: PageFaultInfo,
  flags: number,
): Task<Attempt> {
  const counters = mm.vmaLockCounters;
  const vma = yield* lockVmaUnderRcu(current, mm, info.page);
  if (vma === null) return { done: false, flags };
  const denied = refusal(current, info, vma);
  if (denied !== null) {
    yield* vmaEndRead(current, vma);
    counters.success++;
    return { done: true, signal: denied };
  }
  const result = yield* handleMmFault(current, vma, info.page, flags | FAULT_FLAG_VMA_LOCK, offsetOf(info));
  // With COMPLETED or RETRY the handler has let the lock go, and the VMA may be another's.
  if ((result & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)) === 0) yield* vmaEndRead(current, vma);
  if ((result & VM_FAULT_RETRY) === 0) {
    counters.success++;
    return (result & VM_FAULT_ERROR) === 0
      ? HANDLED
      : { done: true, signal: signalOf(current, info, result) };
  }
  noteVmaLockRetry(current, mm, info.page);
  const signal = faultSignalPending(current, info);
  if (signal !== null) return { done: true, signal };
  // Waiting once is what TRIED means: a fault that has read its page from a disk waits under mmap_lock the next time.
  return { done: false, flags: (result & VM_FAULT_MAJOR) === 0 ? flags : flags | FAULT_FLAG_TRIED };
}

/** Does the VMA forbid the access? @see `access_error`, `bad_area_access_error` */
function refusal(current: TaskStruct, info: PageFaultInfo, vma: VmArea): SignalInfo | null {
  const { watcher } = current.kernel;
  if (watcher !== null) watcher.faults(current, vma, info.page);
  const verdict = current.kernel.arch.accessError(info, vma.flags, vma.flagsHigh);
  if (verdict === AccessVerdict.Allowed) return null;
  if (verdict === AccessVerdict.Denied) return segmentationFault(info, SEGV_ACCERR);
  return { ...segmentationFault(info, SEGV_PKUERR), pkey: pkeyOf(vma.flagsHigh) };
}

/**
 * The signal before which a fault that let its lock go is not begun anew, or null. A fatal one stays pending, and this only
 * stops the access; any other is delivered now, to a program that may make the access again, but not inside the kernel's
 * own copies.
 */
function faultSignalPending(current: TaskStruct, info: PageFaultInfo): SignalInfo | null {
  if (current.fatalSignalPending()) {
    return { signal: SIGKILL, code: SI_KERNEL, address: fromHalves(info.addressHi, info.addressLo) };
  }
  return info.user ? current.dequeueSignal() : null;
}

/** @see `do_sigbus`, `bad_area_nosemaphore`: an error of the handler as a signal */
function signalOf(current: TaskStruct, info: PageFaultInfo, result: number): SignalInfo {
  const address = fromHalves(info.addressHi, info.addressLo);
  if ((result & VM_FAULT_OOM) !== 0) {
    const signal = { signal: SIGKILL, code: SI_KERNEL, address };
    current.sendSignal(signal);
    return signal;
  }
  const broken = (result & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE)) !== 0;
  if (broken && current.kernel.config.memoryFailure) {
    return { signal: SIGBUS, code: BUS_MCEERR_AR, address, addressLsb: brokenShift(current, result) };
  }
  // A kernel that knows nothing of broken memory has one kind of SIGBUS.
  if (broken || (result & VM_FAULT_SIGBUS) !== 0) return { signal: SIGBUS, code: BUS_ADRERR, address };
  return segmentationFault(info, SEGV_MAPERR);
}

/** log2 of the bytes that are lost: a page of ptes, or a huge one of a pool. */
function brokenShift({ kernel }: TaskStruct, result: number): number {
  if ((result & VM_FAULT_HWPOISON) !== 0) return kernel.pageTables.format.pageShift;
  const hstate = kernel.hugetlb.hstates[vmFaultGetHindex(result)];
  if (hstate === undefined) throw new Error(`fault result 0x${result.toString(16)}: no such size of pages`);
  return hstate.shift;
}

// --- the kernel's own copies ---

/** `access_ok`: does the range lie in user space? Bytes; tag bits count as the architecture says. */
export function accessOk(current: TaskStruct, address: bigint, length: bigint): boolean {
  const { arch } = current.kernel;
  const limit = BigInt(arch.taskSizePages) * BigInt(PAGE_BYTES);
  return length <= limit && arch.accessOkAddress(current.cpu, address) <= limit - length;
}

/**
 * Copies `source` to user memory of `current`, with its rights. Returns the bytes NOT copied: 0, or everything from
 * the first byte on that cannot be written. Faults are handled as those of the program, except that none sends a
 * signal.
 * @see Linux arch/x86/lib/copy_user_64.S; arch/arm64/lib/copy_to_user.S; include/linux/uaccess.h, `copy_to_user`
 */
export function* copyToUser(current: TaskStruct, address: bigint, source: Uint8Array): Task<number> {
  return yield* copyUser(current, address, source, Access.Write);
}

/** Copies from user memory into `target`. Returns the bytes NOT copied; that part of `target` stays as it is. */
export function* copyFromUser(current: TaskStruct, target: Uint8Array, address: bigint): Task<number> {
  return yield* copyUser(current, address, target, Access.Read);
}

/**
 * Copies from user memory with page faults off (`pagefault_disable`): what is mapped and readable, up to the first byte
 * that is not. One step. Returns the bytes NOT copied.
 * @see Linux lib/iov_iter.c, `copy_folio_from_iter_atomic`
 */
export function copyFromUserInatomic(current: TaskStruct, target: Uint8Array, address: bigint): number {
  if (!accessOk(current, address, BigInt(target.length))) return target.length;
  let done = 0;
  while (done < target.length) {
    const at = address + BigInt(done);
    const inPage = lowHalf(at) & (PAGE_BYTES - 1);
    const part = target.subarray(done, done + PAGE_BYTES - inPage);
    if (!copyPart(current, at, part, Access.Read)) {
      const before = (mmuOf(current).fault.addressLo & (PAGE_BYTES - 1)) - inPage;
      if (before > 0 && copyPart(current, at, part.subarray(0, before), Access.Read)) done += before;
      break;
    }
    done += part.length;
  }
  return target.length - done;
}

/**
 * Reads one byte of each page of a user buffer, so that its pages are there. Returns how many of its bytes lie behind a
 * page that cannot be read: all of them when the first one cannot, or the range is not user space.
 * @see Linux mm/gup.c, `fault_in_readable`
 */
export function* faultInReadable(current: TaskStruct, address: bigint, length: number): Task<number> {
  const byte = new Uint8Array(1);
  if (length > 0 && !accessOk(current, address, BigInt(length))) return length;
  // A cursor that is 0 has come round the end of all addresses, Linux says; so a range that begins there is not tried either.
  if (address === 0n) return length;
  for (let done = 0; done < length; ) {
    const at = address + BigInt(done);
    if ((yield* copyFromUser(current, byte, at)) !== 0) return length - done;
    done += PAGE_BYTES - (lowHalf(at) & (PAGE_BYTES - 1));
  }
  return 0;
}

function* copyUser(
  current: TaskStruct,
  address: bigint,
  bytes: Uint8Array,
  access: typeof Access.Read | typeof Access.Write,
): Task<number> {
  if (!accessOk(current, address, BigInt(bytes.length))) return bytes.length;
  let done = 0;
  while (done < bytes.length) {
    const at = address + BigInt(done);
    const inPage = lowHalf(at) & (PAGE_BYTES - 1);
    const part = bytes.subarray(done, done + PAGE_BYTES - inPage);
    if (copyPart(current, at, part, access)) {
      done += part.length;
      continue;
    }
    const { fault } = mmuOf(current);
    // Of a page, the fault names the first byte that stops the copy: a granule with another tag, or the page's first.
    const before = (fault.addressLo & (PAGE_BYTES - 1)) - inPage;
    // The exception table sends a fault that cannot be handled to the end of the copy.
    if ((yield* handleUserFault(current)) === null) continue;
    if (before > 0 && copyPart(current, at, part.subarray(0, before), access)) done += before;
    break;
  }
  return bytes.length - done;
}

function mmuOf(current: TaskStruct): Mmu {
  return current.kernel.arch.mmus[current.cpu] as Mmu;
}

/** Within one page: true when all of it is copied, false with a fault in the MMU. */
function copyPart(current: TaskStruct, at: bigint, part: Uint8Array, access: number): boolean {
  const { arch } = current.kernel;
  const mmu = mmuOf(current);
  noteAccess(current, at, access === Access.Write);
  arch.beginUserAccess(current.cpu);
  const fault =
    access === Access.Write
      ? mmu.writeBytes(highHalf(at), lowHalf(at), access | arch.userCopyAccess, part)
      : mmu.readBytes(highHalf(at), lowHalf(at), access | arch.userCopyAccess, part);
  arch.endUserAccess(current.cpu);
  return fault === 0;
}
