/**
 * The rules of a translation in words: what the descriptors limit and grant together, why an access was allowed, what
 * stopped a walk; what the tag check saw is explain-tags.ts. Words only; the decisions are those of permissions.ts, the
 * walker and mmu.ts.
 */
import { fromHalves, hex } from '../../base/u64.ts';
import { Access } from '../access.ts';
import { FaultKind, type FaultSlot } from '../fault.ts';
import type { WalkStep } from '../walk-recorder.ts';
import { contiguousWords } from './decode-descriptor.ts';
import { descriptorAddress, descriptorForm, layoutOfDescriptor, reservedReason } from './entries.ts';
import { contextAt, registerWords, type TranslationRegion } from './explain-choices.ts';
import { faultLevel } from './fault-code.ts';
import { REASON_NAMES, Reason } from './fault-reasons.ts';
import type { Arm64Mmu } from './mmu.ts';
import { Grant } from './permission-grants.ts';
import { basePermissions, indirectionIndex, RIGHTS_MASK, Right } from './permissions.ts';
import { TCR_EL1 } from './registers.ts';
import { SCTLR_EL1, TCR2_EL1 } from './system-registers.ts';

type EntryStep = Extract<WalkStep, { kind: 'entry' }>;

/** The lookup level of a step: the seam counts from 1, the last level. */
export const lookupLevel = (seamLevel: number): number => 4 - seamLevel;

const isIndirect = (mmu: Arm64Mmu): boolean =>
  mmu.features.s1pie && TCR2_EL1.has(registerWords(mmu.state).tcr2, 'PIE');

/** Does TCR_EL1 switch the hierarchical limits of a half off? */
function limitsOff(mmu: Arm64Mmu, { half }: TranslationRegion): string | null {
  if (isIndirect(mmu)) return 'TCR2_EL1.PIE = 1';
  const { tcr } = registerWords(mmu.state);
  return mmu.features.hpds && TCR_EL1.has(tcr, half === 0 ? 'HPD0' : 'HPD1') ? `HPD${half} = 1` : null;
}

const APTABLE_WORDS = ['', 'no EL0 access', 'no writes', 'no EL0 access and no writes'];

/** What a table descriptor limits below it; null when it limits nothing. */
export function limitWords(mmu: Arm64Mmu, region: TranslationRegion, value: bigint): string | null {
  const limits = [
    APTABLE_WORDS[Number((value >> 61n) & 3n)] ?? '',
    (value >> 60n) & 1n ? 'no execution at EL0 (UXNTable)' : '',
    (value >> 59n) & 1n ? 'no execution at EL1 (PXNTable)' : '',
  ].filter((text) => text !== '');
  if (limits.length === 0) return null;
  const off = limitsOff(mmu, region);
  return off === null ? `below: ${limits.join(', ')}` : `${limits.join(', ')}: not looked at, as ${off}`;
}

/**
 * `Right` bits of a leaf with the limits of the tables above, or of the TLB entry that was hit. What a walk cache gave
 * holds the limits of all tables so far where a table descriptor has them.
 */
function combinedRights(mmu: Arm64Mmu, region: TranslationRegion, steps: readonly WalkStep[]): number | null {
  const last = steps.findLast(({ kind }) => kind === 'entry' || kind === 'hit');
  if (last?.kind === 'hit') return Number(last.data & BigInt(RIGHTS_MASK));
  if (last?.kind !== 'entry') return null;
  const begin = steps.findLastIndex(({ kind }) => kind === 'begin');
  const entries = steps.slice(begin + 1).filter((step): step is EntryStep => step.kind === 'entry');
  const rights = leafRights(mmu, region, last.value);
  return limitsOff(mmu, region) === null
    ? entries.slice(0, -1).reduce((left, { value }) => limited(left, value), rights)
    : rights;
}

function leafRights(mmu: Arm64Mmu, { half }: TranslationRegion, value: bigint): number {
  const bit = (at: bigint, right: number): number => ((value >> at) & 1n ? right : 0);
  return (
    bit(6n, Right.El0) |
    bit(7n, Right.ReadOnly) |
    bit(51n, Right.Dbm) |
    bit(53n, Right.Pxn) |
    bit(54n, Right.Uxn) |
    (half === 1 ? Right.UpperRange : 0) |
    (Number((value >> 60n) & 7n) << Right.OVERLAY_SHIFT) |
    (isIndirect(mmu) ? Right.Indirect : 0)
  );
}

