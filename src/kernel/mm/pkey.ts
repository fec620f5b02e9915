/**
 * pkey_alloc and pkey_free. The keys of an address space change under mmap_lock, the rights of the calling thread with
 * them; what mappings have of a key that is given back stays.
 * @see Linux mm/mprotect.c, `pkey_alloc`, `pkey_free`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';

function mmOf({ mm, name }: TaskStruct, call: string): MmStruct {
  if (mm === null) throw new Error(`${name} calls ${call} without an address space`);
  return mm;
}

/**
 * A new key for the address space of `current`.
 * @param flags none is known
 * @param rights PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE: what the calling thread may not do with it
 * @returns the key, -EINVAL (a flag or right that is unknown, on x86 also a processor without keys), -ENOSPC (no key left)
 */
export function* pkeyAlloc(current: TaskStruct, flags: bigint, rights: bigint): Task<number> {
  const mm = mmOf(current, 'pkey_alloc');
  const { protectionKeys } = mm.kernel.arch;
  if (flags !== 0n || (rights & ~BigInt(protectionKeys.accessMask)) !== 0n) return -EINVAL;
  yield* mmapWriteLock(current, mm);
  const key =
    mm.context === null ? -EINVAL : protectionKeys.allocate(current.cpu, mm.context, Number(rights));
  yield* mmapWriteUnlock(current, mm);
  return key;
}

/** Gives a key back: 0, or -EINVAL when the address space has no such key. */
export function* pkeyFree(current: TaskStruct, key: number): Task<number> {
  const mm = mmOf(current, 'pkey_free');
  yield* mmapWriteLock(current, mm);
  const freed = mm.context !== null && mm.kernel.arch.protectionKeys.free(mm.context, key);
  yield* mmapWriteUnlock(current, mm);
  return freed ? 0 : -EINVAL;
}
