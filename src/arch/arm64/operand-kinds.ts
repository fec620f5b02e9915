/** The register operands of TLBI instructions, as `tablewalk decode` explains them: which addresses they name. */
import type { FieldValue } from '../../base/layout.ts';
import { hex } from '../../base/u64.ts';
import { type DecodeKind, decodeWith } from '../decode-kind.ts';
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

const hintWords = (field: number): string =>
  field >> 2 === 0 ? 'no hint' : `${GRANULES[field >> 2]}, level ${field & 3}`;

const addressWords = ({ name, value }: FieldValue): string | null => {
  if (name === 'TTL') return hintWords(Number(value));
  return name === 'VA' ? `address ${hex(canonical(Number(value)))}` : null;
};

/** The address of VA[55:12], bits 63:56 as bit 55. */
function canonical(page: number): bigint {
  const address = BigInt(page) << 12n;
  return page >= 2 ** 43 ? address | (0xffn << 56n) : address;
}

const rangeWords = ({ name, value }: FieldValue): string | null => {
  if (name === 'TG') return RANGE_GRANULES[Number(value)] ?? null;
  return name === 'TTL' ? (value === 0n ? 'any level' : `level ${value}`) : null;
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
        rangeWords,
        scopeRemarks(scope),
      );
    },
  },
];
