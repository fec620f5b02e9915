/**
 * The rules of a translation in words: what the levels allow together, why an access was allowed, which reserved bit
 * stopped a walk. Words only; the decisions are those of permissions.ts and walker.ts.
 */
import type { FieldValue } from '../../base/layout.ts';
import { fromHalves, hex, lowHalf, maskOf } from '../../base/u64.ts';
import { Access } from '../access.ts';
import { bitRange } from '../decode-kind.ts';
import type { WalkStep } from '../walk-recorder.ts';
import { entryLayout, LEVEL_NAMES, mapsPage, PDE_2M, PTE } from './entries.ts';
import type { X86Mmu } from './mmu.ts';
import { RIGHTS_MASK, Right } from './permissions.ts';
import { CR4, EFER } from './registers.ts';

/** Words for the value of an entry's field. */
export const fieldWords = ({ name, value, kind }: FieldValue): string | null => {
  if (name === 'PKEY') return `key ${value}`;
  return kind === 'address' ? `frame ${hex(value >> 12n)}` : null;
};

/** What the entries allow together. */
export interface CombinedRights {
  readonly user: boolean;
  readonly writable: boolean;
  readonly executeDisable: boolean;
  readonly key: number;
}

/** Rights as a TLB entry holds them. */
function rightsOfCached(data: bigint): CombinedRights {
  const rights = lowHalf(data) & RIGHTS_MASK;
  return {
    user: (rights & Right.User) !== 0,
    writable: (rights & Right.Writable) !== 0,
    executeDisable: (rights & Right.ExecuteDisable) !== 0,
    key: (rights & Right.KEY_MASK) >> Right.KEY_SHIFT,
  };
}

/** The rights that the steps of a successful translation combine to: of the TLB entry, or of the entries read. */
export function combineRights(steps: readonly WalkStep[]): CombinedRights {
  const last = steps.at(-1);
  if (last?.kind === 'hit') return rightsOfCached(last.data);
  let rights: CombinedRights = { user: true, writable: true, executeDisable: false, key: 0 };
  for (const step of steps) {
    if (step.kind !== 'entry') continue;
    rights = {
      user: rights.user && PTE.has(step.value, 'US'),
      writable: rights.writable && PTE.has(step.value, 'RW'),
      executeDisable: rights.executeDisable || PTE.has(step.value, 'XD'),
      key: Number(PTE.get(step.value, 'PKEY')),
    };
  }
  return rights;
}

function pageWords(rights: CombinedRights): string {
  const mode = rights.user
    ? 'user-mode page (U/S = 1 at every level)'
    : 'supervisor-mode page (U/S = 0 at some level)';
  const write = rights.writable ? 'R/W = 1 at every level' : 'R/W = 0 at some level';
  return `${mode}, ${write}, XD = ${rights.executeDisable ? 1 : 0}`;
}

/** Which register let a supervisor access through that the page alone would not. */
function supervisorRules(rights: CombinedRights, access: number, mmu: X86Mmu): string[] {
  const rules: string[] = [];
  const cr4 = fromHalves(mmu.state.cr4Hi, mmu.state.cr4);
  const write = (access & Access.Write) !== 0;
  if (write && !rights.writable && (access & Access.ShadowStack) === 0) {
    rules.push('supervisor write to a read-only page: CR0.WP = 0 allows it');
  }
  if (!rights.user) return rules;
  if ((access & Access.Fetch) !== 0)
    rules.push('supervisor fetch from a user-mode page: CR4.SMEP = 0 allows it');
  else if (CR4.has(cr4, 'SMAP'))
    rules.push('supervisor access to a user-mode page: RFLAGS.AC = 1 allows it under CR4.SMAP');
  else rules.push('supervisor access to a user-mode page: CR4.SMAP = 0 allows it');
  return rules;
}

function keyRules(rights: CombinedRights, access: number, mmu: X86Mmu): string[] {
  const cr4 = fromHalves(mmu.state.cr4Hi, mmu.state.cr4);
  if ((access & Access.Fetch) !== 0 || !CR4.has(cr4, rights.user ? 'PKE' : 'PKS')) return [];
  const register = rights.user ? 'PKRU' : 'IA32_PKRS';
  const two = ((rights.user ? mmu.state.pkru : mmu.state.pkrs) >>> (2 * rights.key)) & 3;
  const notBound = two === 2 && (access & Access.Write) !== 0;
  const why = notBound ? '; a supervisor write with CR0.WP = 0 is not bound by WD' : '';
  return [`protection key ${rights.key}: ${register} has AD = ${two & 1}, WD = ${two >> 1}${why}`];
}

/** Why a successful access was allowed. @see Intel SDM vol. 3A, "Determination of Access Rights" */
export function permissionRules(rights: CombinedRights, access: number, mmu: X86Mmu): string[] {
  const rules = [pageWords(rights)];
  if ((access & Access.ShadowStack) !== 0) rules.push('shadow-stack access to a shadow-stack page');
  else if ((access & Access.User) === 0) rules.push(...supervisorRules(rights, access, mmu));
  rules.push(...keyRules(rights, access, mmu), 'allowed');
  return rules;
}

/** PS and bit 8, which some levels refuse. */
function fixedBitRules(level: number, value: bigint, mmu: X86Mmu): string[] {
  const { page1g, vendor } = mmu.features;
  const pageSize = PDE_2M.has(value, 'PS');
  const rules: string[] = [];
  if (level >= 4 && pageSize) rules.push('PS is reserved');
  if (level >= 4 && vendor === 'amd' && PTE.has(value, 'G')) rules.push('bit 8 must be 0 on AMD');
  if (level === 3 && pageSize && !page1g) rules.push('PS is reserved without 1-GByte pages');
  return rules;
}

/** Which bits of a present entry are reserved and set. */
export function reservedRule(level: number, value: bigint, mmu: X86Mmu): string[] {
  const { maxPhysAddr } = mmu.features;
  const rules: string[] = [];
  const above = maxPhysAddr < 52 ? value & maskOf(51, maxPhysAddr) : 0n;
  if (above !== 0n) {
    rules.push(
      `${bitRange(51, maxPhysAddr)} are reserved (MAXPHYADDR ${maxPhysAddr}) and hold ${hex(above)}`,
    );
  }
  if (PTE.has(value, 'XD') && !EFER.has(fromHalves(0, mmu.state.efer), 'NXE')) {
    rules.push('XD is reserved while EFER.NXE = 0');
  }
  rules.push(...fixedBitRules(level, value, mmu));
  if (mapsPage(level, lowHalf(value))) {
    const reserved = entryLayout(level, true)
      .decode(value)
      .filter((field) => field.kind === 'reserved' && field.value !== 0n);
    rules.push(
      ...reserved.map(({ high, low }) => `${bitRange(high, low)} are reserved in an entry that maps a page`),
    );
  }
  return rules.map((rule) => `${LEVEL_NAMES[level] ?? ''}: ${rule}`);
}
