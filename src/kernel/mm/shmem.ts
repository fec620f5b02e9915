/**
 * Shared anonymous memory: an unlinked tmpfs file behind each mmap(MAP_SHARED | MAP_ANONYMOUS), which forked processes
 * share. Its size is that of the mapping and never changes, so what mremap adds to the mapping lies beyond its end.
 * Left out: swapping, huge pages, reservation of the object's pages at mmap (it is made with VM_NORESERVE).
 * @see Linux mm/shmem.c, `shmem_zero_setup`
 */
import { AddressSpace } from '../frame/address-space.ts';
import type { Kernel } from '../kernel.ts';
import { MappedFile } from './mapped-file.ts';
import type { VmOperations } from './vma.ts';

/** @see mm/shmem.c, `shmem_anon_vm_ops` and `shmem_vm_ops`: the two differ in their name only. */
export const shmemVmOperations: VmOperations = { name: 'shmem', hasClose: false, hasMapPages: true };

/** The object of a shared anonymous mapping of `pages` pages, with one reference, for its VMA. */
export function shmemZeroSetup(kernel: Kernel, pages: number): MappedFile {
  const name = `dev/zero ${kernel.nextSerial('shmem')}`;
  return new MappedFile({
    name,
    mapping: new AddressSpace(`i_pages ${name}`, pages * 4096, true),
    readable: true,
    writable: true,
    kind: 'shmem',
  });
}
