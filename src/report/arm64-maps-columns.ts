/**
 * The columns of `maps` for arm64: what EL1 and EL0 may do when everything but PSTATE.PAN is counted, the memory type of
 * MAIR_EL1, nG and GP, and leaves by size with those in contiguous runs apart.
 */
import { hex } from '../base/u64.ts';
import type { Arm64Dump } from '../conformance/maps/arm64-dump.ts';
import { type Arm64Rights, type ArmPermissions, sizeOfIndex } from '../conformance/maps/arm64-ranges.ts';
import type { Arm64Region } from '../conformance/maps/arm64-regions.ts';
import type { MappedRange } from '../conformance/maps/ranges.ts';
import { countsText, type MapsColumns } from './maps-columns.ts';

const permissionsText = ({ read, write, execute }: ArmPermissions): string =>
  `${read ? 'r' : '-'}${write ? 'w' : '-'}${execute ? 'x' : '-'}`;

const flagsText = ({ notGlobal, guarded, addressSize }: Arm64Rights): string =>
  [notGlobal ? 'nG' : '', guarded ? 'GP' : '', addressSize ? 'address size fault' : '']
    .filter((flag) => flag !== '')
    .join(' ');

const ATTRIBUTE_NAMES: Readonly<Record<number, string>> = {
  0: 'Device-nGnRnE',
  4: 'Device-nGnRE',
  8: 'Device-nGRE',
  12: 'Device-GRE',
  68: 'Normal-NC',
  187: 'Normal-WT',
  240: 'Tagged',
  255: 'Normal',
};

/** A byte of MAIR_EL1 by the name that kernels use; others as the byte. */
const attributeName = (byte: number): string => ATTRIBUTE_NAMES[byte] ?? `Attr 0x${byte.toString(16)}`;

const sizeName = (shift: number): string =>
  `${2 ** (shift % 10)}${['', 'K', 'M', 'G', 'T', 'P'][Math.floor(shift / 10)]}`;

/** Leaf counts by name: `4K`, `2M`; `4K in 64K` for those of contiguous runs. */
const leafCounts = ({ pageCounts, rights }: MappedRange<Arm64Rights>): [number, string][] =>
  pageCounts.map((count, index) => {
    const { leaf, run } = sizeOfIndex(rights.granule, index);
    return [count, run === 0 ? sizeName(leaf) : `${sizeName(leaf)} in ${sizeName(run)}`];
  });

export const arm64Columns: MapsColumns<Arm64Rights> = {
  rightsHeads: ['EL1', 'EL0', 'flags'],
  memoryHeads: ['type'],
  rights: (rights) => [permissionsText(rights.el1), permissionsText(rights.el0), flagsText(rights)],
  memory: ({ attribute }) => [attributeName(attribute)],
  pages: (range) => countsText(leafCounts(range)),
  legend:
    'EL1, EL0: what data reads, data writes and fetches may do, combined over all levels, with WXN and permission ' +
    'indirection and without PAN; nG not global, GP guarded; "4K in 64K": pages of contiguous runs',
  json: (range) => {
    const { el1, el0, notGlobal, guarded, attributeIndex, attribute, addressSize } = range.rights;
    return {
      el1: { ...el1 },
      el0: { ...el0 },
      notGlobal,
      guarded,
      addressSize,
      attributeIndex,
      attribute: `0x${attribute.toString(16).padStart(2, '0')}`,
      memoryType: attributeName(attribute),
      pages: Object.fromEntries(
        leafCounts(range)
          .filter(([count]) => count !== 0)
          .map(([count, name]) => [name, count]),
      ),
    };
  },
};

const regionText = ({ register, addressBits, granule, startLevel, wideMask }: Arm64Region): string =>
  `${register}: ${addressBits}-bit addresses, ${2 ** (granule - 10)}K granule, start level ${startLevel}` +
  `${wideMask !== 0 ? ', 52-bit descriptors' : ''}`;

export function arm64HeadLines({ state, regions, without }: Arm64Dump): string[] {
  const { origin, ttbr0, ttbr1, tcr, tcr2, sctlr, mair, indirect, pir, pire0, contradicted } = state;
  const indirection = indirect ? `, PIR_EL1 ${hex(pir)}, PIRE0_EL1 ${hex(pire0)}` : '';
  return [
    `registers from ${origin}: TTBR0_EL1 ${hex(ttbr0)}, TTBR1_EL1 ${hex(ttbr1)}, TCR_EL1 ${hex(tcr)}, ` +
      `TCR2_EL1 ${hex(tcr2)}, SCTLR_EL1 ${hex(sctlr)}, MAIR_EL1 ${hex(mair)}${indirection}`,
    ...regions.map(regionText),
    ...without.map(({ register, reason }) => `${register}: no translation: ${reason}`),
    ...contradicted.map((what) => `${origin} contradicts itself, the register is followed: ${what}`),
  ];
}
