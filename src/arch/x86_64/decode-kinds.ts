/**
 * The x86-64 words that `tablewalk decode` explains: paging-structure entries (with what Linux keeps in the bits the
 * hardware does not look at), control registers, MSRs, the page-fault error code and the INVPCID descriptor.
 */
import type { Layout } from '../../base/layout.ts';
import { hex, lowHalf, maskOf } from '../../base/u64.ts';
import { bitRange, type Decoded, type DecodeKind, type DecodeOptions, decodeWith } from '../decode-kind.ts';
import { Entry, entryLayout, LEVEL_NAMES, mapsPage, PDE_2M, PDPTE_1G, PTE } from './entries.ts';
import { fieldWords } from './explain-rules.ts';
import { linuxRemarks } from './kernel/entry-remarks.ts';
import { memoryTypeName, patIndex, patType } from './memory-type.ts';
import { physicalWidth, REGISTER_KINDS } from './register-kinds.ts';
import { PAT_AT_RESET } from './registers.ts';

/** Bits of a present entry that the processor refuses, with the rule: any access that uses the entry faults. */
function reservedBitRemarks(layout: Layout, level: number, value: bigint, options: DecodeOptions): string[] {
  const remarks = layout
    .decode(value)
    .filter((field) => field.kind === 'reserved' && field.value !== 0n)
    .map(
      ({ high, low, value: bits }) =>
        `reserved ${bitRange(high, low)} not zero: ${hex(bits)}; a #PF with RSVD`,
    );
  const width = physicalWidth(options);
  const above = width < 52 ? value & maskOf(51, width) : 0n;
  if (above !== 0n) {
    remarks.push(
      `address ${bitRange(51, width)} reserved (MAXPHYADDR ${width}), not zero: ${hex(above)}; a #PF with RSVD`,
    );
  }
  if (options.nxe === false && PTE.has(value, 'XD')) {
    remarks.push('XD is reserved while EFER.NXE = 0; a #PF with RSVD');
  }
  if (level >= 4 && options.vendor === 'amd' && (lowHalf(value) & Entry.BIT_8) !== 0) {
    remarks.push('bit 8 must be 0 on AMD; a #PF with RSVD');
  }
  return remarks;
}

/** What a present leaf allows and how it is cached. */
function leafRemarks(level: number, value: bigint): string[] {
  const remarks: string[] = [];
  const patBit = level === 1 ? PTE.has(value, 'PAT') : PDE_2M.has(value, 'PAT');
  const index = patIndex(patBit, PTE.has(value, 'PCD'), PTE.has(value, 'PWT'));
  const type = memoryTypeName(patType(PAT_AT_RESET, index));
  remarks.push(
    `memory type from IA32_PAT field PA${index} (${type} in its reset value), combined with the MTRRs`,
  );
  if (PTE.has(value, 'D') && !PTE.has(value, 'RW')) {
    remarks.push('D = 1 with R/W = 0: a shadow-stack page, if CR4.CET = 1 and R/W = 1 in every entry above');
  }
  return remarks;
}

function accessRemark(value: bigint): string {
  const who = PTE.has(value, 'US') ? 'user-mode and supervisor-mode' : 'supervisor-mode only';
  const write = PTE.has(value, 'RW') ? 'reads and writes' : 'reads';
  const fetch = PTE.has(value, 'XD') ? 'no fetches' : 'fetches';
  return `this entry allows: ${who}, ${write}, ${fetch}; the translation allows what every level allows`;
}

/** The manual's table of each form, by title of the layout. */
const FORMAT_TABLES: Readonly<Record<string, string>> = {
  PML5E: 'Format of a PML5 Entry (PML5E) that References a PML4 Table',
  PML4E: 'Format of a PML4 Entry (PML4E) that References a Page-Directory-Pointer Table',
  PDPTE: 'Format of a Page-Directory-Pointer-Table Entry (PDPTE) that References a Page Directory',
  'PDPTE (1-GByte page)': 'Format of a Page-Directory-Pointer-Table Entry (PDPTE) that Maps a 1-GByte Page',
  PDE: 'Format of a Page-Directory Entry that References a Page Table',
  'PDE (2-MByte page)': 'Format of a Page-Directory Entry that Maps a 2-MByte Page',
  PTE: 'Format of a Page-Table Entry that Maps a 4-KByte Page',
};

/** Decodes an entry of a level. @param forced the form to use whatever PS says; null follows PS */
function decodeEntry(
  kind: string,
  level: number,
  forced: boolean | null,
  value: bigint,
  options: DecodeOptions,
): Decoded {
  const bySize = mapsPage(level, lowHalf(value));
  const present = PTE.has(value, 'P');
  const leaf = forced ?? bySize;
  const layout = entryLayout(level, leaf);
  const source = `Intel SDM vol. 3A, "${FORMAT_TABLES[layout.title]}"`;
  if (!present) {
    const remarks = ['P = 0: not present; the hardware looks at no other bit', ...linuxRemarks(value, level)];
    return { ...decodeWith(kind, layout, value, source, fieldWords), remarks };
  }
  const remarks = [
    ...presentRemarks(level, forced !== null && forced !== bySize, value, options),
    ...linuxRemarks(value, level),
  ];
  return { ...decodeWith(kind, layout, value, source, fieldWords), remarks };
}

/** Remarks on an entry with P = 1, by the form that PS gives it. @param otherForm not the form asked for */
function presentRemarks(level: number, otherForm: boolean, value: bigint, options: DecodeOptions): string[] {
  const leaf = mapsPage(level, lowHalf(value));
  const remarks: string[] = [];
  if (otherForm) {
    const form = leaf ? 'maps a page' : 'references a table';
    remarks.push(
      `PS = ${leaf ? 1 : 0}: as a ${LEVEL_NAMES[level]} this entry ${form}, it is not of the form asked for`,
    );
  }
  const refused = reservedBitRemarks(entryLayout(level, leaf), level, value, options);
  if (refused.length > 0) return [...remarks, ...refused];
  remarks.push(accessRemark(value));
  if (level === 3 && leaf) remarks.push('PS = 1 is reserved on a processor without 1-GByte pages');
  if (leaf) remarks.push(...leafRemarks(level, value));
  return remarks;
}

function entryKind(
  name: string,
  level: number,
  layout: Layout,
  forced: boolean | null,
  example: string,
): DecodeKind {
  const kind = `x86_64.${name}`;
  return {
    name: kind,
    summary:
      forced === null && (level === 2 || level === 3)
        ? `${LEVEL_NAMES[level]}, form chosen by PS`
        : layout.title,
    width: 64,
    options: ['maxPhysAddr', 'nxe', 'vendor'],
    example,
    decode: (value, options) => decodeEntry(kind, level, forced, value, options),
  };
}

const ENTRY_KINDS: readonly DecodeKind[] = [
  entryKind('pml5e', 5, entryLayout(5, false), null, '0x102003067'),
  entryKind('pml4e', 4, entryLayout(4, false), null, '0x102004067'),
  entryKind('pdpte', 3, entryLayout(3, false), null, '0x102005067'),
  entryKind('pdpte-1g', 3, PDPTE_1G, true, '0x80000000c00000e3'),
  entryKind('pde', 2, entryLayout(2, false), null, '0x102006067'),
  entryKind('pde-2m', 2, PDE_2M, true, '0x80000000054000e7'),
  entryKind('pte', 1, PTE, true, '0x8000000012345067'),
];

/** Every x86-64 kind. */
export const X86_64_DECODE_KINDS: readonly DecodeKind[] = [...ENTRY_KINDS, ...REGISTER_KINDS];
