/**
 * What TCR_EL1 and TTBRn_EL1 say of the two halves of the address space, as far as finding their tables needs it.
 * @see Arm ARM (DDI 0487), "TCR_EL1" and "TTBR0_EL1"; shared pseudocode functions AArch64.S1StartLevel and
 * AArch64.S1TTBaseAddress
 */
import { TCR_EL1 } from '../../arch/arm64/registers.ts';
import { TTBR0_EL1 } from '../../arch/arm64/system-registers.ts';
import type { Arm64DumpState } from './arm64-state.ts';

export interface Arm64Region {
  /** `TTBR0_EL1` or `TTBR1_EL1`. */
  readonly register: string;
  /** log2 of the granule's bytes. */
  readonly granule: Granule;
  /** Bits of the addresses that the tables translate. */
  readonly addressBits: number;
  /** -1 to 3. */
  readonly startLevel: number;
  readonly startEntries: number;
  /** Byte address of the first table. */
  readonly tableAddress: number;
  /** First page of the half, in 4 KiB. */
  readonly firstPage: number;
  /** Descriptors hold 52-bit addresses. */
  readonly wide: boolean;
  /** The lowest lookup level that has blocks. */
  readonly firstBlockLevel: number;
  /** Bit 7 of a leaf is nDirty, not AP[2]; bit 51 is no DBM (permission indirection). */
  readonly indirect: boolean;
}

type Granule = 12 | 14 | 16;
const TG0: readonly (Granule | undefined)[] = [12, 16, 14];
const TG1: readonly (Granule | undefined)[] = [undefined, 14, 12, 16];
const IPS_52_BITS = 6n;
const ADDRESS_SPACE_PAGES = 2 ** 52;

/**
 * One half, 0 from TTBR0_EL1 or 1 from TTBR1_EL1.
 * @returns null when there are no walks there: EPDn = 1, a granule or TxSZ that the processor does not have
 */
export function regionOf(half: 0 | 1, state: Arm64DumpState): Arm64Region | null {
  const { tcr, features } = state;
  const granule = (half === 0 ? TG0 : TG1)[Number(TCR_EL1.get(tcr, `TG${half}`))];
  if (granule === undefined || TCR_EL1.has(tcr, `EPD${half}`)) return null;
  const size = Number(TCR_EL1.get(tcr, `T${half}SZ`));
  const largeAddresses = granule === 16 ? features.lva : lpa2(granule, state);
  if (size < (largeAddresses ? 12 : 16) || size > largestSize(granule, state)) return null;
  const addressBits = 64 - size;
  const stride = granule - 3;
  const startLevel = 4 - Math.ceil((addressBits - granule) / stride);
  const startEntries = 2 ** (addressBits - granule - (3 - startLevel) * stride);
  const wide =
    granule === 16 ? features.lpa && TCR_EL1.get(tcr, 'IPS') === IPS_52_BITS : lpa2(granule, state);
  const blocks = granule === 16 ? features.lpa : wide;
  return {
    register: `TTBR${half}_EL1`,
    granule,
    addressBits,
    startLevel,
    startEntries,
    tableAddress: tableAddress(half === 0 ? state.ttbr0 : state.ttbr1, startEntries, wide),
    firstPage: half === 0 ? 0 : ADDRESS_SPACE_PAGES - 2 ** (addressBits - 12),
    wide,
    firstBlockLevel: (granule === 12 ? 1 : 2) - (blocks ? 1 : 0),
    indirect: state.indirect,
  };
}

/** TCR_EL1.DS with a granule that it applies to. */
function lpa2(granule: Granule, { tcr, features }: Arm64DumpState): boolean {
  const implemented = granule === 12 ? features.lpa2Granule4k : features.lpa2Granule16k;
  return granule !== 16 && implemented && TCR_EL1.has(tcr, 'DS');
}

function largestSize(granule: Granule, { features }: Arm64DumpState): number {
  if (!features.ttst) return 39;
  return granule === 16 ? 47 : 48;
}

/** BADDR: aligned to the size of the table, at least 64 bytes where bits 5:2 are address bits 51:48. */
function tableAddress(ttbr: bigint, entries: number, wide: boolean): number {
  const base = TTBR0_EL1.get(ttbr, 'BADDR');
  const size = BigInt(Math.max(entries * 8, wide ? 64 : 1));
  const high = wide ? ((ttbr >> 2n) & 0xfn) << 48n : 0n;
  return Number(high | (base & ~(size - 1n)));
}
