import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { pageLayout } from '../../../src/arch/arm64/entries.ts';
import { REASON_NAMES, Reason } from '../../../src/arch/arm64/fault-reasons.ts';
import { ARM64_COMPLETE, type Arm64Features } from '../../../src/arch/arm64/features.ts';
import {
  AccessClass,
  accessClass,
  PermissionControls,
  Right,
  reasonsAgainst,
} from '../../../src/arch/arm64/permissions.ts';
import { type LeafFields, leafDescriptor, Stage1 } from './stage1.ts';

const VA = 0x40_0000n;
const PA = 0x8765_4000n;
const USER_WRITE = Access.User | Access.Write;

/** What a row of "features that a processor lacks" maps. */
interface Mapping {
  readonly leaf: LeafFields;
  readonly apTable?: number;
  readonly e0pd?: boolean;
}

/** Everything that direct permissions depend on, one bit each. */
const BITS = [
  'ap1',
  'ap2',
  'dbm',
  'pxn',
  'uxn',
  'apTable0',
  'apTable1',
  'pxnTable',
  'uxnTable',
  'hpd',
  'wxn',
  'pan',
  'epan',
  'uao',
  'ha',
  'hd',
  'e0pd',
  'af',
] as const;
type Case = Readonly<Record<(typeof BITS)[number], boolean>>;

const KINDS = {
  'EL1 read': Access.Read,
  'EL1 write': Access.Write,
  'EL1 atomic': Access.Write | Access.Atomic,
  'EL1 DC ZVA': Access.Write | Access.ZeroBlock,
  'EL1 fetch': Access.Fetch,
  LDTR: Access.Unprivileged,
  STTR: Access.Unprivileged | Access.Write,
  'EL0 read': Access.User,
  'EL0 write': Access.User | Access.Write,
  'EL0 atomic': Access.User | Access.Write | Access.Atomic,
  'EL0 fetch': Access.User | Access.Fetch,
} as const;
type Kind = keyof typeof KINDS;

type Answer = 'allowed' | 'allowed, made dirty' | 'Translation fault, level 0' | 'Permission fault, level 3';

/**
 * The rules of the manual said again, one sentence each, over sets of letters. It shares nothing with the code under test.
 * Arm ARM (DDI 0487), "Stage 1 permissions", "Hierarchical permissions", "About PSTATE.PAN", "Hardware management of
 * dirty state", "Preventing EL0 access to halves of the address map".
 */
function expected(c: Case, kind: Kind): Answer {
  const atEl0 = kind.startsWith('EL0') || ((kind === 'LDTR' || kind === 'STTR') && !c.uao);
  if (atEl0 && c.e0pd) return 'Translation fault, level 0';
  const granted = pageGrants(c);
  if (c.pan && !atEl0 && !kind.endsWith('fetch') && granted.panApplies) return 'Permission fault, level 3';
  const needs = needsOf(kind);
  const has = atEl0 ? granted.el0 : granted.el1;
  if (![...needs].every((letter) => has.has(letter))) return 'Permission fault, level 3';
  return needs.includes('w') && c.ap2 ? 'allowed, made dirty' : 'allowed';
}

const NO_LIMITS = { apTable0: false, apTable1: false, uxnTable: false, pxnTable: false };

/** What the page grants at each Exception level, and whether PAN keeps EL1 from it. */
function pageGrants(c: Case) {
  const above = c.hpd ? NO_LIMITS : c;
  const writable = (!c.ap2 || (c.ha && c.hd && c.dbm)) && !above.apTable1;
  const el0Data = c.ap1 && !above.apTable0;
  const el0Executable = !c.uxn && !above.uxnTable;
  const el1Executable = !c.pxn && !above.pxnTable && !(el0Data && writable);
  const data = writable ? 'rw' : 'r';
  return {
    el1: excluding(c.wxn, `${data}${el1Executable ? 'x' : ''}`),
    el0: excluding(c.wxn, `${el0Data ? data : ''}${el0Executable ? 'x' : ''}`),
    panApplies: el0Data || (c.epan && el0Executable),
  };
}

/** WXN: what is writable is not executable. */
function excluding(wxn: boolean, letters: string): Set<string> {
  return new Set(wxn && letters.includes('w') ? letters.replace('x', '') : letters);
}

function needsOf(kind: Kind): string {
  if (kind.endsWith('fetch')) return 'x';
  if (kind.endsWith('atomic')) return 'rw';
  return /write|STTR|ZVA/.test(kind) ? 'w' : 'r';
}

const world = new Stage1({ retention: 'none' });

