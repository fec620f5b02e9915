/**
 * An open file as mappings see it (`struct file` with its inode's page cache): VMAs and descriptors hold references,
 * and an unlinked one gives its pages back with the last reference.
 * Left out: descriptor tables (userland keeps them), file systems other than tmpfs.
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { shmemEvictSwap } from './shmem-swap.ts';
import type { VmArea, VmOperations } from './vma.ts';

export interface MappedFileInit {
  readonly name: string;
  readonly mapping: AddressSpace;
  /** FMODE_READ, FMODE_WRITE. */
  readonly readable: boolean;
  readonly writable: boolean;
  /** As smaps is summarised in traces: `shmem`, `memfd:NAME`, a path. */
  readonly kind: string;
  /** Default: pages of its page cache. */
  readonly mappedAs?: MappedAs;
  /** Of a device. */
  readonly mmap?: FileMmap;
  /** Default: what maps pages of tmpfs. */
  readonly mappings?: FileMappings;
}

/** What mmap is told of a file whose mappings are of a kind of their own. */
export interface FileMappings {
  readonly operations: VmOperations;
  /** On a file system without programs (SB_I_NOEXEC): -EPERM for an executable mapping, and none becomes so. */
  readonly noexec: boolean;
  /**
   * `f_op->mmap_prepare`: the flags that a new mapping will have, VM_* bits, low word; or an error, 0 or -errno.
   * @param pages of the mapping
   */
  prepare(
    current: TaskStruct,
    mm: MmStruct,
    flags: number,
    pages: number,
  ): { readonly error: number; readonly flags: number };
}

/**
 * `f_op->mmap` of a device: gives a new VMA, which is in no tree yet, its operations and flags, and may fill it. 0 or -errno.
 */
export type FileMmap = (current: TaskStruct, vma: VmArea) => Task<number>;

/**
 * What mmap makes of the file (`f_op->mmap`): pages of its page cache; anonymous memory, as of /dev/zero; nothing, since
 * it cannot be mapped.
 */
export type MappedAs = 'cache' | 'anonymous' | 'nothing';

export class MappedFile extends SharedObject {
  readonly mapping: AddressSpace;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly kind: string;
  readonly mappedAs: MappedAs;
  /** A device maps its memory itself, and has nothing to read, write or write back but that. */
  readonly mmap: FileMmap | null;
  readonly mappings: FileMappings | null;
  /** `f_count`. */
  count = 1;
  /** Just before `count` changes. */
  readonly countWrite: SchedPoint;

  constructor(init: MappedFileInit) {
    super(init.name);
    this.mapping = init.mapping;
    this.readable = init.readable;
    this.writable = init.writable;
    this.kind = init.kind;
    this.mappedAs = init.mappedAs ?? 'cache';
    this.mmap = init.mmap ?? null;
    this.mappings = init.mappings ?? null;
    this.countWrite = new SchedPoint(PointKind.Write, this, 'f_count', StepCost.AtomicUpdate);
    this.mapping.openFiles++;
  }
}

/** `get_file`: one reference more, by somebody who knows that there is one. */
export function getFile(file: MappedFile): void {
  file.count++;
}

/**
 * `fput`: one reference less. With the last reference of the last open file of an unlinked object, its pages go.
 * @see Linux fs/file_table.c `__fput`, mm/shmem.c `shmem_evict_inode`
 */
export function* fput(frames: FrameTable, file: MappedFile): Task<void> {
  yield file.countWrite;
  file.count--;
  if (file.count < 0) throw new Error(`${file.name} is closed once too often`);
  if (file.count > 0) return;
  file.mapping.openFiles--;
  const { openFiles, links, shmem, huge, secret, pageCount } = file.mapping;
  // A device's pages are its driver's.
  const keepsPages = shmem || huge !== null || secret !== null || (file.mmap !== null && pageCount > 0);
  if (openFiles > 0 || links > 0 || !keepsPages) return;
  yield file.mapping.change;
  if (huge !== null) {
    huge.evict();
    return;
  }
  yield* shmemEvictSwap(frames, file.mapping);
  file.mapping.truncate(frames, 0);
}
