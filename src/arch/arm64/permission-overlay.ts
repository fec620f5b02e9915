/**
 * Stage 1 permission overlays (FEAT_S1POE): POIndex, bits 62:60 of the leaf, chooses a field of POR_EL1 or POR_EL0 that
 * takes permissions away.
 * @see Arm ARM (DDI 0487), "Stage 1 permissions", "Permission overlay"; "POR_EL1, Permission Overlay Register 1 (EL1)"
 */
import { Grant } from './permission-grants.ts';
import { permissionField } from './permission-indirection.ts';

const ALL = Grant.R | Grant.X | Grant.W;

/** What field `index` of an overlay register leaves: `Grant` bits. Values from 8 up are reserved: no access. */
export function overlayGrants(hi: number, lo: number, index: number): number {
  const field = permissionField(hi, lo, index);
  return field > ALL ? 0 : field;
}
