/**
 * Memory types: what a byte of MAIR_EL1 stands for, and what PAR_EL1 says of it.
 * Left out: XS (which memory types have it changes nothing here), MAIR2_EL1 (FEAT_AIE), FEAT_MTE_PERM's NoTagAccess
 * encoding, transient hints.
 *
 * Choices where the manual allows several:
 * - Reserved encodings: a byte whose upper half is 0 is a Device type, any other is Normal memory.
 *
 * @see Arm ARM (DDI 0487), "MAIR_EL1, Memory Attribute Indirection Register (EL1)"
 */

/** The byte for Tagged Normal memory: Inner and Outer Write-Back, Allocation Tags beside the data (FEAT_MTE2). */
export const TAGGED_NORMAL = 0xf0;
/** Normal memory, Inner and Outer Non-cacheable; with FEAT_XS also with XS = 0. */
export const NORMAL_NON_CACHEABLE = 0x44;
const NORMAL_NON_CACHEABLE_NOT_XS = 0x40;
/** Device-nGnRnE: the strictest type, and that of all data accesses while the MMU is off. */
export const DEVICE_NGNRNE = 0x00;
/** Normal, Inner and Outer Write-Through Read-Allocate: fetches while the MMU is off and SCTLR_EL1.I = 1. */
export const NORMAL_WRITE_THROUGH = 0xaa;

/** SH of descriptors and PAR_EL1. */
export const Shareability = { NonShareable: 0, OuterShareable: 2, InnerShareable: 3 } as const;

export const isDevice = (attribute: number): boolean => (attribute & 0xf0) === 0;

/** Byte `index` of MAIR_EL1. */
export const attributeOf = (mairHi: number, mairLo: number, index: number): number =>
  ((index < 4 ? mairLo : mairHi) >>> (8 * (index & 3))) & 0xff;

/**
 * The type that data accesses see: with SCTLR_EL1.C = 0 all Normal memory is Non-cacheable, and so untagged.
 * @see Arm ARM (DDI 0487), "SCTLR_EL1", field C
 */
export const dataAttribute = (attribute: number, cacheable: boolean): number =>
  cacheable || isDevice(attribute) ? attribute : NORMAL_NON_CACHEABLE;

/**
 * PAR_EL1.SH: Device and Normal Non-cacheable memory are Outer Shareable whatever the descriptor says.
 * @see Arm ARM (DDI 0487), "PAR_EL1, Physical Address Register", field SH
 */
export function parShareability(attribute: number, shareability: number): number {
  const always =
    isDevice(attribute) || attribute === NORMAL_NON_CACHEABLE || attribute === NORMAL_NON_CACHEABLE_NOT_XS;
  return always ? Shareability.OuterShareable : shareability;
}

const DEVICE_NAMES = ['Device-nGnRnE', 'Device-nGnRE', 'Device-nGRE', 'Device-GRE'];

/** One half of a Normal type: `Write-Back` and the like. */
function cacheability(nibble: number): string {
  if (nibble === 0b0100) return 'Non-cacheable';
  const policy = (nibble & 0b0100) !== 0 ? 'Write-Back' : 'Write-Through';
  const transient = nibble < 0b1000 ? ' Transient' : '';
  const hints = [nibble & 2 ? 'Read-Allocate' : '', nibble & 1 ? 'Write-Allocate' : ''].filter(Boolean);
  return `${policy}${transient}${hints.length > 0 ? ` ${hints.join(' ')}` : ''}`;
}

/** The words of a MAIR_EL1 byte. @see Arm ARM (DDI 0487), "MAIR_EL1", "Attr<n>" */
export function memoryAttributeName(attribute: number): string {
  if (isDevice(attribute)) {
    if ((attribute & 2) !== 0) return 'reserved';
    const name = DEVICE_NAMES[attribute >> 2] as string;
    return (attribute & 1) !== 0 ? `${name}, XS=0` : name;
  }
  if (attribute === TAGGED_NORMAL) return 'Tagged Normal, Write-Back Read-Allocate Write-Allocate';
  if (attribute === NORMAL_NON_CACHEABLE_NOT_XS) return 'Normal Non-cacheable, XS=0';
  if (attribute === 0xa0) return 'Normal Write-Through Read-Allocate, XS=0';
  if ((attribute & 0xf) === 0) return 'reserved';
  const outer = cacheability(attribute >> 4);
  const inner = cacheability(attribute & 0xf);
  return outer === inner ? `Normal ${outer}` : `Normal, Inner ${inner}, Outer ${outer}`;
}
