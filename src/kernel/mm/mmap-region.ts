/**
 * The second half of mmap: takes out what is in the way, checks limits, and puts the new range into the tree, merged
 * with its neighbours where they fit.
 * Left out: uprobes, perf, ksm.
 * @see Linux mm/vma.c, `__mmap_region`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL, ENOMEM, EPERM } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import { hugetlbFileMmap } from './hugetlb/hugetlb-file.ts';
import { isSharedMayWrite, mappingMapWritable, mappingUnmapWritable, vmaLinkFile } from './i-mmap.ts';
import { mayExpandVm } from './limits.ts';
import { fput, getFile, type MappedFile } from './mapped-file.ts';
import { type MmStruct, vmStatAccount } from './mm.ts';
import {
  reattachVmas,
  VmasToUnmap,
  vmsClearPtes,
  vmsCompleteMunmapVmas,
  vmsGatherMunmapVmas,
} from './munmap.ts';
import { accountableMapping, securityVmEnoughMemory } from './overcommit.ts';
import { shmemVmOperations, shmemZeroSetup } from './shmem.ts';
import { khugepagedEnterVma } from './thp/khugepaged-list.ts';
import { type VmArea, type VmOperations, vmaClose } from './vma.ts';
import { VM_ACCOUNT, VM_LOCKED, VM_LOCKED_MASK, VM_SHARED, VM_SPECIAL, VMH_DROPPABLE } from './vma-flags.ts';
import { vmaInitWriteLocked, vmaMarkAttached, vmaMarkAttachedUnlocked, vmaStartWrite } from './vma-lock.ts';
import { vmaMergeNewRange } from './vma-merge.ts';
import { vmAreaAlloc, vmAreaFree } from './vma-slab.ts';

/** What is to be mapped. Pages. */
export interface NewMapping {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly flagsHigh: number;
  readonly pgoff: number;
  readonly file: MappedFile | null;
}

/**
 * Makes room and checks limits. The flags the mapping will have, or a negative errno with everything mapped as before
 * (though what was split at the ends stays split).
 * @see mm/vma.c, `__mmap_setup`
 */
function* mmapSetup(current: TaskStruct, mm: MmStruct, mapping: NewMapping, old: VmasToUnmap): Task<number> {
  const { start, end } = mapping;
  const first = mm.vmas.findIntersection(start, end);
  if (first === null) {
    old.prev = mm.vmas.findPrevious(start);
    old.next = mm.vmas.find(end);
  } else {
    const error = yield* vmsGatherMunmapVmas(current, old, first);
    if (error !== 0) return error;
  }
  if (!mayExpandVm(current, mm, mapping.flags, end - start - old.pages)) {
    reattachVmas(old);
    return -ENOMEM;
  }
  if (isAccounted(mapping)) {
    const charge = end - start - old.accountedPages;
    if (securityVmEnoughMemory(mm, charge) !== 0) {
      reattachVmas(old);
      return -ENOMEM;
    }
    old.accountedPages = 0;
  }
  yield* vmsClearPtes(current, old);
  // What the old mappings were promised is free for the new one.
  for (const vma of old.vmas) vmaClose(vma);
  return 0;
}

/** Huge pages have an account of their own. @see mm/vma.c, `accountable_mapping` */
function isAccounted({ flags, file }: NewMapping): boolean {
  return accountableMapping(flags) && (file === null || file.mapping.huge === null);
}

/** The file refused after the old mappings had lost their pages: they go for good. @see mm/vma.c, `vms_abort_munmap_vmas` */
function* abandonOld(current: TaskStruct, mm: MmStruct, old: VmasToUnmap): Task<void> {
  yield mm.treeStore;
  for (const replaced of old.vmas) mm.vmas.remove(replaced.start);
  yield* vmsCompleteMunmapVmas(current, old, false);
}

/** A shared mapping of /dev/zero is shared anonymous memory. @see drivers/char/mem.c, `mmap_zero` */
function isSharedZero({ file, flags }: NewMapping): boolean {
  return file !== null && file.mappedAs === 'anonymous' && (flags & VM_SHARED) !== 0;
}

/** What the file does about a new mapping of it. 0, or -errno with nothing mapped. @see include/linux/fs.h, `vfs_mmap` */
function* callMmap(current: TaskStruct, vma: VmArea, file: MappedFile): Task<number> {
  if (file.mapping.huge !== null) return yield* hugetlbFileMmap(vma);
  if (file.mmap === null) return 0;
  vma.ops = null;
  return yield* file.mmap(current, vma);
}

function operationsOf({ mappings }: MappedFile): VmOperations {
  return mappings === null ? shmemVmOperations : mappings.operations;
}

