/**
 * The registers of a CPU as Linux sets them up before user space runs: what is translated how, with which memory types.
 * Left out: KASAN (tag checks in the kernel), BTI in the kernel, MPAM, permission overlays, guarded control stacks.
 * @see Linux arch/arm64/mm/proc.S, `__cpu_setup`; arch/arm64/include/asm/sysreg.h, INIT_SCTLR_EL1_MMU_ON;
 *   arch/arm64/include/asm/pgtable-prot.h, PIE_E0 and PIE_E1
 */
import { highHalf, lowHalf } from '../../../base/u64.ts';
import type { Arm64Features } from '../features.ts';
import { TCR_EL1 } from '../registers.ts';
import type { Arm64State } from '../state.ts';
import { MAIR_EL1, PIR_EL1, PIRE0_EL1, SCTLR_EL1, TCR2_EL1 } from '../system-registers.ts';
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

/** Values of a field of PIR_EL1 and PIRE0_EL1; an overlay may take from those with O. */
const None = 0;
const ReadO = 1;
const ExecO = 2;
const ReadExecO = 3;
const ReadWriteO = 5;
const AllO = 7;
const Read = 8;
const ControlStack = 9;
const ReadExec = 10;
const ReadWrite = 12;
const All = 14;
/** PIIndex of an entry: USER, WRITE (DBM), PXN, UXN from bit 0 up. */
const User = 1;
const Write = 2;
const Pxn = 4;
const Uxn = 8;

/**
 * What each combination of the four bits stands for, at EL0 and at EL1: what it stands for without indirection, but that
 * EL1 has no access to what EL0 may only execute. Guarded control stacks have their fields whether the CPU knows them or
 * not. A combination that is not listed is no access.
 */
const INDIRECT_PERMISSIONS: readonly (readonly [index: number, el0: number, el1: number])[] = [
  [Pxn, ExecO, None],
  [Pxn | User, ReadExecO, Read],
  [Pxn | Write | User, AllO, ReadWrite],
  [Uxn, None, ReadExec],
  [Uxn | User, Read, None],
  [Uxn | Write, None, All],
  [Uxn | Write | User, ControlStack, None],
  [Uxn | Pxn, None, Read],
  [Uxn | Pxn | User, ReadO, Read],
  [Uxn | Pxn | Write, None, ReadWrite],
  [Uxn | Pxn | Write | User, ReadWriteO, ReadWrite],
];

/** PIR_EL1 and PIRE0_EL1; null on a CPU without permission indirection. */
export function kernelIndirection(
  features: Arm64Features,
): { readonly pir: bigint; readonly pire0: bigint } | null {
  if (!features.s1pie) return null;
  let [pir, pire0] = [0n, 0n];
  for (const [index, el0, el1] of INDIRECT_PERMISSIONS) {
    pir = PIR_EL1.set(pir, `Perm${index as 0}`, el1);
    pire0 = PIRE0_EL1.set(pire0, `Perm${index as 0}`, el0);
  }
  return { pir, pire0 };
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
  const indirection = kernelIndirection(features);
  if (indirection !== null) {
    state.pirHi = highHalf(indirection.pir);
    state.pirLo = lowHalf(indirection.pir);
    state.pire0Hi = highHalf(indirection.pire0);
    state.pire0Lo = lowHalf(indirection.pire0);
    state.tcr2Lo |= TCR2_EL1.half('PIE').lo;
  }
  state.pan = features.pan >= 1;
  state.uao = false;
}
