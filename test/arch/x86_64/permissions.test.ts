import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { X86Mmu } from '../../../src/arch/x86_64/mmu.ts';
import {
  KEY_REASONS,
  type PermissionControls,
  PermissionMemo,
  Reason,
  Right,
  reasonsAgainst,
  Verdict,
} from '../../../src/arch/x86_64/permissions.ts';
import { CR0, CR4, EFER } from '../../../src/arch/x86_64/registers.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';

interface Setting {
  readonly wp: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly pke: boolean;
  readonly pks: boolean;
  readonly nxe: boolean;
  readonly ac: boolean;
  /** AD and WD of the page's key, in PKRU and in IA32_PKRS alike. */
  readonly key: 0 | 1 | 2 | 3;
}

const KEY = 5;
const KEYED = KEY << Right.KEY_SHIFT;

const controlsOf = (setting: Setting): PermissionControls => ({
  cr0: setting.wp ? CR0.half('WP').lo : 0,
  cr4: ['smep', 'smap', 'pke', 'pks'].reduce(
    (cr4, name) => cr4 | (setting[name as keyof Setting] ? CR4.half(name.toUpperCase() as 'SMEP').lo : 0),
    CR4.half('CET').lo,
  ),
  efer: setting.nxe ? EFER.half('NXE').lo : 0,
  pkru: setting.key << (2 * KEY),
  pkrs: setting.key << (2 * KEY),
});

/**
 * "Determination of Access Rights" of the SDM said again, sentence by sentence, one function per kind of access. It
 * shares nothing with the code under test but the names of the bits.
 */
function allowed(rights: number, access: number, s: Setting): boolean {
  const page = { user: (rights & Right.User) > 0, writable: (rights & Right.Writable) > 0 };
  const user = (access & Access.User) > 0;
  const write = (access & Access.Write) > 0;
  if (access & Access.Fetch) return fetchAllowed(page.user, user, !(rights & Right.ExecuteDisable), s);
  if (!keyAllows(page.user, user, write, s)) return false;
  // "Shadow-stack accesses": to shadow-stack addresses of the mode of the access only.
  if (access & Access.ShadowStack) {
    return page.user === user && (rights & Right.ReadOnlyLeaf) > 0 && (rights & Right.Dirty) > 0;
  }
  if (user) return page.user && (!write || page.writable);
  // Supervisor data accesses. "Explicit" ones may use AC.
  if (page.user && s.smap && (!s.ac || (access & Access.Implicit) > 0)) return false;
  return !write || !s.wp || page.writable;
}

/** "Instruction fetches from ...": keys never apply. */
function fetchAllowed(userPage: boolean, user: boolean, notDisabled: boolean, s: Setting): boolean {
  const executable = !s.nxe || notDisabled;
  if (user) return userPage && executable;
  return userPage ? !s.smep && executable : executable;
}

/** "Protection keys": which register and switch goes by the page, WD by the access. */
function keyAllows(userPage: boolean, user: boolean, write: boolean, s: Setting): boolean {
  if (!(userPage ? s.pke : s.pks)) return true;
  if (s.key & 1) return false;
  return !write || !(s.key & 2) || (!user && !s.wp);
}

function* settings(): Generator<Setting> {
  for (let bits = 0; bits < 128; bits++) {
    const on = (n: number): boolean => ((bits >> n) & 1) === 1;
    for (const key of [0, 1, 2, 3] as const) {
      yield { wp: on(0), smep: on(1), smap: on(2), pke: on(3), pks: on(4), nxe: on(5), ac: on(6), key };
    }
  }
}

const accesses = Array.from({ length: 64 }, (_, bits) => bits).filter(
  (access) => !(access & Access.Fetch && access & (Access.Write | Access.ShadowStack)),
);
const rightsOfPages = Array.from({ length: 32 }, (_, bits) => bits | KEYED);

