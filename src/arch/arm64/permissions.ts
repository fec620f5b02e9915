/**
 * May this access use this translation? Direct permissions, hierarchical ones already combined, permission indirection
 * and overlays, PAN, EPAN, WXN, E0PD and dirty state: written out once in `reasonsAgainst`. `PermissionMemo` remembers
 * the answers so that the hot path is two loads.
 * Left out: accesses to Guarded Control Stacks, FEAT_THE (AssuredOnly), FEAT_MTE_PERM.
 *
 * Choices where the manual allows several:
 * - An instruction fetch from Device memory is not a Permission fault for that.
 * - PAN asks what EL0 could do without the overlay. With indirection any field of PIRE0_EL1 but 0b0000 makes it apply, also
 *   a reserved one, which grants nothing.
 *
 * @see Arm ARM (DDI 0487), "Memory access control", "Stage 1 permissions", "About PSTATE.PAN"
 */
import { Access } from '../access.ts';
import { Reason } from './fault-reasons.ts';
import { Grant, type Permissions } from './permission-grants.ts';
import { indirectPermissions, permissionField } from './permission-indirection.ts';
import { overlayGrants } from './permission-overlay.ts';

const { R, W, X } = Grant;
const WRITE_EXECUTE = W | X;
/** What an overlay leaves where none applies. */
const NO_OVERLAY = -1;

/**
 * What a translation allows, as cached in a TLB entry (bits 9:0 of its first word): bits of the leaf, after
 * the APTable, PXNTable and UXNTable bits above have been combined in. They lie so that a walk makes them with few shifts.
 */
export const Right = {
  /** AP[1]: access at EL0. With indirection PIIndex[0]. */
  El0: 1 << 0,
  /** AP[2]: read-only. With indirection nDirty. */
  ReadOnly: 1 << 1,
  /** DBM: with AP[2] = 1 writable-clean. 0 where APTable[1] forbids writes. With indirection PIIndex[1]. */
  Dbm: 1 << 2,
  /** The address is in the upper range, translated by TTBR1_EL1. */
  UpperRange: 1 << 3,
  /** PXN. With indirection PIIndex[2]. */
  Pxn: 1 << 4,
  /** UXN. With indirection PIIndex[3]. */
  Uxn: 1 << 5,
  /** POIndex, bits 8:6. */
  OVERLAY_SHIFT: 6,
  OVERLAY_MASK: 7 << 6,
  /** Cached while TCR2_EL1.PIE = 1: the bits above are an index. */
  Indirect: 1 << 9,
} as const;
const RIGHTS_BITS = 10;
export const RIGHTS_MASK = (1 << RIGHTS_BITS) - 1;

/** Index of a page's field in PIR_EL1 and PIRE0_EL1. */
export const indirectionIndex = (rights: number): number =>
  (rights & 1) | ((rights & Right.Dbm) >> 1) | ((rights & (Right.Pxn | Right.Uxn)) >> 2);

/** The kinds of access that permissions tell apart. */
export const AccessClass = {
  Read: R,
  Fetch: X,
  Write: W,
  /** With the rights of EL0: at EL0, or LDTR and STTR while PSTATE.UAO = 0. */
  El0: 1 << 3,
  /** A data access at EL1 while PSTATE.PAN = 1. */
  Pan: 1 << 4,
} as const;
const CLASSES = 1 << 5;
const CLASS_SHIFT = RIGHTS_BITS;

/** What the rules read of the registers, as far as the processor has the feature. */
export class PermissionControls {
  /** SCTLR_EL1.WXN and EPAN. */
  wxn = false;
  epan = false;
  /** TCR_EL1.HA = 1 and HD = 1: hardware manages dirty state. */
  hardwareDirty = false;
  /** TCR_EL1.E0PD0 and E0PD1. */
  e0pd0 = false;
  e0pd1 = false;
  /** TCR2_EL1.POE and E0POE. */
  poe = false;
  e0poe = false;
  pirHi = 0;
  pirLo = 0;
  pire0Hi = 0;
  pire0Lo = 0;
  porEl1Hi = 0;
  porEl1Lo = 0;
  porEl0Hi = 0;
  porEl0Lo = 0;
}

const CONTROL_NAMES = Object.keys(new PermissionControls()) as readonly (keyof PermissionControls)[];

/** The class of an access, as PSTATE is. @param access `Access` bits */
export function accessClass(access: number, pan: boolean, uao: boolean): number {
  const unprivileged = (access & Access.Unprivileged) !== 0 && !uao;
  const el0 = (access & Access.User) !== 0 || unprivileged;
  if ((access & Access.Fetch) !== 0) return AccessClass.Fetch | (el0 ? AccessClass.El0 : 0);
  let result: number = (access & Access.Write) !== 0 ? AccessClass.Write : AccessClass.Read;
  if ((access & Access.Atomic) !== 0) result = AccessClass.Read | AccessClass.Write;
  if (el0) return result | AccessClass.El0;
  return pan ? result | AccessClass.Pan : result;
}

