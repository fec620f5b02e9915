import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { Reason } from '../../../src/arch/arm64/fault-reasons.ts';
import { ARM64_COMPLETE } from '../../../src/arch/arm64/features.ts';
import { SCTLR_EL1 } from '../../../src/arch/arm64/system-registers.ts';
import { Stage1, type Tcr } from './stage1.ts';

const VA = 0x40_0000n;
const PA = 0x8765_4000n;
const DENIED = 'Permission fault, level 3';
const USER_WRITE = Access.User | Access.Write;
const USER_FETCH = Access.User | Access.Fetch;

/** PIR_EL1 field values in words. Arm ARM (DDI 0487), "PIR_EL1", field Perm<m>; PIRE0_EL1 has the same. */
const FIELD_VALUES = ['', 'r', 'x', 'rx', '', 'rw', 'rw', 'rwx', 'r', 'r', 'rx', '', 'rw', '', 'rwx', ''];
/** 0b0110 grants W and X for the rule that nothing may be executable at EL1 and writable at EL0. */
const mayExecute = (value: number): boolean => value === 6 || (FIELD_VALUES[value] as string).includes('x');

/** Memory of a Guarded Control Stack: stack operations at EL1 count as execution, those at EL0 as writing. */
const GCS = 0b1001;

/** The fields of a page with an index: PIIndex is UXN, PXN, DBM and AP[1]. */
const indexed = (index: number, nDirty = 0) => ({
  AF: 1,
  UXN: (index >> 3) & 1,
  PXN: (index >> 2) & 1,
  DBM: (index >> 1) & 1,
  AP: (index & 1) | (nDirty << 1),
});

interface Setup {
  readonly index: number;
  readonly el1: number;
  readonly el0: number;
  readonly nDirty?: number;
  readonly tcr?: Tcr;
}

/** All fields but the indexed one grant everything: taking a wrong one shows. */
const oneField = (index: number, value: number): bigint =>
  (0xeeee_eeee_eeee_eeeen & ~(0xfn << BigInt(4 * index))) | (BigInt(value) << BigInt(4 * index));

const machine = new Stage1({ retention: 'none', tcr2: { PIE: 1 }, sctlr: { EPAN: 1 } });

/** Maps a page as `setup` says. @returns the descriptor's address */
function prepare({ index, el1, el0, nDirty = 0, tcr = {} }: Setup): bigint {
  machine.setTcr(tcr);
  machine.mmu.setPan(false);
  machine.set('pir', oneField(index, el1));
  machine.set('pire0', oneField(index, el0));
  return machine.map(VA, PA, indexed(index, nDirty));
}

const ACCESSES = { r: Access.Read, w: Access.Write, x: Access.Fetch } as const;

/** The manual said again. */
function expected(el1: number, el0: number, atEl0: boolean, letter: string, pan: boolean): boolean {
  const writable = (FIELD_VALUES[el0] as string).includes('w');
  if ((mayExecute(el1) || el1 === GCS) && (writable || el0 === GCS)) return false;
  if (pan && !atEl0 && letter !== 'x' && el0 !== 0) return false;
  return (FIELD_VALUES[atEl0 ? el0 : el1] as string).includes(letter);
}

describe('permission indirection, Arm ARM "Stage 1 permissions", "Indirect permissions"', () => {
  it.each([0, 1])(
    'grants what the indexed fields of PIR_EL1 and PIRE0_EL1 grant, SCTLR_EL1.WXN = %i',
    (WXN) => {
      const four = fc.integer({ min: 0, max: 15 });
      const letters = fc.constantFrom(...(Object.keys(ACCESSES) as (keyof typeof ACCESSES)[]));
      machine.set('sctlr', SCTLR_EL1.encode({ M: 1, C: 1, I: 1, EPAN: 1, WXN }));
      fc.assert(
        fc.property(
          four,
          four,
          four,
          fc.boolean(),
          letters,
          fc.boolean(),
          (index, el1, el0, atEl0, letter, pan) => {
            prepare({ index, el1, el0 });
            machine.mmu.setPan(pan);
            const access = (atEl0 ? Access.User : 0) | ACCESSES[letter];
            expect(machine.access(VA, access)).toBe(expected(el1, el0, atEl0, letter, pan) ? PA : DENIED);
          },
        ),
        { numRuns: 1500 },
      );
    },
  );

  it.each([
    ['APTable[0]', { APTable: 1 }, Access.User],
    ['APTable[1]', { APTable: 2 }, USER_WRITE],
    ['UXNTable', { UXNTable: 1 }, USER_FETCH],
  ])('%s does not count', (_, table, access) => {
    const other = new Stage1({ tcr2: { PIE: 1 } });
    other.set('pire0', 0xeeee_eeee_eeee_eeeen);
    other.set('pir', 0xcccc_cccc_cccc_ccccn);
    other.descriptorAddress(VA, 3, table);
    other.map(VA, PA, indexed(5));
    expect(other.access(VA, access)).toBe(PA);
  });

  it('says that both fields become "no access" where EL1 could execute what EL0 could write', () => {
    prepare({ index: 3, el1: 0b0110, el0: 0b0101 });
    expect(machine.access(VA, Access.User)).toBe(DENIED);
    expect(machine.mmu.fault.reasons).toBe(Reason.IndirectionConflict);
    expect(machine.access(VA, Access.Read)).toBe(DENIED);
  });

  it('is there with FEAT_S1PIE and FEAT_TCR2 only', () => {
    for (const lacking of [{ s1pie: false }, { tcr2: false }]) {
      const other = new Stage1({ features: { ...ARM64_COMPLETE, ...lacking }, tcr2: { PIE: 1 } });
      other.map(VA, PA, { AP: 1, AF: 1, PXN: 1, UXN: 1 });
      expect(other.access(VA, USER_WRITE)).toBe(PA);
    }
  });

  it('counts for what is cached from then on: a translation cached before keeps its direct permissions', () => {
    const other = new Stage1({ retention: 'adversarial' });
    other.map(VA, PA, { AP: 1, AF: 1, PXN: 1, UXN: 1 });
    expect(other.access(VA)).toBe(PA);
    other.set('tcr2', 2n);
    expect(other.access(VA)).toBe(PA);
    other.mmu.dropAll();
    expect(other.access(VA)).toBe(DENIED);
  });
});

