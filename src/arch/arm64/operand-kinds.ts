/** The register operands of TLBI instructions, as `tablewalk decode` explains them: which addresses they name. */
import type { FieldValue } from '../../base/layout.ts';
import { hex } from '../../base/u64.ts';
import { type DecodeKind, decodeWith, type FieldWords } from '../decode-kind.ts';
import { ARM64_COMPLETE } from './features.ts';
import { tlbiNamed } from './tlbi.ts';
import {
  ANY_LEVEL,
  TLBI_ADDRESS,
  TLBI_ASID,
  TLBI_RANGE,
  type TlbiScope,
  tlbiScope,
} from './tlbi-operands.ts';

const GRANULES = ['no hint', '4 KiB', '16 KiB', '64 KiB'];
const RANGE_GRANULES = ['reserved', '4 KiB', '16 KiB', '64 KiB'];
const GRANULE_4K = 1;
const GRANULE_16K = 2;

/**
 * A level hint. One that is reserved, or needs a feature that is not there, is as none.
 * @see Arm ARM (DDI 0487), "TTL field encodings in TLB instructions that apply to a single address"
 */
function hintWords(field: number): string {
  const [granule, level] = [field >> 2, field & 3];
  if (granule === 0) return level === 0 ? 'no hint' : 'no hint: bits 45:44 are not looked at';
  const words = `${GRANULES[granule]}, level ${level}`;
  if (level === 0) {
    return granule === GRANULE_4K
      ? `${words} with FEAT_LPA2, otherwise as no hint`
      : `${words}: reserved, as no hint`;
  }
  return granule === GRANULE_16K && level === 1 ? `${words} with FEAT_LPA2, otherwise as no hint` : words;
}

/** Low bits of VA that are RES0 and not looked at with the granule of the hint; others go by TCR_EL1. */
function granuleRemarks(value: bigint): string[] {
  const granule = Number(TLBI_ADDRESS.get(value, 'TTL')) >> 2;
  if (granule === GRANULE_4K) return [];
  if (granule === 0) {
    return ['where the granule is 16 KiB, bits 13:12 of the address are not looked at; 64 KiB: bits 15:12'];
  }
  const high = granule === GRANULE_16K ? 13 : 15;
  const low = TLBI_ADDRESS.get(value, 'VA') & ((1n << BigInt(high - 11)) - 1n);
  const text = `bits ${high}:12 of the address are RES0 with a ${GRANULES[granule]} granule and not looked at`;
  return [low === 0n ? text : `${text}: 0x${(low << 12n).toString(16)} is ignored`];
}

const addressWords = ({ name, value }: FieldValue): string | null => {
  if (name === 'TTL') return hintWords(Number(value));
  return name === 'VA' ? `address ${hex(canonical(Number(value)))}` : null;
};

/** The address of VA[55:12], bits 63:56 as bit 55. */
function canonical(page: number): bigint {
  const address = BigInt(page) << 12n;
  return page >= 2 ** 43 ? address | (0xffn << 56n) : address;
}

/** @see Arm ARM (DDI 0487), "TTL field encodings in TLB instructions that apply to a range of addresses" */
function rangeHintWords(level: number, granule: number): string {
  if (level === 0) return 'any level';
  return level === 1 && granule === GRANULE_16K
    ? 'level 1 with FEAT_LPA2, otherwise as no hint'
    : `level ${level}`;
}

const rangeWords =
  (operand: bigint): FieldWords =>
  ({ name, value }) => {
    if (name === 'TG') return RANGE_GRANULES[Number(value)];
    return name === 'TTL' ? rangeHintWords(Number(value), Number(TLBI_RANGE.get(operand, 'TG'))) : null;
  };

/** What a scope covers, and what is wrong with it. */
function scopeRemarks({ first, last, level, unpredictable }: TlbiScope): string[] {
  const remarks: string[] = [];
  if (last >= first) {
    const end = canonical(last) | 0xfffn;
    const hint = level === ANY_LEVEL ? '' : `, leaves of level ${level} only`;
    remarks.push(`${hex(canonical(first))} to ${hex(end)}${hint}`);
  }
  if (unpredictable !== null) remarks.push(`CONSTRAINED UNPREDICTABLE: ${unpredictable}`);
  return remarks;
}

const source = (name: string): string => `Arm ARM (DDI 0487), "TLBI ${name}, TLB Invalidate …", operand Xt`;

export const ARM64_OPERAND_KINDS: readonly DecodeKind[] = [
  {
    name: 'arm64.tlbi-va',
    summary: 'operand of TLBI VAE1, VALE1, VAAE1 and VAALE1',
    width: 64,
    options: [],
    example: '0xe90fffbb42827f',
    decode: (value) =>
      decodeWith('arm64.tlbi-va', TLBI_ADDRESS, value, source('VAE1'), addressWords, [
        ...granuleRemarks(value),
        'bits 63:56 of the address are taken to equal bit 55; VAAE1 and VAALE1 do not look at the ASID',
      ]),
  },
  {
    name: 'arm64.tlbi-asid',
    summary: 'operand of TLBI ASIDE1',
    width: 64,
    options: [],
    example: '0x5a11000000000000',
    decode: (value) => decodeWith('arm64.tlbi-asid', TLBI_ASID, value, source('ASIDE1')),
  },
  {
    name: 'arm64.tlbi-range',
    summary: 'operand of TLBI RVAE1, RVALE1, RVAAE1 and RVAALE1; with --lpa as with TCR_EL1.DS = 1',
    width: 64,
    options: ['lpa'],
    example: '0xe9580bb42827f',
    decode: (value, { lpa }) => {
      const controls = { features: ARM64_COMPLETE, wideAddresses: lpa === true };
      const scope = tlbiScope(tlbiNamed('RVAE1'), value, controls);
      return decodeWith(
        'arm64.tlbi-range',
        TLBI_RANGE,
        value,
        source('RVAE1'),
        rangeWords(value),
        scopeRemarks(scope),
      );
    },
  },
];