/** Is a page writable as far as its descriptor goes? Writable-clean counts if hardware can make it dirty. */
const directWritable = (rights: number, controls: PermissionControls): boolean =>
  (rights & Right.ReadOnly) === 0 || ((rights & Right.Dbm) !== 0 && controls.hardwareDirty);

/**
 * Base permissions from AP[2:1], PXN and UXN. What EL0 can write EL1 cannot execute.
 * @see Arm ARM (DDI 0487), "Stage 1 permissions", "Direct permissions"
 */
function directPermissions(rights: number, controls: PermissionControls): Permissions {
  const writable = directWritable(rights, controls) ? W : 0;
  const el0 = (rights & Right.El0) !== 0 ? R | writable : 0;
  let el1 = R | writable;
  if ((rights & Right.Pxn) === 0 && (el0 & W) === 0) el1 |= X;
  return {
    el1,
    el0: (rights & Right.Uxn) === 0 ? el0 | X : el0,
    conflict: false,
    wxn1: controls.wxn && (el1 & WRITE_EXECUTE) === WRITE_EXECUTE,
    wxn0: controls.wxn && (rights & Right.Uxn) === 0 && (el0 & W) !== 0,
    overlay1: true,
    overlay0: true,
  };
}

export function basePermissions(rights: number, controls: PermissionControls): Permissions {
  if ((rights & Right.Indirect) === 0) return directPermissions(rights, controls);
  const index = indirectionIndex(rights);
  return indirectPermissions(
    permissionField(controls.pirHi, controls.pirLo, index),
    permissionField(controls.pire0Hi, controls.pire0Lo, index),
  );
}

/** Does the page count as accessible at EL0, so that PAN keeps EL1 data accesses from it? */
function panReason(rights: number, base: Permissions, controls: PermissionControls): number {
  if ((rights & Right.Indirect) !== 0) {
    const unprivileged = permissionField(controls.pire0Hi, controls.pire0Lo, indirectionIndex(rights));
    return unprivileged === 0 ? 0 : Reason.Pan;
  }
  if ((base.el0 & (R | W)) !== 0) return Reason.Pan;
  return controls.epan && (base.el0 & X) !== 0 ? Reason.Epan : 0;
}

/** Why the base permissions lack what `missing` asks for, in the terms of the descriptor. */
function baseReasons(rights: number, el0: boolean, missing: number, base: Permissions): number {
  if ((rights & Right.Indirect) !== 0) {
    return base.conflict ? Reason.IndirectionConflict : Reason.Indirection;
  }
  let reasons = 0;
  if ((missing & X) !== 0) {
    if (el0) return Reason.Uxn;
    if ((rights & Right.Pxn) !== 0) reasons |= Reason.Pxn;
    if ((base.el0 & W) !== 0) reasons |= Reason.WritableAtEl0;
    return reasons;
  }
  if (el0 && (rights & Right.El0) === 0) reasons |= Reason.NoEl0Access;
  if ((missing & W) !== 0 && (base.el1 & W) === 0) reasons |= Reason.ReadOnly;
  return reasons;
}

/** What an overlay leaves of everything, at the Exception level of the access. */
function overlayOf(rights: number, el0: boolean, base: Permissions, controls: PermissionControls): number {
  const index = (rights & Right.OVERLAY_MASK) >> Right.OVERLAY_SHIFT;
  if (el0) {
    const applies = controls.e0poe && base.overlay0;
    return applies ? overlayGrants(controls.porEl0Hi, controls.porEl0Lo, index) : NO_OVERLAY;
  }
  const applies = controls.poe && base.overlay1;
  return applies ? overlayGrants(controls.porEl1Hi, controls.porEl1Lo, index) : NO_OVERLAY;
}

/** Does TCR_EL1.E0PDn forbid accesses with the rights of EL0 to this range? */
const deniedByE0pd = (rights: number, controls: PermissionControls): boolean =>
  (rights & Right.UpperRange) !== 0 ? controls.e0pd1 : controls.e0pd0;

/**
 * Every reason why a translation with these rights does not allow an access of this class; 0 when it does.
 * The overlay is asked first, reads before writes: that decides what the syndrome says. Where writing and execution
 * exclude each other, an overlay that grants execution does not grant writes, so that the overlay is what denies them.
 * @param rights `Right` bits @param kind `AccessClass` bits
 * @see Arm ARM (DDI 0487), shared pseudocode AArch64.S1ComputePermissions, AArch64.S1CheckPermissions
 */
