/**
 * mprotect: changes the access rights of a range VMA by VMA, so that an error leaves the VMAs before it changed.
 * Left out: memory-deny-write-execute, READ_IMPLIES_EXEC, security hooks.
 * @see Linux mm/mprotect.c, `do_mprotect_pkey`, `mprotect_fixup`
 */
import type { VmFlagBits } from '../../arch/kernel-arch.ts';
import type { Task } from '../../base/task.ts';
import { EACCES, EINTR, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { MM_CP_TRY_CHANGE_WRITABLE } from './change-flags.ts';
import { changeProtection } from './change-protection.ts';
import { mayExpandVm } from './limits.ts';
import type { MmStruct } from './mm.ts';
import { vmStatAccount } from './mm.ts';
import { PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP } from './mman.ts';
import { vmFlagsOfProt } from './mmap.ts';
import { type MmuGather, tlbFinishMmu, tlbGatherMmu } from './mmu-gather.ts';
import { pagesOfLength } from './munmap.ts';
import { securityVmEnoughMemory, vmUnacctMemory } from './overcommit.ts';
import { populateOperations } from './populate.ts';
import type { VmArea } from './vma.ts';
import {
  VM_ACCESS_FLAGS,
  VM_ACCOUNT,
  VM_GROWSDOWN,
  VM_HUGETLB,
  VM_LOCKED,
  VM_NORESERVE,
  VM_SHARED,
  VM_WRITE,
  VMH_SEALED,
} from './vma-flags.ts';
import { vmaAssertWriteLocked, vmaStartWrite } from './vma-lock.ts';
import { vmaModify } from './vma-split.ts';

const U64 = 1n << 64n;

/** One step of the loop over VMAs: what to change, and what it ended with. */
interface FixupResult {
  readonly error: number;
  /** The VMA that covers the changed part: the loop's `prev` from now on. */
  readonly vma: VmArea;
}

/** Charges a private mapping that becomes writable. The new flags, or -ENOMEM. */
function accountedFlags(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  newFlags: number,
  pages: number,
): { readonly error: number; readonly flags: number } {
  const uncharged = VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE;
  if ((newFlags & VM_WRITE) === 0) {
    // Only memory that was never written to gives its charge back.
    const returns = (vma.flags & VM_ACCOUNT) !== 0 && vma.anonymous && vma.anonVma === null;
    return { error: 0, flags: returns ? newFlags & ~VM_ACCOUNT : newFlags };
  }
  if (!mayExpandVm(current, mm, newFlags, pages) && mayExpandVm(current, mm, vma.flags, pages)) {
    return { error: -ENOMEM, flags: newFlags };
  }
  if ((vma.flags & uncharged) !== 0) return { error: 0, flags: newFlags };
  const error = securityVmEnoughMemory(mm, pages);
  return { error, flags: newFlags | VM_ACCOUNT };
}

/** Ptes of a private writable mapping are made writable one by one, as copying on write allows. */
function changeFlagsOf(flags: number): number {
  return (flags & (VM_SHARED | VM_WRITE)) === VM_WRITE ? MM_CP_TRY_CHANGE_WRITABLE : 0;
}

/**
 * Gives [start, end) of `vma` the flags `wanted`.
 * @see mm/mprotect.c, `mprotect_fixup`
 */
function* mprotectFixup(
  current: TaskStruct,
  mm: MmStruct,
  gather: MmuGather,
  prev: VmArea | null,
  vma: VmArea,
  start: number,
  end: number,
  wanted: VmFlagBits,
): Task<FixupResult> {
  if ((vma.flagsHigh & VMH_SEALED) !== 0) return { error: -EPERM, vma };
  const oldFlags = vma.flags;
  const { flagsHigh } = wanted;
  if (wanted.flags === oldFlags && flagsHigh === vma.flagsHigh) return { error: 0, vma };
  const pages = end - start;
  const accounted = accountedFlags(current, mm, vma, wanted.flags, pages);
  if (accounted.error !== 0) return { error: accounted.error, vma };
  let { flags } = accounted;
  const modified = yield* vmaModify(current, mm, prev, vma, start, end, { flags, flagsHigh });
  if (modified.error !== 0) {
    if ((flags & VM_ACCOUNT) !== 0 && (oldFlags & VM_ACCOUNT) === 0) vmUnacctMemory(mm.kernel, pages);
    return { error: modified.error, vma };
  }
  const changed = modified.vma;
  if (modified.merged) ({ flags } = changed);
  yield* vmaStartWrite(current, mm, changed);
  vmaAssertWriteLocked(mm, changed);
  changed.flags = flags;
  changed.flagsHigh = flagsHigh;
  yield* changeProtection(current, mm, changed, start, end, gather, changeFlagsOf(flags));
  if ((oldFlags & VM_ACCOUNT) !== 0 && (flags & VM_ACCOUNT) === 0) vmUnacctMemory(mm.kernel, pages);
  if ((oldFlags & (VM_WRITE | VM_SHARED | VM_LOCKED)) === VM_LOCKED && (flags & VM_WRITE) !== 0) {
    yield* populateOperations(mm.kernel).populateVmaPageRange(current, changed, start, end);
  }
  vmStatAccount(mm, oldFlags, -pages);
  vmStatAccount(mm, flags, pages);
  return { error: 0, vma: changed };
}

/** Where the change begins, after PROT_GROWSDOWN and PROT_GROWSUP; a negative errno otherwise. */
function firstPage(first: VmArea, grows: number, start: number, end: number): number {
  if (grows === PROT_GROWSDOWN) {
    if (first.start >= end) return -ENOMEM;
    return (first.flags & VM_GROWSDOWN) !== 0 ? first.start : -EINVAL;
  }
  if (first.start > start) return -ENOMEM;
  // No architecture modelled has stacks that grow up.
  return grows === PROT_GROWSUP ? -EINVAL : start;
}

/** What a call asks for. */
interface ProtectionRequest {
  /** PROT_* bits, without those that only say where to begin. */
  readonly prot: number;
  /** What they stand for in a VMA's flags. */
  readonly access: VmFlagBits;
  /** The protection key; -1: none is named. */
  readonly key: number;
}

/**
 * What a VMA's flags become: rights and key as asked for, everything else as it is. Null: -EACCES, a right it may not
 * get.
 */
function newFlagsOf(
  current: TaskStruct,
  vma: VmArea,
  { prot, access, key }: ProtectionRequest,
): VmFlagBits | null {
  const { protectionKeys, vmFlagsClear } = vma.mm.kernel.arch;
  const flags = access.flags | (vma.flags & ~(VM_ACCESS_FLAGS | vmFlagsClear.flags));
  const { context } = vma.mm;
  if (context === null) throw new Error(`${vma.mm.name} has no page tables`);
  const own = protectionKeys.keyForMprotect(current.cpu, context, vma, prot === PROT_EXEC, key);
  // VM_MAYx lie four bits above VM_x.
  if ((flags & ~(flags >> 4) & VM_ACCESS_FLAGS) !== 0) return null;
  const flagsHigh = access.flagsHigh | protectionKeys.vmFlagsOf(own).flagsHigh;
  return { flags, flagsHigh: flagsHigh | (vma.flagsHigh & ~vmFlagsClear.flagsHigh) };
}

/** Changes one VMA after the other until an error or the end. */
function* protectRange(
  current: TaskStruct,
  mm: MmStruct,
  first: VmArea,
  start: number,
  end: number,
  request: ProtectionRequest,
): Task<number> {
  let prev = start > first.start ? first : mm.vmas.findPrevious(first.start);
  const gather = yield* tlbGatherMmu(current, mm);
  let error = 0;
  let at = start;
  while (at < end) {
    const vma = mm.vmas.lookup(at);
    if (vma === null) {
      error = -ENOMEM;
      break;
    }
    const newFlags = newFlagsOf(current, vma, request);
    if (newFlags === null) {
      error = -EACCES;
      break;
    }
    if (!mm.kernel.arch.validateFlags(newFlags.flags, newFlags.flagsHigh)) {
      error = -EINVAL;
      break;
    }
    const partEnd = Math.min(vma.end, end);
    const fixed = yield* mprotectFixup(current, mm, gather, prev, vma, at, partEnd, newFlags);
    ({ error } = fixed);
    if (error !== 0) break;
    prev = fixed.vma;
    at = fixed.vma.end;
  }
  yield* tlbFinishMmu(current, gather);
  return error;
}

const isKeyAllocated = ({ kernel, context }: MmStruct, key: number): boolean =>
  context !== null && kernel.arch.protectionKeys.isAllocated(context, key);

function* mprotectLocked(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  end: number,
  grows: number,
  request: ProtectionRequest,
): Task<number> {
  // Nobody may use a key that was not given out to the address space.
  if (request.key !== -1 && !isKeyAllocated(mm, request.key)) return -EINVAL;
  const first = mm.vmas.findIntersection(start, end);
  if (first === null) return -ENOMEM;
  const from = firstPage(first, grows, start, end);
  if (from < 0) return from;
  return yield* protectRange(current, mm, first, from, end, request);
}

/**
 * The system call. `address` and `length` are bytes, unsigned 64 bits. Returns 0 or a negative errno: -EINVAL, -ENOMEM
 * (a hole: everything before it is changed; or a limit), -EACCES, -EPERM (sealed), -EINTR (killed while waiting).
 */
export function sysMprotect(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  prot: number,
): Task<number> {
  return doMprotectPkey(current, address, length, prot, -1);
}

/**
 * pkey_mprotect: the same, and the range gets the protection key `key`; -1 leaves the keys to the kernel. -EINVAL for a
 * key that pkey_alloc has not given to the address space.
 */
export function sysPkeyMprotect(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  prot: number,
  key: number,
): Task<number> {
  return doMprotectPkey(current, address, length, prot, key);
}

/** @see mm/mprotect.c, `do_mprotect_pkey` */
function* doMprotectPkey(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  prot: number,
  key: number,
): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mprotect without an address space`);
  const start = mm.kernel.arch.untaggedAddress(current.cpu, address);
  const grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
  if (grows === (PROT_GROWSDOWN | PROT_GROWSUP)) return -EINVAL;
  if ((start & 0xfffn) !== 0n) return -EINVAL;
  if (length === 0n) return 0;
  const end = (start + ((length + 0xfffn) & ~0xfffn)) % U64;
  if (end <= start) return -ENOMEM;
  const access = prot & ~grows;
  if (prot >= 2 ** 32 || !mm.kernel.arch.validateProt(access)) return -EINVAL;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  const firstPageNumber = Number(start >> 12n);
  const error = yield* mprotectLocked(
    current,
    mm,
    firstPageNumber,
    firstPageNumber + pagesOfLength(end - start),
    grows,
    { prot: access, access: vmFlagsOfProt(mm.kernel.arch, access), key },
  );
  yield* mmapWriteUnlock(current, mm);
  return error;
}