/** @see mm/vma.c, `__mmap_new_vma` */
function* insertNewVma(
  current: TaskStruct,
  mm: MmStruct,
  mapping: NewMapping,
  flags: number,
  old: VmasToUnmap,
): Task<VmArea | number> {
  const vma = vmAreaAlloc(mm, mapping.start, mapping.end, flags, mapping.flagsHigh, mapping.pgoff);
  if (mapping.file !== null && !isSharedZero(mapping)) {
    vma.file = mapping.file;
    vma.ops = mapping.file.mappedAs === 'anonymous' ? null : operationsOf(mapping.file);
    getFile(mapping.file);
    const error = yield* callMmap(current, vma, mapping.file);
    if (error !== 0) {
      vma.file = null;
      vmAreaFree(vma);
      yield* fput(mm.kernel.frames, mapping.file);
      return error;
    }
  } else if ((flags & VM_SHARED) !== 0) {
    vma.file = shmemZeroSetup(mm.kernel, mapping.end - mapping.start);
    vma.ops = shmemVmOperations;
  }
  const { newVmaVisibleBeforeLocked } = mm.kernel.bugs;
  if (!newVmaVisibleBeforeLocked) vmaInitWriteLocked(mm, vma);
  yield mm.treeStore;
  for (const replaced of old.vmas) mm.vmas.remove(replaced.start);
  mm.vmas.insert(vma);
  if (newVmaVisibleBeforeLocked) vmaMarkAttachedUnlocked(vma);
  else vmaMarkAttached(vma);
  mm.mapCount++;
  yield* vmaLinkFile(current, vma);
  if (!vma.anonymous) yield* khugepagedEnterVma(vma);
  return vma;
}

/**
 * Maps a range of pages, replacing what is there. Needs mmap_lock for writing. Returns 0, -EINVAL (flags that do not go
 * together on this architecture), -ENOMEM (limits) or -EPERM (a sealed VMA is in the way, or the file is sealed).
 */
export function* mmapRegion(current: TaskStruct, mm: MmStruct, mapping: NewMapping): Task<number> {
  const { file } = mapping;
  if (!mm.kernel.arch.validateFlags(mapping.flags, mapping.flagsHigh)) return -EINVAL;
  if (file === null || !isSharedMayWrite(mapping.flags)) return yield* mapRange(current, mm, mapping);
  // Counted beforehand, so that no seal comes between.
  if (!mappingMapWritable(file.mapping)) return -EPERM;
  const error = yield* mapRange(current, mm, mapping);
  mappingUnmapWritable(file.mapping);
  return error;
}

/** The flags that the new mapping has, as its file may want them, or -errno. @see mm/vma.c, `call_mmap_prepare` */
function prepareMapping(
  current: TaskStruct,
  mm: MmStruct,
  mapping: NewMapping,
): { readonly error: number; readonly flags: number } {
  const flags = isAccounted(mapping) ? mapping.flags | VM_ACCOUNT : mapping.flags;
  const mappings = mapping.file?.mappings ?? null;
  return mappings?.prepare(current, mm, flags, mapping.end - mapping.start) ?? { error: 0, flags };
}

/** @see mm/vma.c, `__mmap_region` */
function* mapRange(current: TaskStruct, mm: MmStruct, mapping: NewMapping): Task<number> {
  const { start, end, pgoff, file } = mapping;
  const old = new VmasToUnmap(mm, start, end);
  const error = yield* mmapSetup(current, mm, mapping, old);
  if (error !== 0) return error;
  const prepared = prepareMapping(current, mm, mapping);
  if (prepared.error !== 0) {
    yield* abandonOld(current, mm, old);
    return prepared.error;
  }
  const { flags } = prepared;
  const sharedAnonymous = (file === null && (flags & VM_SHARED) !== 0) || isSharedZero(mapping);
  const huge = file !== null && file.mapping.huge !== null;
  let vma: VmArea | number | null =
    sharedAnonymous || huge
      ? null
      : yield* vmaMergeNewRange(current, {
          mm,
          start,
          end,
          flags,
          flagsHigh: mapping.flagsHigh,
          pgoff,
          file,
          userfaultfd: null,
          anonVma: null,
          prev: old.prev,
          middle: null,
          next: old.next,
          replaced: old.vmas,
        });
  vma ??= yield* insertNewVma(current, mm, mapping, flags, old);
  if (typeof vma === 'number') {
    yield* abandonOld(current, mm, old);
    return vma;
  }
  yield* vmsCompleteMunmapVmas(current, old, false);
  vmStatAccount(mm, vma.flags, end - start);
  if ((flags & VM_LOCKED) !== 0) {
    if (supportsMlock(vma)) mm.lockedVm += end - start;
    else {
      yield* vmaStartWrite(current, mm, vma);
      vma.flags &= ~VM_LOCKED_MASK;
    }
  }
  if (mm.kernel.uprobes !== null) yield* mm.kernel.uprobes.mmap(current, vma);
  return 0;
}

/** @see mm/internal.h, `vma_supports_mlock`, without DAX: hugetlb has VM_DONTEXPAND */
function supportsMlock(vma: VmArea): boolean {
  return (vma.flags & VM_SPECIAL) === 0 && (vma.flagsHigh & VMH_DROPPABLE) === 0;
}