function limited(rights: number, table: bigint): number {
  let left = rights;
  if ((table >> 61n) & 1n) left &= ~Right.El0;
  if ((table >> 62n) & 1n) left = (left | Right.ReadOnly) & ~Right.Dbm;
  if ((table >> 60n) & 1n) left |= Right.Uxn;
  if ((table >> 59n) & 1n) left |= Right.Pxn;
  return left;
}

function grantWords(grants: number): string {
  const names = [
    grants & Grant.R ? 'read' : '',
    grants & Grant.W ? 'write' : '',
    grants & Grant.X ? 'execute' : '',
  ].filter((name) => name !== '');
  return names.length === 0 ? 'nothing' : names.join(', ');
}

/** What the page grants at EL1 and EL0, and from which bits. */
function grantRules(mmu: Arm64Mmu, rights: number): string[] {
  const { el1, el0, conflict, wxn1, wxn0 } = basePermissions(rights, mmu.memo.controls);
  const from = (rights & Right.Indirect) !== 0 ? indirectWords(mmu, rights) : directWords(rights);
  const rules = [`the page grants EL1 ${grantWords(el1)}; EL0 ${grantWords(el0)} (${from})`];
  if (conflict) rules.push('EL1 could execute what EL0 could write: nothing is granted');
  if (wxn1 || wxn0) {
    const levels = [wxn1 ? 'EL1' : '', wxn0 ? 'EL0' : ''].filter((level) => level !== '').join(' and ');
    rules.push(`WXN at ${levels}: not executable, or under an overlay with X not writable`);
  }
  return rules;
}

const flag = (rights: number, right: number): number => ((rights & right) !== 0 ? 1 : 0);

const directWords = (rights: number): string =>
  `with the limits above: AP[2:1] = 0b${flag(rights, Right.ReadOnly)}${flag(rights, Right.El0)}, ` +
  `PXN = ${flag(rights, Right.Pxn)}, UXN = ${flag(rights, Right.Uxn)}, DBM = ${flag(rights, Right.Dbm)}`;

function indirectWords(mmu: Arm64Mmu, rights: number): string {
  const { pir, pire0 } = registerWords(mmu.state);
  const index = indirectionIndex(rights);
  const field = (register: bigint): string => `0x${((register >> BigInt(4 * index)) & 15n).toString(16)}`;
  return `PIIndex ${index}: PIR_EL1 field ${field(pir)}, PIRE0_EL1 field ${field(pire0)}, nDirty = ${flag(rights, Right.ReadOnly)}`;
}

/** Who the access counts as, where that is not plain. */
function accessRules({ state }: Arm64Mmu, access: number): string[] {
  if ((access & Access.Unprivileged) === 0) return [];
  return [
    state.uao
      ? 'PSTATE.UAO = 1: the unprivileged access counts as one of EL1'
      : 'an unprivileged access counts as one of EL0',
  ];
}

/** Is it a data access at EL1 that PAN looks at? */
function panApplies({ state }: Arm64Mmu, access: number): boolean {
  if (!state.pan || (access & (Access.Fetch | Access.User)) !== 0) return false;
  return (access & Access.Unprivileged) === 0 || state.uao;
}

/** Why SCTLR_EL1.EPAN, which is set, has no effect; empty when it is clear or has. */
function epanWords(mmu: Arm64Mmu): string {
  const { pan } = mmu.features;
  const set = SCTLR_EL1.has(registerWords(mmu.state).sctlr, 'EPAN');
  if (!set || pan >= 3 || isIndirect(mmu)) return '';
  return ` (SCTLR_EL1.EPAN has no effect: ID_AA64MMFR1_EL1.PAN = ${pan}, no FEAT_PAN3)`;
}

/**
 * What PAN had to do with it.
 * @param refused `Reason` bits of the fault, 0 of a successful access
 * @see Arm ARM (DDI 0487), "About PSTATE.PAN"
 */
