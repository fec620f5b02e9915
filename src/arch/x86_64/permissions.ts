/**
 * May this access use this translation? The rules of the SDM, written out once in `reasonsAgainst`; `PermissionMemo`
 * remembers the answers so that the hot path is one load.
 * Left out: HLAT, LASS, SGX, nested paging.
 *
 * @see Intel SDM vol. 3A, "Access Rights" ("Determination of Access Rights", "Protection Keys")
 */
import { Access } from '../access.ts';
import { CR0, CR4, EFER } from './registers.ts';

/**
 * What a translation allows: combined over the levels, as cached in a TLB entry (bits 8:0 of its first word). The bits
 * lie so that the walker can make them with few shifts: R/W and U/S where entries have them.
 */
export const Right = {
  /** XD = 1 at some level (EFER.NXE is 1 then, as XD would be reserved otherwise). */
  ExecuteDisable: 1 << 0,
  /** R/W = 1 at every level. */
  Writable: 1 << 1,
  /** U/S = 1 at every level: a user-mode page. */
  User: 1 << 2,
  /** R/W = 0 in the leaf and 1 in every entry above: with `Dirty`, a shadow-stack page. */
  ReadOnlyLeaf: 1 << 3,
  /** The leaf's dirty flag, as it was when the translation was cached. */
  Dirty: 1 << 4,
  /** The protection key: bits 8:5. */
  KEY_SHIFT: 5,
  KEY_MASK: 0xf << 5,
} as const;
const RIGHTS_BITS = 9;
export const RIGHTS_MASK = (1 << RIGHTS_BITS) - 1;

/** Why an access is not allowed; several may hold. The last two are facts of the fault, not reasons. */
export const Reason = {
  /** User access, supervisor page. */
  Supervisor: 1 << 0,
  /** User write, R/W = 0. */
  ReadOnly: 1 << 1,
  /** Supervisor write, R/W = 0, CR0.WP = 1. */
  WriteProtect: 1 << 2,
  /** Fetch, XD = 1. */
  ExecuteDisable: 1 << 3,
  /** Supervisor fetch from a user page, CR4.SMEP = 1. */
  Smep: 1 << 4,
  /** Supervisor data access to a user page, CR4.SMAP = 1, and AC = 0 or the access is implicit. */
  Smap: 1 << 5,
  /** PKRU: access disabled. */
  PkruAccess: 1 << 6,
  /** PKRU: write disabled. */
  PkruWrite: 1 << 7,
  /** IA32_PKRS: access disabled. */
  PksAccess: 1 << 8,
  /** IA32_PKRS: write disabled. */
  PksWrite: 1 << 9,
  /** Shadow-stack access to a page that is not a shadow-stack page. */
  NotShadowStack: 1 << 10,
  /** Supervisor shadow-stack access to a user page. */
  SupervisorShadowStackUserPage: 1 << 11,
  /** EFER.NXE or CR4.SMEP was 1 at the fault: a fetch is reported as such (error code I/D). */
  FetchIsReported: 1 << 12,
} as const;

/** Any of the protection-key reasons. */
export const KEY_REASONS = Reason.PkruAccess | Reason.PkruWrite | Reason.PksAccess | Reason.PksWrite;

export const REASON_NAMES: Readonly<Record<number, string>> = {
  [Reason.Supervisor]: 'user access to a supervisor page (U/S=0)',
  [Reason.ReadOnly]: 'user write to a read-only page (R/W=0)',
  [Reason.WriteProtect]: 'supervisor write to a read-only page (R/W=0, CR0.WP=1)',
  [Reason.ExecuteDisable]: 'fetch from an execute-disabled page (XD=1)',
  [Reason.Smep]: 'supervisor fetch from a user page (CR4.SMEP=1)',
  [Reason.Smap]: 'supervisor access to a user page (CR4.SMAP=1)',
  [Reason.PkruAccess]: 'PKRU disables access for the page’s key',
  [Reason.PkruWrite]: 'PKRU disables writes for the page’s key',
  [Reason.PksAccess]: 'IA32_PKRS disables access for the page’s key',
  [Reason.PksWrite]: 'IA32_PKRS disables writes for the page’s key',
  [Reason.NotShadowStack]: 'shadow-stack access to a page that is not a shadow-stack page',
  [Reason.SupervisorShadowStackUserPage]: 'supervisor shadow-stack access to a user page',
};

