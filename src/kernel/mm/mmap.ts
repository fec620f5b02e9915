/**
 * mmap: argument checks in Linux's order, placement, then the new mapping; populating afterwards, without the lock.
 * Built for anonymous memory, private and shared, of small and of huge pages, and for tmpfs files (memfd). Left out:
 * other files, the READ_IMPLIES_EXEC personality.
 * @see Linux mm/mmap.c, `ksys_mmap_pgoff`, `do_mmap`; mm/util.c, `vm_mmap_pgoff`
 */
import type { KernelArch, VmFlagBits } from '../../arch/kernel-arch.ts';
import type { Task } from '../../base/task.ts';
import {
  EACCES,
  EAGAIN,
  EBADF,
  EEXIST,
  EINTR,
  EINVAL,
  ENODEV,
  ENOMEM,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
} from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { getUnmappedArea } from './get-unmapped-area.ts';
import { hstateOfFile, hstateOfFlags, hugetlbFileSetup } from './hugetlb/hugetlb-file.ts';
import { canDoMlock, mlockFutureOk } from './limits.ts';
import { fput, type MappedFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import {
  LEGACY_MAP_MASK,
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
  MAP_SHARED_VALIDATE,
  MAP_STACK,
  MAP_SYNC,
  MAP_TYPE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from './mman.ts';
import { mmapRegion, type NewMapping } from './mmap-region.ts';
import { pagesOfLength } from './munmap.ts';
import { OVERCOMMIT_NEVER } from './overcommit.ts';
import { populateOperations } from './populate.ts';
import { checkSealsMmap } from './seals.ts';
import { userfaultfdUnmapComplete } from './userfaultfd/events.ts';
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
interface MmapArguments {
  readonly address: bigint;
  readonly length: bigint;
  /** PROT_* bits; unknown ones are ignored. */
  readonly prot: number;
  /** MAP_* bits. */
  readonly flags: number;
  readonly file: MappedFile | null;
  /** Offset into the file, in pages. */
  readonly pgoff: number;
}

const U64 = 1n << 64n;

/** @see include/linux/mman.h, `calc_vm_prot_bits` */
export function vmFlagsOfProt(arch: KernelArch, prot: number): VmFlagBits {
  const bits = arch.calcVmProtBits(prot);
  const flags =
    ((prot & PROT_READ) !== 0 ? VM_READ : 0) |
    ((prot & PROT_WRITE) !== 0 ? VM_WRITE : 0) |
    ((prot & PROT_EXEC) !== 0 ? VM_EXEC : 0);
  return { flags: flags | bits.flags, flagsHigh: bits.flagsHigh };
}

/** @see include/linux/mman.h, `calc_vm_flag_bits` */
function vmFlagsOfMapFlags(arch: KernelArch, { flags, file }: MmapArguments): VmFlagBits {
  const memoryBacked = (flags & (MAP_ANONYMOUS | MAP_HUGETLB)) !== 0 || file?.mapping.shmem === true;
  const bits = arch.calcVmFlagBits(memoryBacked);
  const generic =
    ((flags & MAP_GROWSDOWN) !== 0 ? VM_GROWSDOWN : 0) |
    ((flags & MAP_LOCKED) !== 0 ? VM_LOCKED : 0) |
    ((flags & MAP_SYNC) !== 0 ? VM_SYNC : 0) |
    ((flags & MAP_STACK) !== 0 ? VM_NOHUGEPAGE : 0);
  return { flags: generic | bits.flags, flagsHigh: bits.flagsHigh };
}

/** Rounds a hint down to a page, and up to the lowest page a process may use. @see mm/mmap.c, `round_hint_to_min` */
function roundHintToMin(mm: MmStruct, hint: bigint): bigint {
  const rounded = hint & ~0xfffn;
  const lowest = BigInt(mm.kernel.config.mmapMinPage) << 12n;
  return rounded !== 0n && rounded < lowest ? lowest : rounded;
}

/** What the type of the mapping does to its flags; `error` is 0 or a negative errno. */
interface TypeFlags {
  readonly error: number;
  /** Bits to add to the low word, bits to take out of it, bits of the high word. */
  readonly add: number;
  readonly remove: number;
  readonly high: number;
}

const refused = (error: number): TypeFlags => ({ error, add: 0, remove: 0, high: 0 });

function anonymousTypeFlags(flags: number, vmFlags: number): TypeFlags {
  const growsDown = (vmFlags & VM_GROWSDOWN) !== 0;
  switch (flags & MAP_TYPE) {
    case MAP_SHARED:
      if (growsDown) return refused(-EINVAL);
      return { error: 0, add: VM_SHARED | VM_MAYSHARE, remove: 0, high: 0 };
    case MAP_DROPPABLE:
      if ((flags & (MAP_LOCKED | MAP_HUGETLB)) !== 0 || growsDown) return refused(-EINVAL);
      return { error: 0, add: VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP, remove: 0, high: VMH_DROPPABLE };
    case MAP_PRIVATE:
      return { error: 0, add: 0, remove: 0, high: 0 };
    default:
      return refused(-EINVAL);
  }
}

/** The largest offset of a regular file, in pages (MAX_LFS_FILESIZE). */
const MAX_FILE_PAGES = 2 ** 51 - 1;

/** VM_MAY bits that no mapping of the file has, where its file system holds no programs. @see fs/exec.c, `path_noexec` */
const deniedByMount = ({ mappings }: MappedFile): number => (mappings?.noexec === true ? VM_MAYEXEC : 0);

function fileTypeFlags(
  { legacyMapFlags }: KernelArch,
  args: MmapArguments,
  file: MappedFile,
  vmFlags: number,
  pages: number,
): TypeFlags {
  const { flags, prot } = args;
  const type = flags & MAP_TYPE;
  const shared = type === MAP_SHARED || type === MAP_SHARED_VALIDATE;
  if (args.pgoff > MAX_FILE_PAGES - pages) return refused(-EOVERFLOW);
  // Plain MAP_SHARED ignores flags that it does not know.
  if (type === MAP_SHARED_VALIDATE && (flags & ~(LEGACY_MAP_MASK | legacyMapFlags)) !== 0) {
    return refused(-EOPNOTSUPP);
  }
  if (shared && (prot & PROT_WRITE) !== 0 && !file.writable) return refused(-EACCES);
  if (!shared && type !== MAP_PRIVATE) return refused(-EINVAL);
  if (!file.readable) return refused(-EACCES);
  const never = deniedByMount(file);
  if ((never & VM_MAYEXEC) !== 0 && (vmFlags & VM_EXEC) !== 0) return refused(-EPERM);
  if (file.mappedAs === 'nothing') return refused(-ENODEV);
  if ((vmFlags & VM_GROWSDOWN) !== 0) return refused(-EINVAL);
  if (!shared) return { error: 0, add: 0, remove: never, high: 0 };
  const readOnly = file.writable ? never : never | VM_MAYWRITE | VM_SHARED;
  return { error: 0, add: VM_SHARED | VM_MAYSHARE, remove: readOnly, high: 0 };
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
function initialVmFlags(current: TaskStruct, mm: MmStruct, args: MmapArguments): VmFlagBits {
  const { arch } = mm.kernel;
  const { context } = mm;
  if (context === null) throw new Error(`${mm.name} has no page tables`);
  const prot = vmFlagsOfProt(arch, args.prot);
  const key = arch.protectionKeys.keyOfNewMapping(current.cpu, context, args.prot === PROT_EXEC);
  const map = vmFlagsOfMapFlags(arch, args);
  const may = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
  return {
    flags: prot.flags | map.flags | mm.defFlags | may,
    flagsHigh: prot.flagsHigh | map.flagsHigh | arch.protectionKeys.vmFlagsOf(key).flagsHigh,
  };
}

/** Huge pages are never overcommitted but by MAP_NORESERVE itself, which is for nothing where nothing is. */
function mayGoUnreserved(mm: MmStruct, file: MappedFile | null): boolean {
  return mm.kernel.config.overcommitMemory !== OVERCOMMIT_NEVER || hstateOfFile(file) !== null;
}

/** The mapping with the flags its type gives it, or a negative errno. `flags` are MAP_*. */
function describeMapping(
  mm: MmStruct,
  args: MmapArguments,
  flags: number,
  vmFlags: VmFlagBits,
  start: number,
  pages: number,
): NewMapping | number {
  const { file } = args;
  const type =
    file === null
      ? anonymousTypeFlags(flags, vmFlags.flags)
      : fileTypeFlags(mm.kernel.arch, args, file, vmFlags.flags, pages);
  if (type.error !== 0) return type.error;
  const sealed = checkSealsMmap(file, (vmFlags.flags | type.add) & ~type.remove);
  if (sealed.error !== 0) return sealed.error;
  let all = sealed.flags;
  if ((flags & MAP_NORESERVE) !== 0 && mayGoUnreserved(mm, file)) {
    all |= VM_NORESERVE;
  }
  const anonymousPgoff = (type.add & VM_SHARED) !== 0 ? 0 : start;
  const pgoff = file === null ? anonymousPgoff : args.pgoff;
  return { start, end: start + pages, flags: all, flagsHigh: vmFlags.flagsHigh | type.high, pgoff, file };
}

/** @see mm/mmap.c, `do_mmap`; needs mmap_lock for writing */
export function* doMmap(current: TaskStruct, mm: MmStruct, args: MmapArguments): Task<MmapResult> {
  if (args.length === 0n) return failed(-EINVAL);
  const noReplace = (args.flags & MAP_FIXED_NOREPLACE) !== 0;
  const flags = noReplace ? args.flags | MAP_FIXED : args.flags;
  const address = (flags & MAP_FIXED) !== 0 ? args.address : roundHintToMin(mm, args.address);
  if (args.length > U64 - 0x1000n) return failed(-ENOMEM);
  const pages = pagesOfLength(args.length);
  // Offset and length are both below 2^52 pages: their sum cannot overflow here.
  if (mm.mapCount > mm.kernel.config.maxMapCount) return failed(-ENOMEM);
  const vmFlags = initialVmFlags(current, mm, args);
  const start = getUnmappedArea(current, {
    mm,
    address,
    pages,
    flags,
    hugetlbPages: hstateOfFile(args.file)?.pages ?? 0,
    pgoff: args.pgoff,
    alignForHugePages: args.file === null && (flags & MAP_TYPE) !== MAP_SHARED,
  });
  if (start < 0) return failed(start);
  if (noReplace && mm.vmas.findIntersection(start, start + pages) !== null) return failed(-EEXIST);
  const lockError = checkLocked(current, mm, flags, vmFlags.flags, pages);
  if (lockError !== 0) return failed(lockError);
  const mapping = describeMapping(mm, args, flags, vmFlags, start, pages);
  if (typeof mapping === 'number') return failed(mapping);
  const error = yield* mmapRegion(current, mm, mapping);
  if (error !== 0) return failed(error);
  const populate =
    (vmFlags.flags & VM_LOCKED) !== 0 || (flags & (MAP_POPULATE | MAP_NONBLOCK)) === MAP_POPULATE;
  return { error: 0, start, pages, populate };
}

/**
 * The system call, with the descriptor looked up already: `file` is null for -1 and for a bad one. Bytes, unsigned 64
 * bits. The address of the mapping as a byte address, or a negative errno:
 * -EINVAL, -EBADF, -EINTR (killed while waiting for mmap_lock), -ENOMEM, -EPERM, -EEXIST, -EAGAIN, -EOVERFLOW,
 * -EOPNOTSUPP, -EACCES.
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
  const anonymous = (flags & MAP_ANONYMOUS) !== 0;
  if (!anonymous && file === null) return BigInt(-EBADF);
  const backing = hugetlbBacking(current, length, flags, anonymous ? null : file);
  if (typeof backing === 'number') return BigInt(backing);
  const result = yield* vmMmap(current, address, prot, flags, offset, backing);
  // The mapping holds the file of an anonymous one, if there is a mapping.
  if (backing.made && backing.file !== null) yield* fput(current.kernel.frames, backing.file);
  return result;
}

/** What is mapped, and how long: bytes. */
interface Backing {
  readonly file: MappedFile | null;
  readonly length: bigint;
  /** The file was made for this mapping, which is one of huge pages. */
  readonly made: boolean;
}

/**
 * Huge pages: their file, if the mapping is anonymous, and the length rounded up to whole ones.
 * @see mm/mmap.c, `ksys_mmap_pgoff`
 */
function hugetlbBacking(
  { kernel }: TaskStruct,
  length: bigint,
  flags: number,
  file: MappedFile | null,
): Backing | number {
  const wanted = (flags & MAP_HUGETLB) !== 0;
  const hstate = file === null && wanted ? hstateOfFlags(kernel, flags) : hstateOfFile(file);
  if (hstate === null) return wanted ? -EINVAL : { file, length, made: false };
  const bytes = 1n << BigInt(hstate.shift);
  const rounded = BigInt.asUintN(64, (length + bytes - 1n) & -bytes);
  if (file !== null) return { file, length: rounded, made: false };
  const pages = Number(rounded >> 12n);
  return { file: hugetlbFileSetup(kernel, hstate, pages), length: rounded, made: true };
}

/** @see mm/util.c, `vm_mmap_pgoff` */
function* vmMmap(
  current: TaskStruct,
  address: bigint,
  prot: number,
  flags: number,
  offset: bigint,
  { file, length }: Backing,
): Task<bigint> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mmap without an address space`);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return BigInt(-EINTR);
  const result = yield* doMmap(current, mm, {
    address,
    length,
    prot,
    flags,
    file,
    pgoff: Number(offset >> 12n),
  });
  yield* mmapWriteUnlock(current, mm);
  yield* userfaultfdUnmapComplete(current);
  if (result.error !== 0) return BigInt(result.error);
  if (result.populate)
    yield* populateOperations(current.kernel).mmPopulate(current, result.start, result.pages);
  return BigInt(result.start) << 12n;
}
