/**
 * The arm64 words that `tablewalk decode` explains: TCR_EL1 here, stage 1 descriptors in decode-descriptor.ts, ESR_EL1 in
 * decode-syndrome.ts, the other registers in register-kinds.ts, operands of TLBI in operand-kinds.ts, tag instructions in
 * instruction-kind.ts.
 */
import type { FieldValue } from '../../base/layout.ts';
import { type DecodeKind, decodeWith } from '../decode-kind.ts';
import { SHAREABILITY_WORDS } from './attribute-words.ts';
import { DESCRIPTOR_KIND } from './decode-descriptor.ts';
import { ESR_KIND } from './decode-syndrome.ts';
import { MTE_INSTRUCTION_KIND } from './instruction-kind.ts';
import { ARM64_OPERAND_KINDS } from './operand-kinds.ts';
import { ARM64_REGISTER_KINDS } from './register-kinds.ts';
import { TCR_EL1 } from './registers.ts';

const TG0 = ['4 KiB', '64 KiB', '16 KiB', 'reserved'];
const TG1 = ['reserved', '16 KiB', '4 KiB', '64 KiB'];
const IPS = [
  '32 bits',
  '36 bits',
  '40 bits',
  '42 bits',
  '44 bits',
  '48 bits',
  '52 bits',
  '56 bits (FEAT_D128)',
];
const CACHEABILITY = [
  'non-cacheable',
  'write-back, read-allocate, write-allocate',
  'write-through, read-allocate, no write-allocate',
  'write-back, read-allocate, no write-allocate',
];

const tcrWords = ({ name, value }: FieldValue): string | null => {
  const index = Number(value);
  if (name === 'TG0') return TG0[index] ?? null;
  if (name === 'TG1') return TG1[index] ?? null;
  if (name === 'IPS') return IPS[index] ?? null;
  if (name.startsWith('SH')) return SHAREABILITY_WORDS[index] ?? null;
  if (/^[IO]RGN[01]$/.test(name)) return CACHEABILITY[index] ?? null;
  if (!/^T[01]SZ$/.test(name)) return null;
  return index < SMALLEST_TXSZ_52 || index > LARGEST_TXSZ_TTST
    ? 'out of range'
    : `${64n - value}-bit addresses`;
};

/** The range of T0SZ and T1SZ. @see Arm ARM (DDI 0487), "TCR_EL1", field T0SZ; FEAT_LVA, FEAT_LPA2, FEAT_TTST */
const SMALLEST_TXSZ_52 = 12;
const SMALLEST_TXSZ = 16;
const LARGEST_TXSZ = 39;
const LARGEST_TXSZ_TTST = 48;
const GRANULE_64K_TG0 = 1;
const GRANULE_64K_TG1 = 3;

/** What a T0SZ or T1SZ needs, or that no processor takes it. Without walks (EPDn = 1) the field is not used. */
function regionSizeRemarks(value: bigint, half: 0 | 1): string[] {
  if (TCR_EL1.has(value, `EPD${half}`)) return [];
  const size = Number(TCR_EL1.get(value, `T${half}SZ`));
  const field = `T${half}SZ = ${size}`;
  const granule64k =
    Number(TCR_EL1.get(value, `TG${half}`)) === (half === 0 ? GRANULE_64K_TG0 : GRANULE_64K_TG1);
  const largest = granule64k ? LARGEST_TXSZ_TTST - 1 : LARGEST_TXSZ_TTST;
  if (size < SMALLEST_TXSZ_52 || size > largest) {
    return [
      `${field} is out of range (${SMALLEST_TXSZ_52} to ${largest}): a Translation fault, or it acts as the nearest value in range`,
    ];
  }
  if (size < SMALLEST_TXSZ) {
    if (granule64k) return [`${field} needs 52-bit virtual addresses (FEAT_LVA)`];
    return TCR_EL1.has(value, 'DS')
      ? []
      : [`${field} is out of range with this granule while DS = 0 (at least ${SMALLEST_TXSZ})`];
  }
  return size > LARGEST_TXSZ ? [`${field} needs small translation tables (FEAT_TTST)`] : [];
}

function tcrRemarks(value: bigint): string[] {
  const remarks: string[] = [];
  if (TCR_EL1.has(value, 'HD') && !TCR_EL1.has(value, 'HA'))
    remarks.push('HD = 1 has no effect while HA = 0');
  if (TCR_EL1.has(value, 'EPD0'))
    remarks.push('EPD0 = 1: T0SZ, TG0 and the walk attributes of TTBR0_EL1 are not used for walks');
  if (TCR_EL1.has(value, 'EPD1'))
    remarks.push('EPD1 = 1: T1SZ, TG1 and the walk attributes of TTBR1_EL1 are not used for walks');
  remarks.push(...regionSizeRemarks(value, 0), ...regionSizeRemarks(value, 1));
  return remarks;
}

export const ARM64_DECODE_KINDS: readonly DecodeKind[] = [
  DESCRIPTOR_KIND,
  ESR_KIND,
  {
    name: 'tcr_el1',
    summary: 'TCR_EL1, control of the EL1&0 stage 1 translation',
    width: 64,
    options: [],
    example: '0x5f5b5503510',
    decode: (value) => {
      const source = 'Arm ARM (DDI 0487), "TCR_EL1, Translation Control Register (EL1)"';
      return decodeWith('tcr_el1', TCR_EL1, value, source, tcrWords, tcrRemarks(value));
    },
  },
  ...ARM64_REGISTER_KINDS,
  ...ARM64_OPERAND_KINDS,
  MTE_INSTRUCTION_KIND,
];
