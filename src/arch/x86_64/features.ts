/**
 * What a processor can do, as far as address translation can see it: a plain data set, normally what CPUID enumerates.
 * Left out: features without any effect on translation or on the registers modelled here.
 */

export type Vendor = 'intel' | 'amd';

/** One processor model. Names follow the CPUID feature names of the manuals. */
export interface CpuFeatures {
  readonly vendor: Vendor;
  /** MAXPHYADDR, 32 to 52: CPUID.80000008H:EAX[7:0]. */
  readonly maxPhysAddr: number;
  /** 57-bit linear addresses and 5-level paging: CPUID.(7,0):ECX[16]. */
  readonly la57: boolean;
  /** 1-GiB pages: CPUID.80000001H:EDX[26]. Without them PS is reserved in a PDPTE. */
  readonly page1g: boolean;
  /** Execute disable: CPUID.80000001H:EDX[20]. Without it EFER.NXE cannot be set. */
  readonly nx: boolean;
  readonly pge: boolean;
  readonly pcid: boolean;
  readonly invpcid: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  /** Protection keys of user-mode pages. */
  readonly pku: boolean;
  /** Protection keys of supervisor-mode pages. Intel only. */
  readonly pks: boolean;
  /** CET shadow stacks: CPUID.(7,0):ECX[7]. */
  readonly cetSs: boolean;
  /** CET indirect-branch tracking: CPUID.(7,0):EDX[20]. Either CET feature makes CR4.CET writable. */
  readonly cetIbt: boolean;
  /** Linear-address masking: CPUID.(7,1):EAX[26]. Intel only. */
  readonly lam: boolean;
  /** Linear-address-space separation. CR4.LASS can be written; its checks are not modelled. Intel only. */
  readonly lass: boolean;
  /**
   * Is the linear address in an INVPCID descriptor held against the widest address the processor supports ('maximum',
   * what processors with LA57 do) or against the one CR4.LA57 selects ('current')?
   * @see kvm-unit-tests x86/la57.c, which expects the former of hardware
   */
  readonly operandCanonicality: 'maximum' | 'current';
  /** Upper address ignore: CPUID.80000021H:EAX[7]. EFER.UAIE can be written; its masking is not modelled. AMD only. */
  readonly uai: boolean;
  /** Translation cache extension: CPUID.80000001H:ECX[17]. AMD only. Its effect is in `invalidation.ts`. */
  readonly tce: boolean;
  /** PCD, PWT and PAT select through IA32_PAT. */
  readonly pat: boolean;
  /** Variable-range MTRRs: IA32_MTRRCAP.VCNT. 0 means no MTRRs at all. */
  readonly mtrrVariable: number;
  /** IA32_MTRRCAP.FIX. */
  readonly mtrrFixed: boolean;
  /** Features that only make a bit of CR4 writable here. */
  readonly umip: boolean;
  readonly vmx: boolean;
  readonly smx: boolean;
  readonly fsgsbase: boolean;
  readonly xsave: boolean;
  readonly keyLocker: boolean;
  readonly uintr: boolean;
  readonly fred: boolean;
  /** AMD: EFER.SVME, FFXSR, MCOMMIT, INTWB, AIBRSE and LMSLE can be written. */
  readonly svm: boolean;
  readonly ffxsr: boolean;
  readonly lmsle: boolean;
  readonly mcommit: boolean;
  readonly intWbinvd: boolean;
  readonly automaticIbrs: boolean;
}

/** Everything from Intel that this model knows, MAXPHYADDR 52. */
export const INTEL_COMPLETE: CpuFeatures = {
  vendor: 'intel',
  maxPhysAddr: 52,
  la57: true,
  page1g: true,
  nx: true,
  pge: true,
  pcid: true,
  invpcid: true,
  smep: true,
  smap: true,
  pku: true,
  pks: true,
  cetSs: true,
  cetIbt: true,
  lam: true,
  lass: true,
  operandCanonicality: 'maximum',
  uai: false,
  tce: false,
  pat: true,
  mtrrVariable: 10,
  mtrrFixed: true,
  umip: true,
  vmx: true,
  smx: true,
  fsgsbase: true,
  xsave: true,
  keyLocker: true,
  uintr: true,
  fred: true,
  svm: false,
  ffxsr: false,
  lmsle: false,
  mcommit: false,
  intWbinvd: false,
  automaticIbrs: false,
};

/**
 * The processor of the recorded hardware vectors: Intel, MAXPHYADDR 40, PCIDs, protection keys of both kinds,
 * 5-level paging; no CET, LAM or LASS. INVPCID operands are checked as Bochs does, the only one that answered.
 */
export const INTEL_RECORDED: CpuFeatures = {
  ...INTEL_COMPLETE,
  maxPhysAddr: 40,
  cetSs: false,
  cetIbt: false,
  lam: false,
  lass: false,
  operandCanonicality: 'current',
  keyLocker: false,
  uintr: false,
  fred: false,
};

/** A server of the Sapphire Rapids generation: 52 bits, 5-level paging, PKU, PKS, CET; no LAM, LASS or FRED. */
const INTEL_SAPPHIRE_RAPIDS: CpuFeatures = {
  ...INTEL_COMPLETE,
  lam: false,
  lass: false,
  keyLocker: false,
  fred: false,
};

/** A server of the Broadwell generation: 46 bits, 4-level paging, SMAP; no protection keys, no CET. */
export const INTEL_BROADWELL: CpuFeatures = {
  ...INTEL_SAPPHIRE_RAPIDS,
  maxPhysAddr: 46,
  la57: false,
  pku: false,
  pks: false,
  cetSs: false,
  cetIbt: false,
  uintr: false,
  umip: false,
};

/**
 * A server of the Zen 4 generation: 52 bits, 5-level paging, PCIDs, PKU, CET shadow stacks, upper address ignore.
 * AMD has no PKS, LAM, LASS, VMX, SMX or indirect-branch tracking.
 * @see AMD APM vol. 2, "Page Translation and Protection" and "Extended Feature Enable Register (EFER)"
 */
export const AMD_ZEN4: CpuFeatures = {
  ...INTEL_COMPLETE,
  vendor: 'amd',
  pks: false,
  cetIbt: false,
  lam: false,
  lass: false,
  uai: true,
  tce: true,
  mtrrVariable: 8,
  vmx: false,
  smx: false,
  keyLocker: false,
  uintr: false,
  fred: false,
  svm: true,
  ffxsr: true,
  lmsle: false,
  mcommit: false,
  intWbinvd: true,
  automaticIbrs: true,
};

/** The models by the names the command line and scenarios use. */
export const CPU_MODELS = {
  'intel-complete': INTEL_COMPLETE,
  'intel-recorded': INTEL_RECORDED,
  'intel-sapphire-rapids': INTEL_SAPPHIRE_RAPIDS,
  'intel-broadwell': INTEL_BROADWELL,
  'amd-zen4': AMD_ZEN4,
} as const satisfies Readonly<Record<string, CpuFeatures>>;
export type CpuModelName = keyof typeof CPU_MODELS;

/**
 * Bit 8 of a present PML4E or PML5E: Intel ignores it, on AMD it must be zero.
 * @see AMD APM vol. 2, "4-Kbyte Page Translation" of "Long-Mode Page Translation", figures of the PML5E and PML4E: bits 8:7 are MBZ
 */
export const topLevelBit8Reserved = (features: CpuFeatures): boolean => features.vendor === 'amd';