/** Makes the machine's registers and tables what a case says. @returns the page descriptor's address */
function prepare(c: Case): bigint {
  const { memory, mmu } = world;
  const leafAddress = world.descriptorAddress(VA);
  memory.writeWord(
    leafAddress,
    leafDescriptor(world.context(3), PA, {
      AP: (c.ap1 ? 1 : 0) | (c.ap2 ? 2 : 0),
      DBM: c.dbm,
      PXN: c.pxn,
      UXN: c.uxn,
      AF: c.af,
    }),
  );
  const tableAddress = world.descriptorAddress(VA, 1);
  const table = (memory.readWord(tableAddress) as bigint) & ((1n << 59n) - 1n);
  const limits = [c.pxnTable, c.uxnTable, c.apTable0, c.apTable1];
  memory.writeWord(
    tableAddress,
    limits.reduce((word, on, i) => (on ? word | (1n << BigInt(59 + i)) : word), table),
  );
  mmu.state.pan = c.pan;
  mmu.state.uao = c.uao;
  mmu.state.sctlrLo = 0x1005 | (c.wxn ? 1 << 19 : 0);
  mmu.state.sctlrHi = c.epan ? 1 << 25 : 0;
  world.setTcr({ HPD0: c.hpd, HA: c.ha, HD: c.hd, E0PD0: c.e0pd });
  return leafAddress;
}

const anyCase: fc.Arbitrary<Case> = fc
  .integer({ min: 0, max: 2 ** BITS.length - 1 })
  .map((word) => Object.fromEntries(BITS.map((name, i) => [name, (word & (1 << i)) !== 0])) as Case);

describe('direct permissions', () => {
  it.each(Object.keys(KINDS) as Kind[])('%s: agree with the rules said again, whatever the bits', (kind) => {
    fc.assert(
      fc.property(anyCase, (c) => {
        const address = prepare(c);
        const before = world.memory.readWord(address) as bigint;
        const outcome = world.access(VA, KINDS[kind]);
        const after = world.memory.readWord(address) as bigint;
        const answer = expected(c, kind);
        const level0 = answer === 'Translation fault, level 0';
        if (!level0 && !c.af && !c.ha) expect(outcome).toBe('Access flag fault, level 3');
        else expect(outcome).toBe(answer.startsWith('allowed') ? PA : answer);
        // The Access flag is set and AP[2] cleared exactly when the access goes through.
        const AF = 1n << 10n;
        const AP2 = 1n << 7n;
        const through = typeof outcome === 'bigint';
        const dirtied = through && answer === 'allowed, made dirty' ? before & ~AP2 : before;
        expect(after).toBe(through ? dirtied | AF : before);
      }),
      { numRuns: 700 },
    );
  });

  it('says a reason for every denial, and none for what is allowed', () => {
    const controls = new PermissionControls();
    for (let rights = 0; rights < 1 << 6; rights++) {
      for (const kind of Object.values(KINDS)) {
        const reasons = reasonsAgainst(rights, accessClass(kind, true, false), controls);
        const names = Object.entries(REASON_NAMES).filter(([bit]) => (reasons & Number(bit)) !== 0);
        expect(names.length > 0).toBe(reasons !== 0);
      }
    }
  });
});

describe('a class of access, Arm ARM "Load/Store unprivileged", PSTATE.UAO', () => {
  const { El0, Pan, Read, Write, Fetch } = AccessClass;
  it.each([
    ['LDR at EL1, PAN = 1', Access.Read, true, false, Read | Pan],
    ['LDTR, UAO = 0: as EL0, PAN does not matter', Access.Unprivileged, true, false, Read | El0],
    ['LDTR, UAO = 1: as LDR, PAN applies', Access.Unprivileged, true, true, Read | Pan],
    ['a fetch at EL1: PAN does not matter', Access.Fetch, true, false, Fetch],
    ['LDADD reads and writes', Access.Write | Access.Atomic, false, false, Read | Write],
    ['DC ZVA only writes', Access.Write | Access.ZeroBlock, false, false, Write],
    ['UAO does not matter at EL0', Access.User | Access.Write, true, true, Write | El0],
    ['STG writes', Access.Write | Access.Tag, false, false, Write],
  ])('%s', (_, access, pan, uao, kind) => {
    expect(accessClass(access, pan, uao)).toBe(kind);
  });
});

describe('what the syndrome says of an atomic access, ESR_EL1.WnR', () => {
  const rights = Right.El0 | Right.ReadOnly;
  const atomic = accessClass(Access.User | Access.Write | Access.Atomic, false, false);
  it('is a write if only the write is denied', () => {
    expect(reasonsAgainst(rights, atomic, new PermissionControls())).toBe(
      Reason.ReadOnly | Reason.WriteOfAtomic,
    );
  });
  it('is a read if the read is denied too', () => {
    const reasons = reasonsAgainst(Right.ReadOnly, atomic, new PermissionControls());
    expect(reasons).toBe(Reason.NoEl0Access | Reason.ReadOnly);
  });
  it('is a read if PAN keeps EL1 from the page', () => {
    const kind = accessClass(Access.Write | Access.Atomic, true, false);
    expect(reasonsAgainst(Right.El0, kind, new PermissionControls())).toBe(Reason.Pan);
  });
});

