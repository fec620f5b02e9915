/**
 * What an arm64 processor can do, as far as stage 1 translation at EL1&0 and MTE can see it: a plain data set, normally
 * what the ID registers enumerate. Left out: EL2, EL3, Secure and Realm state, AArch32, features without any effect on
 * translation, TLB maintenance or Allocation Tags.
 */

/** One processor model. Names follow the FEAT_ names of the Arm ARM, or the ID register field where there is none. */
export interface Arm64Features {
  /** Implemented physical address size in bits: ID_AA64MMFR0_EL1.PARange. */
  readonly physicalAddressBits: 32 | 36 | 40 | 42 | 44 | 48 | 52;
  /** ID_AA64MMFR0_EL1.TGran4, TGran16, TGran64. */
  readonly granule4k: boolean;
  readonly granule16k: boolean;
  readonly granule64k: boolean;
  /** FEAT_LPA: 52-bit physical addresses with the 64 KiB granule. */
  readonly lpa: boolean;
  /** FEAT_LPA2: 52-bit addresses with this granule, while TCR_EL1.DS = 1. */
  readonly lpa2Granule4k: boolean;
  readonly lpa2Granule16k: boolean;
  /** FEAT_LVA: 52-bit virtual addresses with the 64 KiB granule. */
  readonly lva: boolean;
  /** FEAT_TTST: small translation tables, TxSZ up to 48 (47 with 64 KiB). */
  readonly ttst: boolean;
  /** ID_AA64MMFR0_EL1.ASIDBits. */
  readonly asidBits: 8 | 16;
  /** FEAT_ASID2: TCR2_EL1.A2, FNG0 and FNG1. */
  readonly asid2: boolean;
  /** FEAT_HPDS: TCR_EL1.HPD0 and HPD1. */
  readonly hpds: boolean;
  /** FEAT_HAFDBS: 0 none, 1 the Access flag, 2 also dirty state. */
  readonly hafdbs: 0 | 1 | 2;
  /** FEAT_PAN; FEAT_PAN2: AT S1E1RP and WP; FEAT_PAN3: SCTLR_EL1.EPAN. */
  readonly pan: 0 | 1 | 2 | 3;
  /** FEAT_UAO. */
  readonly uao: boolean;
  /** FEAT_E0PD. */
  readonly e0pd: boolean;
  /** FEAT_PAuth: TCR_EL1.TBID0 and TBID1. */
  readonly pauth: boolean;
  /** FEAT_BTI: guarded pages. */
  readonly bti: boolean;
  /** FEAT_TCR2: without it TCR2_EL1 reads as 0. */
  readonly tcr2: boolean;
  /** FEAT_S1PIE and FEAT_S1POE: permission indirection and overlays. */
  readonly s1pie: boolean;
  readonly s1poe: boolean;
  /** FEAT_LSE2: unaligned accesses within 16 bytes are single-copy atomic; SCTLR_EL1.nAA. */
  readonly lse2: boolean;
  /** FEAT_TTL, FEAT_TLBIRANGE, FEAT_TLBIOS, FEAT_XS: forms of TLBI. */
  readonly ttl: boolean;
  readonly tlbiRange: boolean;
  readonly tlbiOs: boolean;
  readonly xs: boolean;
  /** FEAT_BBM level: what a change of block size may do without break-before-make. */
  readonly bbm: 0 | 1 | 2;
  /** ID_AA64PFR1_EL1.MTE: 0 none, 1 instructions only, 2 FEAT_MTE2, 3 FEAT_MTE3 (asymmetric). */
  readonly mte: 0 | 1 | 2 | 3;
  /** FEAT_MTE_TAGGED_FAR: FAR[63:60] is the logical tag after a tag check fault, otherwise UNKNOWN. */
  readonly mteTaggedFar: boolean;
  /** GMID_EL1.BS: log2 of the words (4 bytes) whose tags LDGM and STGM transfer. */
  readonly gmidBs: number;
  /** DCZID_EL0.BS: log2 of the words (4 bytes) that DC ZVA zeroes. */
  readonly dczidBs: number;
  /**
   * An instruction fetch from a misaligned address reports a fault of its translation, if there is one, in place of the
   * PC alignment fault that the architecture puts first. Emulators do so (QEMU up to 10), processors do not.
   */
  readonly translationBeforePcAlignment: boolean;
}

