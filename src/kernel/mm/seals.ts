/**
 * Seals of a memfd: what must not be done to it any more. They are set for ever; F_SEAL_SEAL, which a memfd without
 * MFD_ALLOW_SEALING begins with, forbids further ones.
 * Left out: waiting a little for pages that somebody has a reference on before F_SEAL_WRITE fails.
 * @see Linux mm/memfd.c, `memfd_add_seals`, `memfd_get_seals`, `memfd_wait_for_pins`, `memfd_check_seals_mmap`
 */
import type { Task } from '../../base/task.ts';
import { EBUSY, EINVAL, EPERM } from '../errno.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MappedFile } from './mapped-file.ts';
import { VM_MAYWRITE, VM_SHARED, VM_WRITE } from './vma-flags.ts';

/** @see include/uapi/linux/fcntl.h */
export const F_SEAL_SEAL = 0x0001;
export const F_SEAL_SHRINK = 0x0002;
export const F_SEAL_GROW = 0x0004;
export const F_SEAL_WRITE = 0x0008;
export const F_SEAL_FUTURE_WRITE = 0x0010;
export const F_SEAL_EXEC = 0x0020;
const F_ALL_SEALS =
  F_SEAL_SEAL | F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
/** Neither new writable mappings nor writes. */
export const F_SEALS_AGAINST_WRITING = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

/** Only what may be sealed (tmpfs, hugetlbfs) has seals to speak of. */
const canBeSealed = ({ shmem, huge }: AddressSpace): boolean => shmem || huge !== null;

/** Has somebody a reference on a page beside the cache and the entries that map it? @see `memfd_folio_has_extra_refs` */
function isPinned(mapping: AddressSpace, frames: FrameTable): boolean {
  return mapping.indexes().some((index) => {
    const frame = mapping.frameAt(index);
    const cached = mapping.huge === null ? 2 ** frames.order(frame) : 1;
    return frames.refcount(frame) - frames.folioMapcount(frame) !== cached;
  });
}

/** With F_SEAL_WRITE nobody may be able to write, now or later. 0 or -EBUSY. */
function* denyWritable(current: TaskStruct, mapping: AddressSpace): Task<number> {
  yield mapping.change;
  // `mapping_deny_writable`.
  if (mapping.iMmapWritable > 0) return -EBUSY;
  mapping.iMmapWritable--;
  if (!isPinned(mapping, current.kernel.frames)) return 0;
  mapping.iMmapWritable++;
  return -EBUSY;
}

/**
 * fcntl(F_ADD_SEALS). 0, -EPERM (not open for writing, or sealed against sealing), -EINVAL (unknown seals, or a file that
 * cannot be sealed) or -EBUSY (F_SEAL_WRITE with a mapping that can be written, or a page in use).
 */
export function* fcntlAddSeals(current: TaskStruct, file: MappedFile, seals: number): Task<number> {
  const { mapping } = file;
  if (!file.writable) return -EPERM;
  if ((seals & ~F_ALL_SEALS) !== 0) return -EINVAL;
  yield* mapping.iRwsem.downWrite(current);
  const error = yield* addSealsLocked(current, mapping, seals);
  yield* mapping.iRwsem.upWrite(current);
  return error;
}

function* addSealsLocked(current: TaskStruct, mapping: AddressSpace, seals: number): Task<number> {
  if (!canBeSealed(mapping)) return -EINVAL;
  if ((mapping.seals & F_SEAL_SEAL) !== 0) return -EPERM;
  if ((seals & ~mapping.seals & F_SEAL_WRITE) !== 0) {
    const error = yield* denyWritable(current, mapping);
    if (error !== 0) return error;
  }
  // What may be executed, and stays so, must not change.
  const execSeals =
    (seals & F_SEAL_EXEC) !== 0 && mapping.executable
      ? F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
      : 0;
  mapping.seals |= seals | execSeals;
  return 0;
}

/** fcntl(F_GET_SEALS): F_SEAL_* bits, or -EINVAL. */
export function fcntlGetSeals({ mapping }: MappedFile): number {
  return canBeSealed(mapping) ? mapping.seals : -EINVAL;
}

/**
 * The flags of a new mapping of a file with these seals: a shared one is not writable and never becomes so. -EPERM when
 * it was to be writable at once. VM_* bits, low word.
 * @see `check_write_seal`
 */
export function checkSealsMmap(
  file: MappedFile | null,
  flags: number,
): { readonly error: number; readonly flags: number } {
  const seals = file?.mapping.seals ?? 0;
  if ((seals & F_SEALS_AGAINST_WRITING) === 0 || (flags & VM_SHARED) === 0) return { error: 0, flags };
  return (flags & VM_WRITE) === 0 ? { error: 0, flags: flags & ~VM_MAYWRITE } : { error: -EPERM, flags };
}
