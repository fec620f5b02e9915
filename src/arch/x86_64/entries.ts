/**
 * Every paging-structure entry of 4-level and 5-level paging, bit by bit, in the order and with the names of the SDM,
 * and the constants that the walker reads from them once at load. What the bits do is in walker.ts and permissions.ts.
 * Left out: entries with P=0, of which hardware reads nothing but P, and HLAT's restart bit (bit 11, ignored here).
 */
import {
  addressBits,
  bit,
  bits,
  type FieldDeclaration,
  ignoredBits,
  Layout,
  reservedBits,
} from '../../base/layout.ts';

const PRESENT = bit(0, 'present');
const WRITABLE = bit(1, 'writable: writes allowed, if so at every level');
const USER = bit(2, 'user-mode accesses allowed, if so at every level');
const WRITE_THROUGH = bit(3, 'page-level write-through: memory-type index bit 0');
const CACHE_DISABLE = bit(4, 'page-level cache disable: memory-type index bit 1');
const ACCESSED = bit(5, 'accessed; set by the processor when it uses the entry');
const DIRTY = bit(6, 'dirty; set by the processor on a write to the page');
const GLOBAL = bit(8, 'global, if CR4.PGE: the TLB entry survives MOV to CR3');
const EXECUTE_DISABLE = bit(63, 'execute-disable, if EFER.NXE; reserved otherwise');
const PROTECTION_KEY = bits(
  62,
  59,
  'protection key, if CR4.PKE (user-mode pages) or CR4.PKS (supervisor-mode pages)',
);

/** An entry that references the next table. @param bit7 what bit 7 is at this level @param bit8 what bit 8 is */
const table = (title: string, next: string, bit7: FieldDeclaration, bit8: FieldDeclaration) =>
  new Layout(title, {
    P: PRESENT,
    RW: WRITABLE,
    US: USER,
    PWT: WRITE_THROUGH,
    PCD: CACHE_DISABLE,
    A: ACCESSED,
    IGNORED_6: ignoredBits(6, 6),
    PS: bit7,
    BIT_8: bit8,
    IGNORED_11_9: ignoredBits(11, 9),
    TABLE: addressBits(51, 12, `physical address of the ${next}; bits from MAXPHYADDR up are reserved`),
    IGNORED_62_52: ignoredBits(62, 52),
    XD: EXECUTE_DISABLE,
  });

const PS_RESERVED = reservedBits(7, 7, 'must be 0: no page is that large');
const PS_TABLE = bit(7, 'page size: 0, as this entry references a table');
const BIT_8_TOP = ignoredBits(8, 8, 'ignored by Intel; must be 0 on AMD');

/** @see Intel SDM vol. 3A, "Format of a 5-Level Paging PML5 Entry (PML5E) that References a PML4 Table" */
export const PML5E = table('PML5E', 'PML4 table', PS_RESERVED, BIT_8_TOP);

/** @see Intel SDM vol. 3A, "Format of a PML4 Entry (PML4E) that References a Page-Directory-Pointer Table" */
export const PML4E = table('PML4E', 'page-directory-pointer table', PS_RESERVED, BIT_8_TOP);

/** @see Intel SDM vol. 3A, "Format of a Page-Directory-Pointer-Table Entry (PDPTE) that References a Page Directory" */
export const PDPTE = table('PDPTE', 'page directory', PS_TABLE, ignoredBits(8, 8));

/** @see Intel SDM vol. 3A, "Format of a Page-Directory Entry that References a Page Table" */
export const PDE = table('PDE', 'page table', PS_TABLE, ignoredBits(8, 8));

/** @see Intel SDM vol. 3A, "Format of a Page-Directory-Pointer-Table Entry (PDPTE) that Maps a 1-GByte Page" */
export const PDPTE_1G = new Layout('PDPTE (1-GByte page)', {
  P: PRESENT,
  RW: WRITABLE,
  US: USER,
  PWT: WRITE_THROUGH,
  PCD: CACHE_DISABLE,
  A: ACCESSED,
  D: DIRTY,
  PS: bit(7, 'page size: 1, as this entry maps a page; reserved without 1-GByte pages'),
  G: GLOBAL,
  IGNORED_11_9: ignoredBits(11, 9),
  PAT: bit(12, 'memory-type index bit 2'),
  RESERVED_29_13: reservedBits(29, 13),
  PAGE: addressBits(51, 30, 'physical address of the 1-GByte page; bits from MAXPHYADDR up are reserved'),
  IGNORED_58_52: ignoredBits(58, 52),
  PKEY: PROTECTION_KEY,
  XD: EXECUTE_DISABLE,
});