describe('features that a processor lacks', () => {
  const DENIED = 'Permission fault, level 3';
  const rows: readonly (readonly [string, Partial<Arm64Features>, Mapping, number, bigint | string])[] = [
    ['no FEAT_PAN: PSTATE.PAN has no effect', { pan: 0 }, { leaf: { AP: 1 } }, Access.Read, PA],
    ['FEAT_PAN: it has', {}, { leaf: { AP: 1 } }, Access.Read, DENIED],
    ['no FEAT_PAN3: SCTLR_EL1.EPAN has no effect', { pan: 2 }, { leaf: { AP: 0 } }, Access.Read, PA],
    ['FEAT_PAN3: it has', {}, { leaf: { AP: 0 } }, Access.Read, DENIED],
    ['no FEAT_UAO: LDTR stays unprivileged', { uao: false }, { leaf: { AP: 1 } }, Access.Unprivileged, PA],
    ['FEAT_UAO: it is as LDR, and PAN applies', {}, { leaf: { AP: 1 } }, Access.Unprivileged, DENIED],
    ['no FEAT_HPDS: APTable counts', { hpds: false }, { leaf: { AP: 3 }, apTable: 1 }, Access.User, DENIED],
    ['FEAT_HPDS: not with HPD0 = 1', {}, { leaf: { AP: 3 }, apTable: 1 }, Access.User, PA],
    ['FEAT_HAFDBS = 1: no dirty state', { hafdbs: 1 }, { leaf: { AP: 3, DBM: 1 } }, USER_WRITE, DENIED],
    ['FEAT_HAFDBS = 2: dirty state', {}, { leaf: { AP: 3, DBM: 1 } }, USER_WRITE, PA],
    ['no FEAT_HAFDBS', { hafdbs: 0 }, { leaf: { AP: 3, AF: 0 } }, Access.User, 'Access flag fault, level 3'],
    ['no FEAT_E0PD', { e0pd: false }, { leaf: { AP: 3 }, e0pd: true }, Access.User, PA],
    ['FEAT_E0PD', {}, { leaf: { AP: 3 }, e0pd: true }, Access.User, 'Translation fault, level 0'],
  ];
  it.each(rows)('%s', (_, lacking, { leaf, apTable = 0, e0pd = false }, access, outcome) => {
    const features = { ...ARM64_COMPLETE, ...lacking };
    const tcr = { HPD0: 1, HA: 1, HD: 1, E0PD0: e0pd };
    const machine = new Stage1({ features, tcr, sctlr: { EPAN: 1 } });
    machine.mmu.setPan(true);
    machine.mmu.setUao(true);
    machine.descriptorAddress(VA, 3, { APTable: apTable });
    machine.map(VA, PA, { AF: 1, PXN: 1, ...leaf });
    expect(machine.access(VA, access)).toBe(outcome);
  });
});

describe('PSTATE.PAN and PSTATE.UAO', () => {
  it('take effect at once, also on cached translations', () => {
    const machine = new Stage1({ retention: 'adversarial' });
    machine.map(VA, PA, { AP: 1, AF: 1, nG: 1, UXN: 1, PXN: 1 });
    expect(machine.access(VA, Access.Read)).toBe(PA);
    machine.mmu.setPan(true);
    expect(machine.access(VA, Access.Read)).toBe('Permission fault, level 3');
    expect(machine.mmu.fault).toMatchObject({ level: 1, reasons: Reason.Pan, entryLo: 0 });
    expect(machine.access(VA, Access.Unprivileged)).toBe(PA);
    machine.mmu.setUao(true);
    expect(machine.access(VA, Access.Unprivileged)).toBe('Permission fault, level 3');
    machine.mmu.setPan(false);
    expect(machine.access(VA, Access.Read)).toBe(PA);
  });
});

describe('dirty state', () => {
  it('a page cached as writable-clean is made dirty in memory by the first write, and only then', () => {
    const machine = new Stage1({ tcr: { HA: 1, HD: 1 } });
    const address = machine.map(VA, PA, { AP: 3, DBM: 1, AF: 1, nG: 1, PXN: 1, UXN: 1 });
    const AP = pageLayout(machine.context(3));
    expect(machine.access(VA, Access.User)).toBe(PA);
    expect(AP.get(machine.memory.readWord(address) as bigint, 'AP')).toBe(3n);
    expect(machine.access(VA, USER_WRITE)).toBe(PA);
    expect(AP.get(machine.memory.readWord(address) as bigint, 'AP')).toBe(1n);
    expect(machine.mmu.walker.walks).toBe(2);
    expect(machine.access(VA, USER_WRITE)).toBe(PA);
    expect(machine.mmu.walker.walks).toBe(2);
  });
  it('TCR_EL1.HD without HA has no effect', () => {
    const machine = new Stage1({ tcr: { HA: 0, HD: 1 } });
    machine.map(VA, PA, { AP: 3, DBM: 1, AF: 1 });
    expect(machine.access(VA, USER_WRITE)).toBe('Permission fault, level 3');
  });
  it('is left alone by APTable[1], which forbids writes whatever DBM is', () => {
    const machine = new Stage1({ tcr: { HA: 1, HD: 1 } });
    machine.descriptorAddress(VA, 3, { APTable: 2 });
    const address = machine.map(VA, PA, { AP: 3, DBM: 1, AF: 1 });
    const before = machine.memory.readWord(address);
    expect(machine.access(VA, USER_WRITE)).toBe('Permission fault, level 3');
    expect(machine.access(VA, Access.User)).toBe(PA);
    expect(machine.memory.readWord(address)).toBe(before);
  });
});
