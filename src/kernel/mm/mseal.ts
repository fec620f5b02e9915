/**
 * mseal: what is mapped in a range stays mapped as it is; munmap, mprotect, mremap, MAP_FIXED over it and discarding
 * advice on what cannot be written are refused from now on. A range with a hole is not sealed at all.
 * @see Linux mm/mseal.c, `do_mseal`, `mseal_apply`
 */
import type { Task } from '../../base/task.ts';
import { EINTR, EINVAL, ENOMEM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';
import { VMH_SEALED } from './vma-flags.ts';
import { vmaStartWrite } from './vma-lock.ts';
import { vmaModify } from './vma-split.ts';

const U64 = 1n << 64n;

/** @see `range_contains_unmapped` */
function containsUnmapped(mm: MmStruct, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const vma = mm.vmas.lookup(at);
    if (vma === null) return true;
    at = vma.end;
  }
  return false;
}

/** Seals [start, end) of one VMA; the VMA that covers it then, or a negative errno. */
function* sealPart(
  current: TaskStruct,
  prev: VmArea | null,
  vma: VmArea,
  start: number,
  end: number,
): Task<VmArea | number> {
  const { mm, flags } = vma;
  if ((vma.flagsHigh & VMH_SEALED) !== 0) return vma;
  const flagsHigh = vma.flagsHigh | VMH_SEALED;
  const modified = yield* vmaModify(current, mm, prev, vma, start, end, { flags, flagsHigh });
  if (modified.error !== 0) return modified.error;
  yield* vmaStartWrite(current, mm, modified.vma);
  modified.vma.flagsHigh |= VMH_SEALED;
  return modified.vma;
}

/** Seals all of [start, end), where no hole is. 0, or -ENOMEM (limit of VMAs) with the part before sealed. */
function* sealRange(current: TaskStruct, mm: MmStruct, start: number, end: number): Task<number> {
  let prev = mm.vmas.findPrevious(start);
  let at = start;
  while (at < end) {
    const vma = mm.vmas.find(at);
    if (vma === null) throw new Error('a hole in a range that had none');
    if (vma.start < at) prev = vma;
    const partEnd = Math.min(vma.end, end);
    const sealed = yield* sealPart(current, prev, vma, at, partEnd);
    if (typeof sealed === 'number') return sealed;
    prev = sealed;
    at = partEnd;
  }
  return 0;
}

/**
 * The system call. Bytes, unsigned 64 bits. 0, -EINVAL (any flag, misaligned address, a range that wraps), -ENOMEM (a
 * hole: nothing is sealed; or the limit of VMAs), -EINTR.
 */
export function* sysMseal(current: TaskStruct, address: bigint, length: bigint, flags: bigint): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mseal without an address space`);
  if (flags !== 0n) return -EINVAL;
  const start = mm.kernel.arch.untaggedAddress(current.cpu, address);
  if ((start & 0xfffn) !== 0n) return -EINVAL;
  const aligned = ((length + 0xfffn) & ~0xfffn) % U64;
  if ((length !== 0n && aligned === 0n) || start + aligned >= U64) return -EINVAL;
  if (aligned === 0n) return 0;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  const [first, end] = [Number(start >> 12n), Number((start + aligned) >> 12n)];
  const error = containsUnmapped(mm, first, end) ? -ENOMEM : yield* sealRange(current, mm, first, end);
  yield* mmapWriteUnlock(current, mm);
  return error;
}
