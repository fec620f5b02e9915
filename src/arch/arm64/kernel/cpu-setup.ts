/**
 * The registers of a CPU as Linux sets them up before user space runs: what is translated how, with which memory types.
 * Left out: KASAN (tag checks in the kernel), BTI in the kernel, MPAM, permission indirection and overlays, which Linux
 * would turn on where a CPU has them: permissions come out the same.
 * @see Linux arch/arm64/mm/proc.S, `__cpu_setup`; arch/arm64/include/asm/sysreg.h, INIT_SCTLR_EL1_MMU_ON
 */
import { highHalf, lowHalf } from '../../../base/u64.ts';
import type { Arm64Features } from '../features.ts';
import { TCR_EL1 } from '../registers.ts';
import type { Arm64State } from '../state.ts';
import { MAIR_EL1, SCTLR_EL1 } from '../system-registers.ts';
import { MemoryTypeIndex } from './entry-layout.ts';
import type { Arm64PagingFormat } from './paging-format.ts';

const WRITE_BACK = 0xff;
const NORMAL_TAGGED = 0xf0;
const NORMAL_NON_CACHEABLE = 0x44;
const DEVICE_NGNRE = 0x04;

/** TCR_EL1.TG0 and TG1 by granule. */
const TG0 = { 12: 0, 14: 2, 16: 1 } as const;
const TG1 = { 12: 2, 14: 1, 16: 3 } as const;
/** Inner shareable; write-back, write-allocate. */
const INNER_SHAREABLE = 3;
const WRITE_ALLOCATE = 1;
const IPS = { 32: 0, 36: 1, 40: 2, 42: 3, 44: 4, 48: 5, 52: 6 } as const;

/** MAIR_EL1: the index of Normal-Tagged memory is plain Normal memory on a CPU without MTE. */
export function kernelMair(features: Arm64Features): bigint {
  const types: readonly (readonly [index: number, attributes: number])[] = [
    [MemoryTypeIndex.Normal, WRITE_BACK],
    [MemoryTypeIndex.NormalTagged, features.mte >= 2 ? NORMAL_TAGGED : WRITE_BACK],
    [MemoryTypeIndex.NormalNonCacheable, NORMAL_NON_CACHEABLE],
    [MemoryTypeIndex.DeviceNGnRnE, 0],
    [MemoryTypeIndex.DeviceNGnRE, DEVICE_NGNRE],
  ];
  return types.reduce((mair, [index, attributes]) => {
    return MAIR_EL1.set(mair, `Attr${index as 0}`, attributes);
  }, 0n);
}

/** TCR_EL1 for tables of this format. */
export function kernelTcr(features: Arm64Features, format: Arm64PagingFormat): bigint {
  const { pageShift: granule, addressSize } = format;
  const size = 64 - addressSize;
  const walks = { IRGN: WRITE_ALLOCATE, ORGN: WRITE_ALLOCATE, SH: INNER_SHAREABLE };
  // A kernel built for addresses of 48 bits uses no more of them.
  const physical = Math.min(features.physicalAddressBits, addressSize) as keyof typeof IPS;
  const mte = features.mte >= 2;
  return TCR_EL1.encode({
    T0SZ: size,
    T1SZ: size,
    IRGN0: walks.IRGN,
    ORGN0: walks.ORGN,
    SH0: walks.SH,
    IRGN1: walks.IRGN,
    ORGN1: walks.ORGN,
    SH1: walks.SH,
    TG0: TG0[granule],
    TG1: TG1[granule],
    A1: 1,
    IPS: IPS[physical],
    AS: features.asidBits === 16,
    TBI0: 1,
    // The kernel tags pages by DC GZVA, which needs the top byte ignored in its own half.
    TBI1: mte,
    TBID1: mte && features.pauth,
    HA: features.hafdbs >= 1,
    HD: features.hafdbs >= 2,
    NFD1: 1,
    E0PD1: features.e0pd,
    DS: addressSize === 52 && granule !== 16,
  });
}

/** SCTLR_EL1. EPAN is set whether the CPU has it or not. TCF0 belongs to each task. */
export function kernelSctlr(features: Arm64Features): bigint {
  const base = SCTLR_EL1.mask(
    ...(['M', 'C', 'SA', 'SA0', 'SED', 'EOS', 'I', 'DZE', 'nTWE', 'TSCXT', 'IESB', 'EIS', 'UCI'] as const),
    ...(['nTLSMD', 'LSMAOE', 'EPAN'] as const),
  );
  const pauth = features.pauth ? SCTLR_EL1.mask('EnIA', 'EnIB', 'EnDA', 'EnDB') : 0n;
  const mte = features.mte >= 2 ? SCTLR_EL1.mask('ITFSB', 'ATA0', 'ATA') : 0n;
  return base | pauth | mte;
}

/** Writes the registers; TTBRn_EL1 are `switch-mm.ts`'s. `updateControls` is the caller's. */
export function setUpCpu(state: Arm64State, features: Arm64Features, format: Arm64PagingFormat): void {
  const mair = kernelMair(features);
  const tcr = kernelTcr(features, format);
  const sctlr = kernelSctlr(features);
  state.mairHi = highHalf(mair);
  state.mairLo = lowHalf(mair);
  state.tcrHi = highHalf(tcr);
  state.tcrLo = lowHalf(tcr);
  state.sctlrHi = highHalf(sctlr);
  state.sctlrLo = lowHalf(sctlr);
  state.pan = features.pan >= 1;
  state.uao = false;
}
