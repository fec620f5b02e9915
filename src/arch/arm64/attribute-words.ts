/** The values of permission and attribute fields in words, for reports. Decisions are made elsewhere. */

/** SH of a descriptor, of TCR_EL1 and of PAR_EL1. */
export const SHAREABILITY_WORDS = [
  'non-shareable',
  'reserved',
  'outer shareable',
  'inner shareable',
] as const;

const NO_OVERLAY = 'overlays do not apply';
/**
 * A field of PIR_EL1 or PIRE0_EL1. Fields below 8 are subject to overlays.
 * @see Arm ARM (DDI 0487), "PIR_EL1, Permission Indirection Register 1 (EL1)"
 */
export const BASE_PERMISSION_WORDS = [
  'no access',
  'read',
  'execute',
  'read and execute',
  'reserved: no access',
  'read and write',
  'read and write; execute is taken away because of the write (WXN)',
  'read, write and execute',
  `read; ${NO_OVERLAY}`,
  `read, Guarded Control Stack (FEAT_GCS); ${NO_OVERLAY}`,
  `read and execute; ${NO_OVERLAY}`,
  'reserved: no access',
  `read and write; ${NO_OVERLAY}`,
  'reserved: no access',
  `read, write and execute; ${NO_OVERLAY}`,
  'reserved: no access',
] as const;

/**
 * A field of POR_EL0 or POR_EL1: what is left of the base permission.
 * @see Arm ARM (DDI 0487), "POR_EL0, Permission Overlay Register 0 (EL0)"
 */
export const overlayWords = (field: number): string => {
  if (field >= 8) return 'reserved: no access';
  const left = ['read', 'execute', 'write'].filter((_, bit) => (field & (1 << bit)) !== 0);
  return left.length === 0 ? 'no access' : `${left.join(', ')} where the base permission grants it`;
};

/** SCTLR_EL1.TCF and TCF0. @see Arm ARM (DDI 0487), "SCTLR_EL1", field TCF */
export const TAG_CHECK_FAULT_WORDS = [
  'tag check faults have no effect',
  'synchronous exception',
  'asynchronously accumulated in TFSR',
  'synchronous exception for reads, asynchronously accumulated for writes (FEAT_MTE_ASYM_FAULT)',
] as const;

/** Tags of a mask with one bit each: `0-3, 7`, `none`. */
export function tagSetWords(mask: number): string {
  const parts: string[] = [];
  for (let tag = 0; tag < 16; tag++) {
    if ((mask & (1 << tag)) === 0) continue;
    const first = tag;
    while ((mask & (1 << (tag + 1))) !== 0 && tag < 15) tag++;
    parts.push(first === tag ? `${tag}` : `${first}-${tag}`);
  }
  return parts.length === 0 ? 'none' : parts.join(', ');
}

/** `2 MiB`, and the like: what a descriptor maps is a power of two from 4 KiB up. @param shift log2 of bytes */
export function sizeWords(shift: number): string {
  const unit = Math.min(4, Math.floor(shift / 10));
  return `${2 ** (shift - 10 * unit)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}
