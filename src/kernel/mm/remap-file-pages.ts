/**
 * remap_file_pages: other pages of the same object at a part of a shared mapping. The call is emulated by a mapping over
 * it, as in Linux since 4.0, so that what was one VMA becomes up to three.
 * @see Linux mm/mmap.c, `remap_file_pages`
 */
import type { Task } from '../../base/task.ts';
import { EINTR, EINVAL } from '../errno.ts';
import {
  mmapReadLockKillable,
  mmapReadUnlock,
  mmapWriteLockKillable,
  mmapWriteUnlock,
} from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { fput, getFile, type MappedFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import {
  MAP_FIXED,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_POPULATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from './mman.ts';
import { doMmap } from './mmap.ts';
import { populateOperations } from './populate.ts';
import type { VmArea } from './vma.ts';
import { VM_EXEC, VM_LOCKED, VM_READ, VM_SHARED, VM_WRITE } from './vma-flags.ts';

const U64 = 1n << 64n;

/** What the caller saw of the mapping before it let the lock go. */
interface SeenMapping {
  readonly file: MappedFile;
  readonly flags: number;
  readonly flagsHigh: number;
}

function protOf(flags: number): number {
  const read = (flags & VM_READ) !== 0 ? PROT_READ : 0;
  const write = (flags & VM_WRITE) !== 0 ? PROT_WRITE : 0;
  return read | write | ((flags & VM_EXEC) !== 0 ? PROT_EXEC : 0);
}

const isLike = (vma: VmArea, { file, flags, flagsHigh }: SeenMapping): boolean =>
  vma.file === file && vma.flags === flags && vma.flagsHigh === flagsHigh;

/** Is all of [start, end) mapped as it was seen? */
function isMappedSo(mm: MmStruct, seen: SeenMapping, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const vma = mm.vmas.lookup(at);
    if (vma === null || !isLike(vma, seen)) return false;
    at = vma.end;
  }
  return true;
}

/** The shared mapping at `page`, its file held; null when there is none. */
function* lookUp(current: TaskStruct, mm: MmStruct, page: number): Task<SeenMapping | null | number> {
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EINTR;
  const vma = mm.vmas.lookup(page);
  let seen: SeenMapping | null = null;
  if (vma !== null && (vma.flags & VM_SHARED) !== 0 && vma.file !== null) {
    seen = { file: vma.file, flags: vma.flags, flagsHigh: vma.flagsHigh };
    getFile(vma.file);
  }
  yield* mmapReadUnlock(current, mm);
  return seen;
}

/** 0, or a negative errno: -EINTR, -EINVAL (it is mapped otherwise by now), and those of mmap. */
function* mapOver(
  current: TaskStruct,
  mm: MmStruct,
  seen: SeenMapping,
  address: bigint,
  length: bigint,
  pgoff: bigint,
  nonblock: number,
): Task<number> {
  const { file, flags: vmFlags } = seen;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  const [start, end] = [Number(address >> 12n), Number((address + length) >> 12n)];
  if (!isMappedSo(mm, seen, start, end)) {
    yield* mmapWriteUnlock(current, mm);
    return -EINVAL;
  }
  const locked = (vmFlags & VM_LOCKED) !== 0 ? MAP_LOCKED : 0;
  const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE | nonblock | locked;
  const args = { address, length, prot: protOf(vmFlags), flags, file, pgoff: Number(pgoff) };
  const result = yield* doMmap(current, mm, args);
  yield* mmapWriteUnlock(current, mm);
  if (result.error !== 0) return result.error;
  if (result.populate) yield* populateOperations(mm.kernel).mmPopulate(current, result.start, result.pages);
  return 0;
}

/**
 * The system call. `address` and `size` are bytes, rounded down to pages, `pgoff` pages; the address is not untagged.
 * 0, -EINVAL (any `prot`, nothing to do, not a shared mapping of one object), -EINTR, or what mmap says.
 */
export function* sysRemapFilePages(
  current: TaskStruct,
  address: bigint,
  size: bigint,
  prot: bigint,
  pgoff: bigint,
  flags: number,
): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls remap_file_pages without an address space`);
  const start = address & ~0xfffn;
  const length = size & ~0xfffn;
  if (prot !== 0n || (start + length) % U64 <= start || pgoff + (length >> 12n) >= U64) return -EINVAL;
  const seen = yield* lookUp(current, mm, Number(start >> 12n));
  if (seen === null) return -EINVAL;
  if (typeof seen === 'number') return seen;
  const error = yield* mapOver(current, mm, seen, start, length, pgoff, flags & MAP_NONBLOCK);
  yield* fput(mm.kernel.frames, seen.file);
  return error;
}
