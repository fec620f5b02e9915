/**
 * The four lowest bits of a VMA's flag word, as an architecture needs them: what may be done, and shared or private.
 * Linux gives them the same values on every architecture (include/linux/mm.h). The full set is the kernel's
 * (`src/kernel/mm/vma-flags.ts`), which this layer may not see.
 */
export const VmAccess = {
  Read: 0x1,
  Write: 0x2,
  Exec: 0x4,
  Shared: 0x8,
} as const;