/** The registers the rules read, low halves. */
export interface PermissionControls {
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: number;
  readonly pkru: number;
  readonly pkrs: number;
}

const WP = CR0.half('WP').lo;
const SMEP = CR4.half('SMEP').lo;
const SMAP = CR4.half('SMAP').lo;
const PKE = CR4.half('PKE').lo;
const PKS = CR4.half('PKS').lo;
const CET = CR4.half('CET').lo;
const NXE = EFER.half('NXE').lo;

/**
 * An access is a read, a write or a fetch. There are no shadow-stack accesses while CR4.CET = 0: shadow stacks are off
 * and WRSS and WRUSS are invalid opcodes.
 * @throws RangeError for an access that there is not, a mistake of whoever makes it
 * @see Intel SDM vol. 1, "Shadow Stacks"; vol. 2D, "WRUSSD/WRUSSQ—Write to User Shadow Stack", #UD
 */
export function checkAccess(access: number, controls: PermissionControls): void {
  if ((access & Access.Fetch) !== 0 && (access & (Access.Write | Access.ShadowStack)) !== 0) {
    throw new RangeError('a fetch is neither a write nor a shadow-stack access');
  }
  if ((access & Access.ShadowStack) !== 0 && (controls.cr4 & CET) === 0) {
    throw new RangeError('a shadow-stack access while CR4.CET = 0: there is no such access');
  }
}

/**
 * Every reason why a translation with these rights does not allow this access; 0 when it does.
 * @param rights `Right` bits @param access `Access` bits
 */
export function reasonsAgainst(
  rights: number,
  access: number,
  alignmentCheck: boolean,
  controls: PermissionControls,
): number {
  if ((access & Access.Fetch) !== 0) return fetchReasons(rights, access, controls);
  const shadow = (access & Access.ShadowStack) !== 0;
  const mode = shadow
    ? shadowStackReasons(rights, access)
    : dataReasons(rights, access, alignmentCheck, controls);
  return mode | keyReasons(rights, access, controls);
}

function fetchReasons(rights: number, access: number, controls: PermissionControls): number {
  let reasons = 0;
  const userPage = (rights & Right.User) !== 0;
  if ((access & Access.User) !== 0) {
    if (!userPage) reasons |= Reason.Supervisor;
  } else if (userPage && (controls.cr4 & SMEP) !== 0) reasons |= Reason.Smep;
  if ((rights & Right.ExecuteDisable) !== 0 && (controls.efer & NXE) !== 0) reasons |= Reason.ExecuteDisable;
  return reasons;
}

/** Ordinary data accesses. A shadow-stack page has R/W = 0 and is to them a read-only page. */
function dataReasons(
  rights: number,
  access: number,
  alignmentCheck: boolean,
  controls: PermissionControls,
): number {
  let reasons = 0;
  const userPage = (rights & Right.User) !== 0;
  const readOnly = (access & Access.Write) !== 0 && (rights & Right.Writable) === 0;
  if ((access & Access.User) !== 0) {
    if (!userPage) reasons |= Reason.Supervisor;
    if (readOnly) reasons |= Reason.ReadOnly;
    return reasons;
  }
  if (readOnly && (controls.cr0 & WP) !== 0) reasons |= Reason.WriteProtect;
  const acAllows = alignmentCheck && (access & Access.Implicit) === 0;
  if (userPage && (controls.cr4 & SMAP) !== 0 && !acAllows) reasons |= Reason.Smap;
  return reasons;
}

/**
 * Shadow-stack accesses, reads and writes alike: only to shadow-stack pages of the access's own mode. WRUSS gives
 * `Access.User`. CR0.WP plays no part: CR4.CET = 1 needs CR0.WP = 1.
 */
function shadowStackReasons(rights: number, access: number): number {
  let reasons = 0;
  const userPage = (rights & Right.User) !== 0;
  const shadowStackPage = (rights & Right.ReadOnlyLeaf) !== 0 && (rights & Right.Dirty) !== 0;
  if (!shadowStackPage) reasons |= Reason.NotShadowStack;
  if ((access & Access.User) !== 0) {
    if (!userPage) reasons |= Reason.Supervisor;
  } else if (userPage) reasons |= Reason.SupervisorShadowStackUserPage;
  return reasons;
}