describe('fields that grant less than they seem to, shared pseudocode AArch64.S1IndirectBasePermissions', () => {
  it.each([
    ['executable at EL1, a Guarded Control Stack at EL0', 0b0011, GCS, DENIED],
    ['a Guarded Control Stack at both', GCS, GCS, DENIED],
    ['a Guarded Control Stack at EL1, writable at EL0', GCS, 0b0101, DENIED],
    ['a Guarded Control Stack at EL1, readable at EL0', GCS, 0b0001, PA],
    ['writable at EL1, a Guarded Control Stack at EL0', 0b0101, GCS, PA],
  ])('%s', (_, el1, el0, outcome) => {
    prepare({ index: 6, el1, el0 });
    expect(machine.access(VA, Access.Read)).toBe(outcome);
    expect(machine.access(VA, Access.User)).toBe(outcome);
    if (outcome === DENIED) expect(machine.mmu.fault.reasons).toBe(Reason.IndirectionConflict);
  });

  it.each([
    ['0b0000: no', 0b0000, PA],
    ['0b0100, reserved: yes', 0b0100, DENIED],
    ['0b1111, reserved: yes', 0b1111, DENIED],
    ['0b0010, execute only: yes', 0b0010, DENIED],
  ])('does PAN apply to a page whose field of PIRE0_EL1 is %s', (_, el0, outcome) => {
    prepare({ index: 9, el1: 0b0101, el0 });
    machine.mmu.setPan(true);
    expect(machine.access(VA, Access.Read)).toBe(outcome);
    expect(machine.access(VA, Access.Write)).toBe(outcome);
    if (outcome === DENIED) expect(machine.mmu.fault.reasons).toBe(Reason.Pan);
  });
});

describe('dirty state with indirection: nDirty, bit 7', () => {
  const READ_WRITE = { el1: 0b1100, el0: 0b1100 };
  const DIRTY_BIT = 1n << 37n;
  const AP2 = 1n << 7n;

  it.each([
    ['HA = HD = 1: cleared by a write, whatever the index', { HA: 1, HD: 1 }, true],
    ['HD alone: a Permission fault with ESR_EL1.DirtyBit', { HD: 1 }, false],
    ['HA alone: the same', { HA: 1 }, false],
  ])('%s', (_, tcr, managed) => {
    for (let index = 0; index < 16; index++) {
      const address = prepare({ index, ...READ_WRITE, nDirty: 1, tcr });
      const before = machine.memory.readWord(address) as bigint;
      expect(machine.access(VA, Access.User)).toBe(PA);
      expect(machine.memory.readWord(address)).toBe(before);
      expect(machine.access(VA, USER_WRITE)).toBe(managed ? PA : DENIED);
      expect(machine.memory.readWord(address)).toBe(managed ? before & ~AP2 : before);
      if (!managed) expect(machine.esr & DIRTY_BIT).toBe(DIRTY_BIT);
    }
  });

  it('a write that is not permitted anyway is not reported as one of dirty state', () => {
    prepare({ index: 2, el1: 0b1000, el0: 0b1000, nDirty: 1 });
    expect(machine.access(VA, USER_WRITE)).toBe(DENIED);
    expect(machine.esr & DIRTY_BIT).toBe(0n);
  });

  it('an atomic access needs it too, and is reported as a write', () => {
    prepare({ index: 2, ...READ_WRITE, nDirty: 1 });
    expect(machine.access(VA, USER_WRITE | Access.Atomic)).toBe(DENIED);
    expect(machine.esr).toBe(DIRTY_BIT | 0x9200_004fn);
  });
});