/** Everything that this model knows, 52-bit addresses. */
export const ARM64_COMPLETE: Arm64Features = {
  physicalAddressBits: 52,
  granule4k: true,
  granule16k: true,
  granule64k: true,
  lpa: true,
  lpa2Granule4k: true,
  lpa2Granule16k: true,
  lva: true,
  ttst: true,
  asidBits: 16,
  asid2: true,
  hpds: true,
  hafdbs: 2,
  pan: 3,
  uao: true,
  e0pd: true,
  pauth: true,
  bti: true,
  tcr2: true,
  s1pie: true,
  s1poe: true,
  lse2: true,
  ttl: true,
  tlbiRange: true,
  tlbiOs: true,
  xs: true,
  bbm: 2,
  mte: 3,
  mteTaggedFar: true,
  gmidBs: 6,
  dczidBs: 4,
  translationBeforePcAlignment: false,
};

/** The machine of the recorded vectors: QEMU 11.1.3, `-M virt,mte=on -cpu max`. It has no overlays (FEAT_S1POE). */
export const ARM64_RECORDED: Arm64Features = { ...ARM64_COMPLETE, s1poe: false };

/** The machine of the recorded traces: QEMU 10.0, `-M virt,mte=on -cpu max`. */
export const QEMU_10_0: Arm64Features = {
  ...ARM64_COMPLETE,
  asid2: false,
  s1pie: false,
  s1poe: false,
  mteTaggedFar: false,
  translationBeforePcAlignment: true,
};

/** QEMU 7.2, `-cpu max`: no EPAN, no TCR2_EL1. */
export const ARM64_QEMU_7_2: Arm64Features = {
  ...ARM64_COMPLETE,
  asid2: false,
  pan: 2,
  tcr2: false,
  s1pie: false,
  s1poe: false,
  xs: false,
  mteTaggedFar: false,
  translationBeforePcAlignment: true,
};

/**
 * Arm Neoverse V2: v9.0-A with 48-bit addresses, MTE and hardware dirty state; none of the address-size extensions for
 * small granules, no permission indirection.
 * @see Arm Neoverse V2 Core Technical Reference Manual, "AArch64 Identification registers"
 */
export const NEOVERSE_V2: Arm64Features = {
  ...ARM64_COMPLETE,
  physicalAddressBits: 48,
  lpa: false,
  lpa2Granule4k: false,
  lpa2Granule16k: false,
  lva: false,
  asid2: false,
  pan: 2,
  tcr2: false,
  s1pie: false,
  s1poe: false,
  xs: false,
  mteTaggedFar: false,
};

/**
 * Arm Neoverse N1: v8.2-A. Hardware dirty state, no tags, none of the newer forms of TLBI.
 * @see Arm Neoverse N1 Core Technical Reference Manual, "AArch64 ID_AA64MMFR0_EL1", "ID_AA64MMFR1_EL1"
 */
export const NEOVERSE_N1: Arm64Features = {
  ...NEOVERSE_V2,
  ttst: false,
  e0pd: false,
  pauth: false,
  bti: false,
  lse2: false,
  ttl: false,
  tlbiRange: false,
  tlbiOs: false,
  bbm: 0,
  mte: 0,
};

/**
 * Arm Cortex-A72: v8.0-A. Access flag and dirty state are software's, there is no PAN and no 16 KiB granule.
 * @see Arm Cortex-A72 MPCore Processor Technical Reference Manual, "AArch64 Memory Model Feature Register 0"
 */
export const CORTEX_A72: Arm64Features = {
  ...NEOVERSE_N1,
  physicalAddressBits: 44,
  granule16k: false,
  hpds: false,
  hafdbs: 0,
  pan: 0,
  uao: false,
};

/** The models by the names the command line and scenarios use. */
export const CPU_MODELS = {
  'arm64-complete': ARM64_COMPLETE,
  'arm64-recorded': ARM64_RECORDED,
  'qemu-7.2-max': ARM64_QEMU_7_2,
  'qemu-10.0-max': QEMU_10_0,
  'neoverse-v2': NEOVERSE_V2,
  'neoverse-n1': NEOVERSE_N1,
  'cortex-a72': CORTEX_A72,
} as const satisfies Readonly<Record<string, Arm64Features>>;
export type CpuModelName = keyof typeof CPU_MODELS;
