/**
 * Flags of memfd_create, and the seals that a new file has by them.
 * @see Linux include/uapi/linux/memfd.h; mm/memfd.c, `alloc_file`
 */
import type { AddressSpace } from '../frame/address-space.ts';
import { F_SEAL_EXEC, F_SEAL_SEAL } from './seals.ts';

export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_HUGETLB = 0x4;
export const MFD_NOEXEC_SEAL = 0x8;
export const MFD_EXEC = 0x10;

/** Without MFD_ALLOW_SEALING a file cannot be sealed; with MFD_NOEXEC_SEAL it can, and never be executed. */
export function setMemfdSeals(mapping: AddressSpace, flags: number): void {
  const noExec = (flags & MFD_NOEXEC_SEAL) !== 0;
  mapping.executable = !noExec;
  if (noExec) mapping.seals = F_SEAL_EXEC;
  else if ((flags & MFD_ALLOW_SEALING) === 0) mapping.seals = F_SEAL_SEAL;
}
