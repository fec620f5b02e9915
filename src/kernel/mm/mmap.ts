/**
 * mmap: argument checks in Linux's order, placement, then the new mapping; populating afterwards, without the lock.
 * Built for anonymous memory, private and shared. Left out: files, hugetlb, protection keys of execute-only mappings,
 * the READ_IMPLIES_EXEC personality.
 * @see Linux mm/mmap.c, `ksys_mmap_pgoff`, `do_mmap`; mm/util.c, `vm_mmap_pgoff`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EBADF, EEXIST, EINTR, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { Unsupported } from '../unsupported.ts';
import { getUnmappedArea } from './get-unmapped-area.ts';
import { canDoMlock, mlockFutureOk } from './limits.ts';
import type { MappedFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import {
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_STACK,
  MAP_SYNC,
  MAP_TYPE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from './mman.ts';
import { mmapRegion } from './mmap-region.ts';
import { pagesOfLength } from './munmap.ts';
import { OVERCOMMIT_NEVER } from './overcommit.ts';
import { populateOperations } from './populate.ts';
import {
  VM_DONTDUMP,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_LOCKED,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_NOHUGEPAGE,
  VM_NORESERVE,
  VM_READ,
  VM_SHARED,
  VM_SYNC,
  VM_WIPEONFORK,
  VM_WRITE,
  VMH_DROPPABLE,
} from './vma-flags.ts';

/** What `do_mmap` is asked for. Bytes, unsigned 64 bits. */
export interface MmapArguments {
  readonly address: bigint;
  readonly length: bigint;
  /** PROT_* bits; unknown ones are ignored. */
  readonly prot: number;
  /** MAP_* bits. */
  readonly flags: number;
}

const U64 = 1n << 64n;

/** @see include/linux/mman.h, `calc_vm_prot_bits` */
export function vmFlagsOfProt(prot: number): number {
  return (
    ((prot & PROT_READ) !== 0 ? VM_READ : 0) |
    ((prot & PROT_WRITE) !== 0 ? VM_WRITE : 0) |
    ((prot & PROT_EXEC) !== 0 ? VM_EXEC : 0)
  );
}

/** @see include/linux/mman.h, `calc_vm_flag_bits` */
function vmFlagsOfMapFlags(flags: number): number {
  return (
    ((flags & MAP_GROWSDOWN) !== 0 ? VM_GROWSDOWN : 0) |
    ((flags & MAP_LOCKED) !== 0 ? VM_LOCKED : 0) |
    ((flags & MAP_SYNC) !== 0 ? VM_SYNC : 0) |
    ((flags & MAP_STACK) !== 0 ? VM_NOHUGEPAGE : 0)
  );
}

/** Rounds a hint down to a page, and up to the lowest page a process may use. @see mm/mmap.c, `round_hint_to_min` */
function roundHintToMin(mm: MmStruct, hint: bigint): bigint {
  const rounded = hint & ~0xfffn;
  const lowest = BigInt(mm.kernel.config.mmapMinPage) << 12n;
  return rounded !== 0n && rounded < lowest ? lowest : rounded;
}

/** Flags of an anonymous mapping by its type, low and high word; null for -EINVAL. */
function anonymousTypeFlags(flags: number, vmFlags: number): { low: number; high: number } | null {
  const growsDown = (vmFlags & VM_GROWSDOWN) !== 0;
  switch (flags & MAP_TYPE) {
    case MAP_SHARED:
      return growsDown ? null : { low: VM_SHARED | VM_MAYSHARE, high: 0 };
    case MAP_DROPPABLE:
      if ((flags & (MAP_LOCKED | MAP_HUGETLB)) !== 0 || growsDown) return null;
      return { low: VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP, high: VMH_DROPPABLE };
    case MAP_PRIVATE:
      return { low: 0, high: 0 };
    default:
      return null;
  }
}

/** The checks on locking of do_mmap: 0, -EPERM or -EAGAIN. */
function checkLocked(
  current: TaskStruct,
  mm: MmStruct,
  flags: number,
  vmFlags: number,
  pages: number,
): number {
  if ((flags & MAP_LOCKED) !== 0 && !canDoMlock(current)) return -EPERM;
  return mlockFutureOk(current, mm, vmFlags, pages) ? 0 : -EAGAIN;
}

