/**
 * What a moved or grown mapping counts for: memory that is promised, the sizes by kind, locked memory.
 * @see Linux mm/mremap.c, `vrm_calc_charge`, `vrm_stat_account`
 */
import { vmStatAccount } from './mm.ts';
import type { MremapOperation } from './mremap-operation.ts';
import { securityVmEnoughMemory } from './overcommit.ts';
import { VM_ACCOUNT, VM_LOCKED } from './vma-flags.ts';

/** Charges what the operation adds. False: there is not enough memory. @see `vrm_calc_charge` */
export function chargeMremap(operation: MremapOperation): boolean {
  if ((operation.mapped.flags & VM_ACCOUNT) === 0) return true;
  const pages = operation.dontUnmap ? operation.newPages : operation.delta;
  if (securityVmEnoughMemory(operation.mm, pages) !== 0) return false;
  operation.charged = pages;
  return true;
}

/** Counts `pages` more of the VMA. @see `vrm_stat_account` */
export function accountMremap({ mm, mapped }: MremapOperation, pages: number): void {
  vmStatAccount(mm, mapped.flags, pages);
  if ((mapped.flags & VM_LOCKED) !== 0) mm.lockedVm += pages;
}
