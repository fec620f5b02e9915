/**
 * May this VMA be got at all with these flags? The order of the checks decides the errno.
 * Left out: fs-dax files, which no modelled file system has.
 * @see Linux mm/gup.c, `check_vma_flags`, `writable_file_mapping_allowed`; mm/vma.c, `vma_needs_dirty_tracking`
 */
import { EFAULT, EOPNOTSUPP } from '../errno.ts';
import { vmaIsSecretmem } from '../mm/secretmem-vma.ts';
import type { VmArea } from '../mm/vma.ts';
import {
  isCowMapping,
  VM_HUGETLB,
  VM_IO,
  VM_MAYREAD,
  VM_PFNMAP,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
} from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_ANON,
  FOLL_FORCE,
  FOLL_LONGTERM,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_SPLIT_PMD,
  FOLL_WRITE,
} from './foll-flags.ts';

/** 0, -EFAULT or -EOPNOTSUPP. */
export function checkVmaFlags(current: TaskStruct, vma: VmArea, gupFlags: number): number {
  current.kernel.gupWatcher?.(current, vma, gupFlags);
  const { flags } = vma;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  if ((flags & (VM_IO | VM_PFNMAP)) !== 0) return -EFAULT;
  if ((gupFlags & FOLL_ANON) !== 0 && !vma.anonymous) return -EFAULT;
  if ((gupFlags & FOLL_SPLIT_PMD) !== 0 && (flags & VM_HUGETLB) !== 0) return -EOPNOTSUPP;
  // The kernel has no mapping of it to copy through.
  if (vmaIsSecretmem(vma)) return -EFAULT;
  if (write && !writableFileMappingAllowed(vma, gupFlags)) return -EFAULT;
  if (write ? !isWriteAllowed(vma, gupFlags) : !isReadAllowed(flags, gupFlags)) return -EFAULT;
  // A protection key is the business of the thread that runs; it says nothing about another address space.
  const foreign = (gupFlags & FOLL_REMOTE) !== 0 || current.mm !== vma.mm;
  const { arch } = current.kernel;
  const permitted = arch.vmaAccessPermitted(current.cpu, flags, vma.flagsHigh, write, false, foreign);
  return permitted ? 0 : -EFAULT;
}

/**
 * May the page be written behind the file system's back, for long? Not where that keeps track of dirty pages, in a shared
 * writable mapping: it would never hear of what a device writes. Memory (tmpfs, huge pages) needs no track.
 */
function writableFileMappingAllowed(vma: VmArea, gupFlags: number): boolean {
  if ((gupFlags & (FOLL_PIN | FOLL_LONGTERM)) !== (FOLL_PIN | FOLL_LONGTERM) || vma.anonymous) return true;
  if ((vma.flags & (VM_WRITE | VM_SHARED)) !== (VM_WRITE | VM_SHARED)) return true;
  const mapping = vma.file?.mapping;
  return mapping === undefined || mapping.shmem || mapping.huge !== null;
}

/** A write to a page that is mapped private is forced by copying it; a shared page is never forced. */
function isWriteAllowed(vma: VmArea, gupFlags: number): boolean {
  const shadowStack = (vma.flagsHigh & vma.mm.kernel.arch.vmShadowStackHigh) !== 0;
  if ((vma.flags & VM_WRITE) !== 0 && !shadowStack) return true;
  if ((gupFlags & FOLL_FORCE) === 0) return false;
  return isCowMapping(vma.flags);
}

function isReadAllowed(vmFlags: number, gupFlags: number): boolean {
  if ((vmFlags & VM_READ) !== 0) return true;
  // Execute-only mappings are read like this too: x86 hardware cannot forbid it, Linux still does.
  return (gupFlags & FOLL_FORCE) !== 0 && (vmFlags & VM_MAYREAD) !== 0;
}