function* combinations(): Generator<readonly [rights: number, access: number]> {
  for (const rights of rightsOfPages) for (const access of accesses) yield [rights, access];
}

describe('permissions', () => {
  it('agrees with the rule written out in plain words, for every setting, page and access', () => {
    let compared = 0;
    for (const setting of settings()) {
      const controls = controlsOf(setting);
      for (const [rights, access] of combinations()) {
        const reasons = reasonsAgainst(rights, access, setting.ac, controls);
        if ((reasons === 0) !== allowed(rights, access, setting)) {
          expect.fail(`rights ${rights}, access ${access}, ${JSON.stringify(setting)}: reasons ${reasons}`);
        }
        compared++;
      }
    }
    expect(compared).toBe(512 * 32 * accesses.length);
  });

  it.each([
    { wp: false, ac: false },
    { wp: false, ac: true },
    { wp: true, ac: false },
    { wp: true, ac: true },
  ])('remembers the same answers, and forgets them when a register changes: %o', ({ wp, ac }) => {
    const setting: Setting = { wp, smep: true, smap: true, pke: true, pks: true, nxe: true, ac, key: 2 };
    const controls = { ...controlsOf({ ...setting, wp: !wp, key: 0 }) };
    const memo = new PermissionMemo(controls);
    memo.setAlignmentCheck(ac);
    for (const [rights, access] of combinations()) memo.decide(memo.accessIndex(access) | rights);
    Object.assign(controls, controlsOf(setting));
    memo.forgetIfChanged();
    for (const [rights, access] of combinations()) {
      const index = memo.accessIndex(access) | rights;
      if (memo.verdicts[index] === Verdict.Unknown) memo.decide(index);
      const dirtyFirst = access & Access.Write && !(rights & Right.Dirty);
      const good = dirtyFirst ? Verdict.NeedsDirty : Verdict.Allowed;
      expect(memo.verdicts[index]).toBe(allowed(rights, access, setting) ? good : Verdict.Denied);
    }
  });
});

const all: Setting = {
  wp: true,
  smep: true,
  smap: true,
  pke: true,
  pks: true,
  nxe: true,
  ac: false,
  key: 0,
};
const USER_PAGE = Right.User | Right.Writable | KEYED;

