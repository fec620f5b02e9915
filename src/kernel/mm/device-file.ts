/**
 * A character device with memory that programs map: a frame buffer, the registers of a card. Three drivers, which differ in
 * when they fill a mapping and in what they call it.
 * Left out: read and write, devices whose registers do something when they are touched.
 * @see Linux drivers/char/mem.c, `mmap_mem`, `mmap_mem_ops`; drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_core_mmap`,
 * `vfio_pci_mmap_fault`; drivers/gpu/drm/ttm/ttm_bo_vm.c
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import type { Kernel } from '../kernel.ts';
import { VM_FAULT_SIGBUS } from './fault/fault-flags.ts';
import type { VmFault } from './fault/vm-fault.ts';
import { genericAccessPhys } from './generic-access-phys.ts';
import { type FileMmap, MappedFile } from './mapped-file.ts';
import { VM_OF_DEVICE, vmfInsertPfn, vmIomapMemory } from './remap-pfn.ts';
import type { VmOperations } from './vma.ts';
import { VM_DONTDUMP, VM_MIXEDMAP, VM_SHARED } from './vma-flags.ts';

/**
 * `remap`: mmap maps all of it (`remap_pfn_range`). `fault`: each page when it is touched, in shared VM_PFNMAP mappings only
 * (`vmf_insert_pfn`). `mixed`: the same in VM_MIXEDMAP ones, which may be private (`vmf_insert_mixed`).
 */
export type DeviceFill = 'remap' | 'fault' | 'mixed';

export interface DeviceMemoryInit {
  readonly pages: number;
  readonly fill: DeviceFill;
  /** `vm_ops->access` is `generic_access_phys`; else debuggers see nothing. */
  readonly access: boolean;
  /** Mapped with `pgprot_noncached`; else as ordinary memory. */
  readonly noncached: boolean;
}

/** A new device with memory of its own, opened for reading and writing. */
export class DeviceFile extends MappedFile {
  readonly firstFrame: number;
  readonly pages: number;

  constructor(kernel: Kernel, init: DeviceMemoryInit) {
    const name = `/dev/device${kernel.nextSerial('device')}`;
    const firstFrame = kernel.ioMemory.add(init.pages);
    super({
      name,
      mapping: new AddressSpace(`i_pages ${name}`, 0, false),
      readable: true,
      writable: true,
      kind: name,
      mmap: mmapOf(firstFrame, init),
    });
    this.firstFrame = firstFrame;
    this.pages = init.pages;
  }
}

function operationsOf(
  firstFrame: number,
  { pages, fill, access, noncached }: DeviceMemoryInit,
): VmOperations {
  const base = { name: `device (${fill})`, hasClose: false, hasMapPages: false, noncached };
  const debugged = access ? { access: genericAccessPhys } : {};
  if (fill === 'remap') return { ...base, ...debugged };
  return { ...base, ...debugged, fault: (fault) => insertPage(fault, firstFrame, pages) };
}

function* insertPage(fault: VmFault, firstFrame: number, pages: number): Task<number> {
  if (fault.pgoff >= pages) return VM_FAULT_SIGBUS;
  return yield* vmfInsertPfn(fault, firstFrame + fault.pgoff);
}

/** 0, -EINVAL (beyond the device's end; private, with `fault`) or -ENOMEM. */
function mmapOf(firstFrame: number, init: DeviceMemoryInit): FileMmap {
  const { pages, fill } = init;
  const operations = operationsOf(firstFrame, init);
  return function* (current, vma) {
    vma.ops = operations;
    if (fill === 'remap') return yield* vmIomapMemory(current, vma, firstFrame, pages);
    if (vma.pgoff > pages || vma.pages > pages - vma.pgoff) return -EINVAL;
    if (fill === 'fault' && (vma.flags & VM_SHARED) === 0) return -EINVAL;
    vma.flags |= fill === 'fault' ? VM_OF_DEVICE : VM_MIXEDMAP | VM_DONTDUMP;
    return 0;
  };
}