/** Where `do_mmap` put the mapping, or why not. */
interface MmapResult {
  /** 0 or a negative errno. */
  readonly error: number;
  readonly start: number;
  readonly pages: number;
  readonly populate: boolean;
}

const failed = (error: number): MmapResult => ({ error, start: 0, pages: 0, populate: false });

/** The flags every mapping of this call starts with. */
function initialVmFlags(mm: MmStruct, { prot, flags }: MmapArguments): number {
  return vmFlagsOfProt(prot) | vmFlagsOfMapFlags(flags) | mm.defFlags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
}

/** @see mm/mmap.c, `do_mmap`; needs mmap_lock for writing */
export function* doMmap(current: TaskStruct, mm: MmStruct, args: MmapArguments): Task<MmapResult> {
  if (args.length === 0n) return failed(-EINVAL);
  const noReplace = (args.flags & MAP_FIXED_NOREPLACE) !== 0;
  const flags = noReplace ? args.flags | MAP_FIXED : args.flags;
  const address = (flags & MAP_FIXED) !== 0 ? args.address : roundHintToMin(mm, args.address);
  if (args.length > U64 - 0x1000n) return failed(-ENOMEM);
  const pages = pagesOfLength(args.length);
  // Offset and length are both below 2^52 pages: their sum cannot overflow, and -EOVERFLOW is not seen here.
  if (mm.mapCount > mm.kernel.config.maxMapCount) return failed(-ENOMEM);
  let vmFlags = initialVmFlags(mm, args);
  const start = getUnmappedArea(current, {
    mm,
    address,
    pages,
    flags,
    alignForHugePages: (flags & MAP_TYPE) !== MAP_SHARED,
  });
  if (start < 0) return failed(start);
  if (noReplace && mm.vmas.findIntersection(start, start + pages) !== null) return failed(-EEXIST);
  const lockError = checkLocked(current, mm, flags, vmFlags, pages);
  if (lockError !== 0) return failed(lockError);
  const type = anonymousTypeFlags(flags, vmFlags);
  if (type === null) return failed(-EINVAL);
  vmFlags |= type.low;
  if ((flags & MAP_NORESERVE) !== 0 && mm.kernel.config.overcommitMemory !== OVERCOMMIT_NEVER) {
    vmFlags |= VM_NORESERVE;
  }
  const pgoff = (type.low & VM_SHARED) !== 0 ? 0 : start;
  const mapping = { start, end: start + pages, flags: vmFlags, flagsHigh: type.high, pgoff, file: null };
  const error = yield* mmapRegion(current, mm, mapping);
  if (error !== 0) return failed(error);
  const populate = (vmFlags & VM_LOCKED) !== 0 || (flags & (MAP_POPULATE | MAP_NONBLOCK)) === MAP_POPULATE;
  return { error: 0, start, pages, populate };
}

/**
 * The system call, with the descriptor looked up already: `file` is null for -1 and for a bad one. Bytes, unsigned 64
 * bits. The address of the mapping as a byte address, or a negative errno:
 * -EINVAL, -EBADF, -EINTR (killed while waiting for mmap_lock), -ENOMEM, -EPERM, -EEXIST, -EAGAIN.
 * @throws Unsupported for a mapping of a file and for MAP_HUGETLB
 */
export function* sysMmap(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  prot: number,
  flags: number,
  file: MappedFile | null,
  offset: bigint,
): Task<bigint> {
  if ((offset & 0xfffn) !== 0n) return BigInt(-EINVAL);
  if ((flags & MAP_ANONYMOUS) === 0) {
    if (file === null) return BigInt(-EBADF);
    throw new Unsupported(`mmap of a file (${file.kind})`);
  }
  if ((flags & MAP_HUGETLB) !== 0) throw new Unsupported('mmap with MAP_HUGETLB');
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mmap without an address space`);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return BigInt(-EINTR);
  const result = yield* doMmap(current, mm, { address, length, prot, flags });
  yield* mmapWriteUnlock(current, mm);
  if (result.error !== 0) return BigInt(result.error);
  if (result.populate)
    yield* populateOperations(current.kernel).mmPopulate(current, result.start, result.pages);
  return BigInt(result.start) << 12n;
}
