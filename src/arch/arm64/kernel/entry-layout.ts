/**
 * Page-table entries as Linux uses them on arm64: the hardware's fields by Linux's names, and what Linux puts into the
 * bits that the hardware leaves to software. The hardware's own view of each level is in `../entries.ts`.
 * @see Linux arch/arm64/include/asm/pgtable-prot.h and pgtable-hwdef.h, as of 6.18
 */
import {
  addressBits,
  bit,
  bits,
  type FieldDeclaration,
  ignoredBits,
  Layout,
  reservedBits,
} from '../../../base/layout.ts';
import type { GranuleShift } from '../entries.ts';

type AttributeName =
  | 'VALID'
  | 'TYPE'
  | 'ATTRINDX'
  | 'NS'
  | 'USER'
  | 'RDONLY'
  | 'AF'
  | 'NG'
  | 'GP'
  | 'WRITE'
  | 'CONT'
  | 'PXN'
  | 'UXN'
  | 'DIRTY'
  | 'SPECIAL'
  | 'FREE_57'
  | 'UFFD_WP'
  | 'FREE_59'
  | 'PO_IDX'
  | 'FREE_63';

const ATTRIBUTES: Readonly<Record<AttributeName, FieldDeclaration>> = {
  VALID: bit(0, 'valid to the hardware'),
  TYPE: bit(1, 'last level: always 1; above: 1 a table, 0 a leaf'),
  ATTRINDX: bits(4, 2, 'index of the memory type in MAIR_EL1'),
  NS: bit(5, 'Secure state only'),
  USER: bit(6, 'AP[1]: data accesses at EL0'),
  RDONLY: bit(7, 'AP[2]: read-only; with WRITE: clean'),
  AF: bit(10, 'accessed'),
  NG: bit(11, 'not global; with VALID = 0: present to Linux all the same (PTE_PRESENT_INVALID)'),
  GP: bit(50, 'guarded page (BTI)'),
  WRITE: bit(51, 'DBM: writable, and the hardware clears RDONLY at the first write'),
  CONT: bit(52, 'one of a run of 16 (4 KiB), 128 (16 KiB) or 32 (64 KiB) entries alike'),
  PXN: bit(53, 'no execution at EL1'),
  UXN: bit(54, 'no execution at EL0'),
  DIRTY: bit(55, 'dirty, as software noted it'),
  SPECIAL: bit(56, 'no struct page to count: zero page, pfn mapping'),
  FREE_57: ignoredBits(57, 57, 'not used since 6.17 (DEVMAP before)'),
  UFFD_WP: bit(58, 'write-protected by userfaultfd'),
  FREE_59: ignoredBits(59, 59, 'not used'),
  PO_IDX: bits(62, 60, 'permission overlay index (protection key)'),
  FREE_63: ignoredBits(63, 63, 'not used'),
};

/** Where the output address of 48 or 52 bits stands, beside bits 47:granule. */
type AddressName = 'ADDRESS' | 'SH' | 'ADDRESS_51_50' | 'ADDRESS_51_48' | 'RES0_49_48' | 'RES0_LOW';

function addressFields(
  granule: GranuleShift,
  addressSize: 48 | 52,
): Partial<Record<AddressName, FieldDeclaration>> {
  const wideLow = addressSize === 52 && granule !== 16;
  const wideBits = addressSize === 52 && granule === 16;
  return {
    ADDRESS: addressBits(wideLow ? 49 : 47, granule, 'frame address'),
    ...(wideLow
      ? { ADDRESS_51_50: bits(9, 8, 'frame address, bits 51:50') }
      : { SH: bits(9, 8, 'shareability'), RES0_49_48: reservedBits(49, 48, 'RES0') }),
    ...(wideBits ? { ADDRESS_51_48: bits(15, 12, 'frame address, bits 51:48') } : {}),
    ...(!wideBits && granule > 12 ? { RES0_LOW: reservedBits(granule - 1, 12, 'RES0') } : {}),
  };
}

/** A leaf that is valid, or present without being valid (PROT_NONE). */
export function linuxPteLayout(
  granule: GranuleShift,
  addressSize: 48 | 52,
): Layout<AttributeName | AddressName> {
  const fields = { ...ATTRIBUTES, ...addressFields(granule, addressSize) };
  return new Layout(
    `arm64 pte of Linux, ${2 ** (granule - 10)} KiB granule, ${addressSize}-bit addresses`,
    fields as Record<AttributeName | AddressName, FieldDeclaration>,
  );
}

/** The bits that stand at the same place in every format. */
export const LINUX_PTE = linuxPteLayout(12, 48);

/** An entry that is neither present nor none. */
export const LINUX_SWAP_PTE = new Layout('arm64 swap entry of Linux', {
  VALID: reservedBits(0, 0, 'must be 0'),
  TYPE_BIT: reservedBits(1, 1, 'must be 0'),
  SWP_EXCLUSIVE: bit(2, 'exclusive anonymous page'),
  SWP_UFFD_WP: bit(3, 'write-protected by userfaultfd'),
  FREE_5_4: ignoredBits(5, 4, 'not used'),
  TYPE: bits(10, 6, 'swap type'),
  PRESENT_INVALID: reservedBits(11, 11, 'must be 0: tells a PROT_NONE page'),
  OFFSET: bits(61, 12, 'swap offset'),
  FREE_63_62: ignoredBits(63, 62, 'not used'),
});

/** What Linux writes into an entry that points to a table of user memory. */
export const LINUX_TABLE = new Layout('arm64 table entry of Linux', {
  VALID: bit(0, 'valid'),
  TYPE: bit(1, 'a table'),
  FREE_9_2: ignoredBits(9, 2, 'ignored, or address bits with LPA2'),
  AF: bit(10, 'Access flag of the table (FEAT_HAFT); always set'),
  FREE_11: ignoredBits(11, 11, 'ignored'),
  ADDRESS: addressBits(50, 12, 'table address'),
  FREE_58_51: ignoredBits(58, 51, 'ignored'),
  PXN: bit(59, 'no execution at EL1 below: set in tables of user memory'),
  UXN: bit(60, 'no execution at EL0 below: set in tables of the kernel'),
  AP: bits(62, 61, 'limits of access permissions below: not used'),
  NS: bit(63, 'Secure state only'),
});

/** MAIR_EL1 indexes of Linux. @see arch/arm64/include/asm/memory.h, MT_NORMAL and the others */
export const MemoryTypeIndex = {
  Normal: 0,
  NormalTagged: 1,
  NormalNonCacheable: 2,
  DeviceNGnRnE: 3,
  DeviceNGnRE: 4,
} as const;
