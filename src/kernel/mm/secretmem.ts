/**
 * memfd_secret: memory that only the processes that map it can reach. Its pages leave the kernel's own mapping of all memory
 * (the direct map) before they are mapped, so the kernel could not copy them even if it wanted to; they are never swapped,
 * moved or dumped, and every mapping counts as locked.
 * Left out: the flush of the kernel's own translations, hibernation (which secret memory forbids), ENFILE.
 * @see Linux mm/secretmem.c
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EEXIST, EINVAL } from '../errno.ts';
import { AddressSpace, type SecretObject } from '../frame/address-space.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { Kernel } from '../kernel.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import type { TaskStruct } from '../task-struct.ts';
import { allocUserFolio } from './alloc-folio.ts';
import { VM_FAULT_LOCKED, VM_FAULT_OOM, VM_FAULT_SIGBUS } from './fault/fault-flags.ts';
import { folioLock, folioSetLocked, folioUnlock } from './fault/folio-lock.ts';
import type { VmFault } from './fault/vm-fault.ts';
import { mlockFutureOk } from './limits.ts';
import { type FileMappings, MappedFile } from './mapped-file.ts';
import { folioAddLru } from './reclaim/lru.ts';
import type { VmOperations } from './vma.ts';
import { VM_DONTDUMP, VM_LOCKED, VM_MAYSHARE, VM_SHARED } from './vma-flags.ts';

const secretmemVmOperations: VmOperations = {
  name: 'secretmem',
  hasClose: false,
  hasMapPages: false,
  fault: secretmemFault,
};

/** @see `secretmem_mmap_prepare`: -EINVAL (private) or -EAGAIN (RLIMIT_MEMLOCK) */
const secretmemMappings: FileMappings = {
  operations: secretmemVmOperations,
  noexec: true,
  prepare(current, mm, flags, pages) {
    if ((flags & (VM_SHARED | VM_MAYSHARE)) === 0) return { error: -EINVAL, flags };
    const locked = flags | VM_LOCKED | VM_DONTDUMP;
    return { error: mlockFutureOk(current, mm, locked, pages) ? 0 : -EAGAIN, flags: locked };
  },
};

/** An empty file of secret memory with one reference, for its descriptor. @see `secretmem_file_create` */
export function secretmemFileCreate(kernel: Kernel): MappedFile {
  const name = `secretmem ${kernel.nextSerial('secretmem')}`;
  const mapping = new AddressSpace(`i_pages ${name}`, 0, false);
  mapping.secret = secretObject(kernel, name);
  return new MappedFile({
    name,
    mapping,
    readable: true,
    writable: true,
    kind: 'secretmem',
    mappings: secretmemMappings,
  });
}

/** @see `secretmem_free_folio` */
function secretObject({ frames, machine }: Kernel, name: string): SecretObject {
  return {
    invalidateLock: new RwSemaphore(`invalidate_lock ${name}`),
    freeFolio(frame) {
      frames.clearFlags(frame, FrameFlag.NoDirectMap);
      machine.memory.zeroFrame(frame);
    },
  };
}

function partsOf(mapping: AddressSpace | undefined): {
  readonly mapping: AddressSpace;
  readonly secret: SecretObject;
} {
  const secret = mapping?.secret ?? null;
  if (mapping === undefined || secret === null) throw new Error('a file that is not of secret memory');
  return { mapping, secret };
}

/**
 * ftruncate, which gives the file its size once: 0 or -EINVAL. Needs `iRwsem` for writing. Bytes.
 * @see `secretmem_setattr`
 */
export function* secretmemSetSize(current: TaskStruct, of: AddressSpace, size: number): Task<number> {
  const { mapping, secret } = partsOf(of);
  yield* secret.invalidateLock.downWrite(current);
  const error = mapping.sizeBytes === 0 ? 0 : -EINVAL;
  if (error === 0) {
    yield mapping.change;
    mapping.sizeBytes = size;
  }
  yield* secret.invalidateLock.upWrite(current);
  return error;
}

/** The page, locked and with a reference, in `fault.frame`: LOCKED; or OOM, or SIGBUS beyond the end of the file. */
function* secretmemFault(fault: VmFault): Task<number> {
  const { current, vma, pgoff } = fault;
  const { mapping, secret } = partsOf(vma.file?.mapping);
  yield mapping.change;
  if (pgoff >= mapping.sizePages) return VM_FAULT_SIGBUS;
  yield* secret.invalidateLock.downRead(current);
  let frame = -EEXIST;
  while (frame === -EEXIST) {
    yield mapping.change;
    const cached = mapping.frameAt(pgoff) !== -1;
    frame = yield* cached ? lockCached(current, mapping, pgoff) : addSecretPage(current, mapping, pgoff);
  }
  yield* secret.invalidateLock.upRead(current);
  if (frame === NO_FRAME) return VM_FAULT_OOM;
  fault.frame = frame;
  return VM_FAULT_LOCKED;
}

/** `filemap_lock_folio`; -EEXIST: look again. */
function* lockCached(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { frames } = current.kernel;
  const frame = mapping.frameAt(index);
  frames.get(frame);
  yield* folioLock(current, frame);
  if (mapping.frameAt(index) === frame) return frame;
  yield* folioUnlock(current, frame);
  frames.put(frame);
  return -EEXIST;
}

/** A new page of zeros, which the kernel maps no longer. `NO_FRAME`: there is none; -EEXIST: another was faster. */
function* addSecretPage(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { frames } = current.kernel;
  const frame = yield* allocUserFolio(current, null, 0, true, false);
  if (frame === NO_FRAME) return NO_FRAME;
  frames.setFlags(frame, FrameFlag.NoDirectMap);
  yield mapping.change;
  if (mapping.frameAt(index) !== -1) {
    frames.clearFlags(frame, FrameFlag.NoDirectMap);
    frames.put(frame);
    return -EEXIST;
  }
  folioSetLocked(current, frame);
  // The file is unevictable (`mapping_set_unevictable`).
  frames.setFlags(frame, FrameFlag.Uptodate | FrameFlag.Unevictable);
  folioAddLru(frames, frame);
  mapping.add(frames, index, frame);
  frames.get(frame);
  return frame;
}