/** @see Intel SDM vol. 3A, "Format of a Page-Directory Entry that Maps a 2-MByte Page" */
export const PDE_2M = new Layout('PDE (2-MByte page)', {
  P: PRESENT,
  RW: WRITABLE,
  US: USER,
  PWT: WRITE_THROUGH,
  PCD: CACHE_DISABLE,
  A: ACCESSED,
  D: DIRTY,
  PS: bit(7, 'page size: 1, as this entry maps a page'),
  G: GLOBAL,
  IGNORED_11_9: ignoredBits(11, 9),
  PAT: bit(12, 'memory-type index bit 2'),
  RESERVED_20_13: reservedBits(20, 13),
  PAGE: addressBits(51, 21, 'physical address of the 2-MByte page; bits from MAXPHYADDR up are reserved'),
  IGNORED_58_52: ignoredBits(58, 52),
  PKEY: PROTECTION_KEY,
  XD: EXECUTE_DISABLE,
});

/** @see Intel SDM vol. 3A, "Format of a Page-Table Entry that Maps a 4-KByte Page" */
export const PTE = new Layout('PTE', {
  P: PRESENT,
  RW: WRITABLE,
  US: USER,
  PWT: WRITE_THROUGH,
  PCD: CACHE_DISABLE,
  A: ACCESSED,
  D: DIRTY,
  PAT: bit(7, 'memory-type index bit 2'),
  G: GLOBAL,
  IGNORED_11_9: ignoredBits(11, 9),
  PAGE: addressBits(51, 12, 'physical address of the 4-KByte page; bits from MAXPHYADDR up are reserved'),
  IGNORED_58_52: ignoredBits(58, 52),
  PKEY: PROTECTION_KEY,
  XD: EXECUTE_DISABLE,
});

/** The bits of the low half that the walker looks at. The high half holds TABLE/PAGE 51:32, PKEY and XD. */
export const Entry = {
  P: PTE.half('P').lo,
  RW: PTE.half('RW').lo,
  US: PTE.half('US').lo,
  A: PTE.half('A').lo,
  D: PTE.half('D').lo,
  PS: PDE_2M.half('PS').lo,
  G: PTE.half('G').lo,
  /** Bits 31:12 of a table's or 4-KByte page's address. */
  ADDRESS_LOW: PTE.half('PAGE').lo,
  /** Bits 51:32 of an address, in the high half. */
  ADDRESS_HIGH: PTE.half('PAGE').hi,
  XD_HIGH: PTE.half('XD').hi,
  BIT_8: PML4E.half('BIT_8').lo,
  RESERVED_2M: PDE_2M.half('RESERVED_20_13').lo,
  RESERVED_1G: PDPTE_1G.half('RESERVED_29_13').lo,
} as const;

/** The layout of an entry, by its level (1: PTE … 5: PML5E) and whether it maps a page. */
export function entryLayout(level: number, mapsPage: boolean): Layout {
  if (level === 1) return PTE;
  if (level === 2) return mapsPage ? PDE_2M : PDE;
  if (level === 3) return mapsPage ? PDPTE_1G : PDPTE;
  return level === 4 ? PML4E : PML5E;
}

/** Does a present entry of this level map a page? (A PML4E or PML5E never does: PS is reserved there.) */
export function mapsPage(level: number, entryLo: number): boolean {
  return level === 1 || (level <= 3 && (entryLo & Entry.PS) !== 0);
}

/** log2 of the bytes that an entry of a level covers: 12, 21, 30, 39, 48. */
export const levelShift = (level: number): number => 12 + 9 * (level - 1);

/** The manual's names of the levels, by level. */
export const LEVEL_NAMES = ['', 'PTE', 'PDE', 'PDPTE', 'PML4E', 'PML5E'] as const;