const ROWS: readonly (readonly [string, number, number, Setting, number])[] = [
  // SDM vol. 3A, "Determination of Access Rights"
  ['user read of a supervisor page', Right.Writable, Access.User, all, Reason.Supervisor],
  ['user write of a read-only page', Right.User, Access.User | Access.Write, all, Reason.ReadOnly],
  ['supervisor write of a read-only page, WP=1', 0, Access.Write, all, Reason.WriteProtect],
  ['supervisor write of a read-only page, WP=0', 0, Access.Write, { ...all, wp: false }, 0],
  ['fetch from an XD page', Right.ExecuteDisable, Access.Fetch, all, Reason.ExecuteDisable],
  ['supervisor fetch from a user page, SMEP=1', USER_PAGE, Access.Fetch, all, Reason.Smep],
  ['supervisor read of a user page, SMAP=1, AC=0', USER_PAGE, Access.Read, all, Reason.Smap],
  ['the same with AC=1', USER_PAGE, Access.Read, { ...all, ac: true }, 0],
  ['the same with AC=1, implicit', USER_PAGE, Access.Implicit, { ...all, ac: true }, Reason.Smap],
  // "Protection Keys"
  ['user read, AD=1', USER_PAGE, Access.User, { ...all, key: 1 }, Reason.PkruAccess],
  ['user write, WD=1', USER_PAGE, Access.User | Access.Write, { ...all, key: 2 }, Reason.PkruWrite],
  ['user read, WD=1', USER_PAGE, Access.User, { ...all, key: 2 }, 0],
  ['user fetch, AD=1', USER_PAGE, Access.User | Access.Fetch, { ...all, key: 3 }, 0],
  [
    'supervisor write of a user page, WD=1, WP=0, AC=1',
    USER_PAGE,
    Access.Write,
    { ...all, key: 2, wp: false, ac: true },
    0,
  ],
  [
    'supervisor read of a supervisor page, AD=1',
    KEYED | Right.Writable,
    Access.Read,
    { ...all, key: 1 },
    Reason.PksAccess,
  ],
  [
    'user read of a supervisor page, AD=1: both',
    KEYED,
    Access.User,
    { ...all, key: 1 },
    Reason.Supervisor | Reason.PksAccess,
  ],
  // "Shadow Stacks": R/W=0 and D=1 in the leaf, R/W=1 above
  [
    'user shadow-stack read of a shadow-stack page',
    Right.User | Right.ReadOnlyLeaf | Right.Dirty,
    Access.User | Access.ShadowStack,
    all,
    0,
  ],
  [
    'user shadow-stack write of it',
    Right.User | Right.ReadOnlyLeaf | Right.Dirty,
    Access.User | Access.ShadowStack | Access.Write,
    all,
    0,
  ],
  [
    'ordinary user write of it',
    Right.User | Right.ReadOnlyLeaf | Right.Dirty,
    Access.User | Access.Write,
    all,
    Reason.ReadOnly,
  ],
  ['ordinary user read of it', Right.User | Right.ReadOnlyLeaf | Right.Dirty, Access.User, all, 0],
  [
    'the page with D=0',
    Right.User | Right.ReadOnlyLeaf,
    Access.User | Access.ShadowStack,
    all,
    Reason.NotShadowStack,
  ],
  [
    'an ordinary writable page',
    USER_PAGE | Right.Dirty,
    Access.User | Access.ShadowStack | Access.Write,
    all,
    Reason.NotShadowStack,
  ],
  [
    'R/W=0 in an upper entry',
    Right.User | Right.Dirty,
    Access.User | Access.ShadowStack,
    all,
    Reason.NotShadowStack,
  ],
  [
    'supervisor shadow-stack access to a user shadow stack',
    Right.User | Right.ReadOnlyLeaf | Right.Dirty,
    Access.ShadowStack,
    { ...all, ac: true },
    Reason.SupervisorShadowStackUserPage,
  ],
  [
    'user shadow-stack access (WRUSS) to a supervisor shadow stack',
    Right.ReadOnlyLeaf | Right.Dirty,
    Access.User | Access.ShadowStack | Access.Write,
    all,
    Reason.Supervisor,
  ],
];

describe('the reasons against an access', () => {
  it.each(ROWS)('%s', (_, rights, access, setting, reasons) => {
    expect(reasonsAgainst(rights, access, setting.ac, controlsOf(setting))).toBe(reasons);
  });

  it('finds key reasons beside others, as the PK bit of the error code needs', () => {
    const setting: Setting = { ...all, key: 3 };
    const reasons = reasonsAgainst(
      Right.User | KEYED,
      Access.User | Access.Write,
      false,
      controlsOf(setting),
    );
    expect(reasons & ~KEY_REASONS).toBe(Reason.ReadOnly);
    expect(reasons & KEY_REASONS).toBe(Reason.PkruAccess | Reason.PkruWrite);
  });
});

describe('an access that there is not', () => {
  it.each([
    ['a fetch that writes', Access.Fetch | Access.Write],
    ['a fetch from a shadow stack', Access.Fetch | Access.ShadowStack],
  ])('%s is refused', (_, access) => {
    const memory = new PhysicalMemory();
    memory.addRegion(0n, 1n << 20n);
    for (let level = 1n; level <= 4n; level++) memory.writeWord(level << 12n, ((level + 1n) << 12n) | 7n);
    const mmu = new X86Mmu(memory);
    mmu.state.cr3Lo = 0x1000;
    mmu.updateControls();
    expect(() => mmu.translate(0, 0, access)).toThrow(RangeError);
  });
});