function panRules(mmu: Arm64Mmu, rights: number, access: number, refused: number): string[] {
  if (!panApplies(mmu, access)) return [];
  if ((refused & Reason.Epan) !== 0) {
    return [
      'PSTATE.PAN = 1, SCTLR_EL1.EPAN = 1: EL1 data accesses to what EL0 can only execute are denied too',
    ];
  }
  if ((refused & Reason.Pan) !== 0) {
    const what = isIndirect(mmu) ? 'EL0 has any access to' : 'EL0 can read or write';
    return [`PSTATE.PAN = 1: EL1 data accesses to what ${what} are denied${epanWords(mmu)}`];
  }
  if (refused !== 0) return [];
  const { el0 } = basePermissions(rights, mmu.memo.controls);
  return [
    `PSTATE.PAN = 1 denies nothing here: the page grants EL0 ${grantWords(el0)}${el0 === 0 ? '' : epanWords(mmu)}`,
  ];
}

/** Why a successful access was allowed. @see Arm ARM (DDI 0487), "Memory access control" */
export function permissionRules(
  mmu: Arm64Mmu,
  region: TranslationRegion,
  steps: readonly WalkStep[],
  access: number,
  address: bigint,
): string[] {
  const rights = combinedRights(mmu, region, steps);
  const grants = rights === null ? [] : [...grantRules(mmu, rights), ...panRules(mmu, rights, access, 0)];
  return [...grants, ...accessRules(mmu, access), ...contiguousRule(region, steps, address), 'allowed'];
}

/** The run that a leaf is of, by its output address and by the address. */
function contiguousRule(region: TranslationRegion, steps: readonly WalkStep[], address: bigint): string[] {
  const leaf = steps.findLast(({ kind }) => kind === 'entry');
  if (leaf?.kind !== 'entry' || leaf.source !== 'memory' || ((leaf.value >> 52n) & 1n) === 0n) return [];
  const context = contextAt(region, lookupLevel(leaf.level));
  const output = descriptorAddress(leaf.value, layoutOfDescriptor(leaf.value, context));
  return [`${contiguousWords(context, output, inRegion(region, address))}; each is cached by itself here`];
}

/** An address with the bits above its region as its half has them. */
function inRegion({ sizeOffset, half }: TranslationRegion, address: bigint): bigint {
  const size = 1n << BigInt(64 - sizeOffset);
  return (address & (size - 1n)) | (half === 1 ? (1n << 64n) - size : 0n);
}

/** The words of every `Reason` bit that is one. */
function reasonRules(reasons: number): string[] {
  const rules: string[] = [];
  for (let bit = 1; bit !== 0 && bit <= reasons; bit <<= 1) {
    const rule = (reasons & bit) !== 0 ? REASON_NAMES[bit] : undefined;
    if (rule !== undefined) rules.push(rule);
  }
  return rules;
}

function invalidRule(region: TranslationRegion, level: number, value: bigint): string {
  const context = contextAt(region, level);
  return descriptorForm(value, context) === 'reserved'
    ? reservedReason(context)
    : `level ${level}: bit 0 = 0, the descriptor is invalid`;
}

function addressSizeRule(region: TranslationRegion, level: number, value: bigint): string {
  const layout = layoutOfDescriptor(value, contextAt(region, level));
  const address = hex(descriptorAddress(value, layout));
  return `level ${level}: the address ${address} does not fit the output size of ${region.outputBits} bits`;
}

/** The rules that made it fail. */
export function faultRules(
  fault: Readonly<FaultSlot>,
  mmu: Arm64Mmu,
  region: TranslationRegion,
  steps: readonly WalkStep[],
): string[] {
  const level = faultLevel(fault);
  const value = fromHalves(fault.entryHi, fault.entryLo);
  const reasons = reasonRules(fault.reasons);
  switch (fault.kind) {
    case FaultKind.NotPresent:
      return reasons.length > 0 ? reasons : [invalidRule(region, level, value)];
    case FaultKind.AddressSize:
      return reasons.length > 0 ? reasons : [addressSizeRule(region, level, value)];
    case FaultKind.AccessFlag:
      return [`level ${level}: AF = 0, and TCR_EL1.HA = 0: hardware does not set it`];
    case FaultKind.Permission: {
      const rights = combinedRights(mmu, region, steps);
      return [
        ...(rights === null
          ? []
          : [...grantRules(mmu, rights), ...panRules(mmu, rights, fault.access, fault.reasons)]),
        ...accessRules(mmu, fault.access),
        ...reasons,
      ];
    }
    case FaultKind.Bus:
      return [
        fault.level === 0
          ? 'no memory at the output address'
          : `no memory where the level ${level} descriptor should be`,
      ];
    default:
      return reasons;
  }
}