/**
 * Protection keys: PKRU looks at user-mode *pages*, IA32_PKRS at supervisor-mode pages, whoever makes the access.
 * Write-disable binds user-mode writes always and supervisor-mode writes if CR0.WP = 1.
 */
function keyReasons(rights: number, access: number, controls: PermissionControls): number {
  const userPage = (rights & Right.User) !== 0;
  if ((controls.cr4 & (userPage ? PKE : PKS)) === 0) return 0;
  const key =
    (userPage ? controls.pkru : controls.pkrs) >>> (2 * ((rights & Right.KEY_MASK) >> Right.KEY_SHIFT));
  const bound = (access & Access.User) !== 0 || (controls.cr0 & WP) !== 0;
  let reasons = 0;
  if ((key & 1) !== 0) reasons |= userPage ? Reason.PkruAccess : Reason.PksAccess;
  if ((key & 2) !== 0 && (access & Access.Write) !== 0 && bound)
    reasons |= userPage ? Reason.PkruWrite : Reason.PksWrite;
  return reasons;
}

/** Is EFER.NXE or CR4.SMEP on, so that a fault's error code says that the access was a fetch? */
export function fetchIsReported(controls: PermissionControls): boolean {
  return (controls.efer & NXE) !== 0 || (controls.cr4 & SMEP) !== 0;
}

/** The remembered answer for one combination of access and rights. Bit 0 is set in those that do not plainly allow it. */
export const Verdict = {
  Allowed: 0,
  Denied: 1,
  /** Allowed, and the dirty flag has to be set in memory first. */
  NeedsDirty: 2,
  /** Not decided since the registers last changed. */
  Unknown: 3,
} as const;

const INDEX_SHIFT = RIGHTS_BITS;
/** Stands in the access's `StackSegment` bit, which no permission depends on. */
const ALIGNMENT_CHECK_BIT = Access.StackSegment;
const ACCESS_MASK = 0x3f & ~Access.StackSegment;

/** Answers of `reasonsAgainst`, one byte for each access × rights, decided when first asked for. */
export class PermissionMemo {
  /** Index: `accessIndex(access)` | rights. */
  readonly verdicts = new Uint8Array((0x3f + 1) << RIGHTS_BITS).fill(Verdict.Unknown);
  /** RFLAGS.AC as a bit of the index: a change of AC costs nothing. */
  alignmentCheckBit = 0;
  private readonly controls: PermissionControls;
  /** What the remembered answers were decided on. */
  private last: PermissionControls;

  /** @param controls read when an answer is first asked for; `forgetIfChanged` after a change */
  constructor(controls: PermissionControls) {
    this.controls = controls;
    this.last = { ...controls };
  }

  setAlignmentCheck(on: boolean): void {
    this.alignmentCheckBit = on ? ALIGNMENT_CHECK_BIT : 0;
  }

  /** To be called after CR0, CR4, EFER, PKRU or IA32_PKRS may have changed. */
  forgetIfChanged(): void {
    const { cr0, cr4, efer, pkru, pkrs } = this.controls;
    const last = this.last;
    if (
      last.cr0 === cr0 &&
      last.cr4 === cr4 &&
      last.efer === efer &&
      last.pkru === pkru &&
      last.pkrs === pkrs
    )
      return;
    this.last = { cr0, cr4, efer, pkru, pkrs };
    this.verdicts.fill(Verdict.Unknown);
  }

  /** Where the verdicts of an access begin. */
  accessIndex(access: number): number {
    return ((access & ACCESS_MASK) | this.alignmentCheckBit) << INDEX_SHIFT;
  }

  /** Decides and remembers. @param index `accessIndex(access)` | rights */
  decide(index: number): number {
    const rights = index & RIGHTS_MASK;
    const access = (index >> RIGHTS_BITS) & ACCESS_MASK;
    const alignmentCheck = ((index >> RIGHTS_BITS) & ALIGNMENT_CHECK_BIT) !== 0;
    checkAccess(access, this.controls);
    let verdict: number = Verdict.Allowed;
    if (reasonsAgainst(rights, access, alignmentCheck, this.controls) !== 0) verdict = Verdict.Denied;
    else if ((access & Access.Write) !== 0 && (rights & Right.Dirty) === 0) verdict = Verdict.NeedsDirty;
    this.verdicts[index] = verdict;
    return verdict;
  }
}
