/**
 * Which tmpfs objects may have huge pages: /sys/kernel/mm/transparent_hugepage/shmem_enabled for those on the kernel's
 * own mount (memfd, shared anonymous memory); a named file is on a mount without the option huge=, and has them only
 * where they are forced.
 * Left out: sizes other than that of a pmd (their default is never), the mount option huge=.
 * @see Linux mm/shmem.c, `shmem_allowable_huge_orders`, `shmem_huge_global_enabled`, `shmem_get_orders_within_size`
 */
import type { AddressSpace } from '../../frame/address-space.ts';
import type { Kernel } from '../../kernel.ts';
import { hugePages } from '../page-table.ts';
import { VM_HUGEPAGE } from '../vma-flags.ts';

/**
 * May the huge page around page `index` of the object be one?
 * @param vmFlags of the VMA for which it is asked
 * @param forced MADV_COLLAPSE, which only `deny` stops
 */
export function shmemAllowsHugePage(
  { config, pageTables }: Kernel,
  mapping: AddressSpace,
  index: number,
  vmFlags: number,
  forced: boolean,
): boolean {
  const { shmemEnabled } = config;
  if (shmemEnabled === 'deny') return false;
  if (forced || shmemEnabled === 'force') return true;
  if (!mapping.internalMount || shmemEnabled === 'never') return false;
  if (shmemEnabled === 'always') return true;
  const pages = hugePages(pageTables);
  const end = (Math.floor(index / pages) + 1) * pages;
  if (shmemEnabled === 'within_size' && mapping.sizePages >= end) return true;
  return (vmFlags & VM_HUGEPAGE) !== 0;
}