export function reasonsAgainst(rights: number, kind: number, controls: PermissionControls): number {
  const el0 = (kind & AccessClass.El0) !== 0;
  if (el0 && deniedByE0pd(rights, controls)) return Reason.E0pd;
  const wanted = kind & (R | W | X);
  const base = basePermissions(rights, controls);
  const pan = (kind & AccessClass.Pan) !== 0 ? panReason(rights, base, controls) : 0;
  // Directly, what PAN takes away is not writable, so that there is nothing to exclude.
  const exclusive = (el0 ? base.wxn0 : base.wxn1) && (pan === 0 || (rights & Right.Indirect) !== 0);
  const overlay = overlayOf(rights, el0, base, controls);
  let reasons = overlayReasons(wanted, overlay, exclusive);
  if (reasons !== 0) return reasons;

  let missing = wanted & ~(el0 ? base.el0 : base.el1);
  if (missing !== 0) reasons |= baseReasons(rights, el0, missing, base);
  if (exclusive && overlay === NO_OVERLAY && (wanted & X) !== 0) {
    reasons |= Reason.Wxn;
    missing |= X;
  }
  if (pan !== 0) {
    reasons |= pan;
    missing = wanted;
  }
  if (reasons !== 0) return reasons | writeAlone(wanted, missing);
  return deniedByDirtyState(rights, wanted, controls) ? Reason.DirtyBit | writeAlone(wanted, W) : 0;
}

/** Why the overlay denies the access; 0 when it does not, or there is none. */
function overlayReasons(wanted: number, overlay: number, exclusive: boolean): number {
  if (overlay === NO_OVERLAY) return 0;
  const lost = exclusive && (overlay & X) !== 0 ? wanted & overlay & W : 0;
  const missing = (wanted & ~overlay) | lost;
  if (missing === 0) return 0;
  return Reason.Overlay | (lost !== 0 ? Reason.Wxn : 0) | writeAlone(wanted, missing);
}

/** With indirection: nDirty = 1, and hardware does not clear it. */
const deniedByDirtyState = (rights: number, wanted: number, controls: PermissionControls): boolean =>
  (wanted & W) !== 0 &&
  (rights & Right.Indirect) !== 0 &&
  (rights & Right.ReadOnly) !== 0 &&
  !controls.hardwareDirty;

/** Of an atomic access, is the write all that is denied? */
const writeAlone = (wanted: number, denied: number): number =>
  (wanted & (R | W)) === (R | W) && (denied & R) === 0 ? Reason.WriteOfAtomic : 0;

/** The remembered answer for one class of access and rights. Only `Allowed` is 0. */
export const Verdict = {
  Allowed: 0,
  Denied: 1,
  /** Allowed, and the descriptor has to be made writable-dirty in memory first. */
  NeedsDirty: 2,
  /** Not decided since the registers last changed. */
  Unknown: 3,
} as const;

/** By PSTATE.PAN + 2·PSTATE.UAO: the class of each access, shifted to where it stands in an index of verdicts. */
const CLASS_TABLES: readonly Uint16Array[] = [0, 1, 2, 3].map((mode) =>
  Uint16Array.from(
    { length: 0x100 },
    (_, access) => accessClass(access, (mode & 1) !== 0, (mode & 2) !== 0) << CLASS_SHIFT,
  ),
);

/** The `Access` bits that the class depends on, as an index of the class tables. */
export const ACCESS_MASK = 0xff;

/** Answers of `reasonsAgainst`, one byte for each class × rights, decided when first asked for. */
export class PermissionMemo {
  /** Index: `classes[access & ACCESS_MASK]` | rights. */
  readonly verdicts = new Uint8Array(CLASSES << CLASS_SHIFT).fill(Verdict.Unknown);
  classes: Uint16Array = CLASS_TABLES[0] as Uint16Array;
  readonly controls = new PermissionControls();
  /** What the remembered answers were decided on. */
  private last = new PermissionControls();

  /** PSTATE.PAN and PSTATE.UAO: a change costs nothing. */
  setMode(pan: boolean, uao: boolean): void {
    this.classes = CLASS_TABLES[(pan ? 1 : 0) | (uao ? 2 : 0)] as Uint16Array;
  }

  /** To be called after the controls may have changed. */
  forgetIfChanged(): void {
    const { controls, last } = this;
    if (CONTROL_NAMES.every((name) => last[name] === controls[name])) return;
    this.last = Object.assign(new PermissionControls(), controls);
    this.verdicts.fill(Verdict.Unknown);
  }

  /** The verdict for an access, decided now if it has not been. */
  verdict(access: number, rights: number): number {
    const index = (this.classes[access & ACCESS_MASK] as number) | rights;
    const known = this.verdicts[index] as number;
    return known === Verdict.Unknown ? this.decide(index) : known;
  }

  /** Why an access is denied, as things stand. */
  reasons(access: number, rights: number): number {
    return reasonsAgainst(
      rights,
      (this.classes[access & ACCESS_MASK] as number) >> CLASS_SHIFT,
      this.controls,
    );
  }

  private decide(index: number): number {
    const rights = index & RIGHTS_MASK;
    const kind = index >> CLASS_SHIFT;
    let verdict: number = Verdict.Allowed;
    if (reasonsAgainst(rights, kind, this.controls) !== 0) verdict = Verdict.Denied;
    else if ((kind & W) !== 0 && (rights & Right.ReadOnly) !== 0) verdict = Verdict.NeedsDirty;
    this.verdicts[index] = verdict;
    return verdict;
  }
}
