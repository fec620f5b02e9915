import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { atNamed, executeAt, parEl1 } from '../../../src/arch/arm64/address-translation.ts';
import { Reason } from '../../../src/arch/arm64/fault-reasons.ts';
import { ARM64_COMPLETE, ARM64_RECORDED } from '../../../src/arch/arm64/features.ts';
import { Stage1, type Stage1Options } from './stage1.ts';

const VA = 0x40_0000n;
const PA = 0x8765_4000n;
const DENIED = 'Permission fault, level 3';
const OVERLAY = 1n << 38n;
const WNR = 1n << 6n;
const USER_WRITE = Access.User | Access.Write;
const USER_FETCH = Access.User | Access.Fetch;
/** POR_EL1 field values in words. Arm ARM (DDI 0487), "POR_EL1", field Perm<m>; 8 and up are reserved: no access. */
const OVERLAYS = ['', 'r', 'x', 'rx', 'w', 'rw', 'wx', 'rwx', '', '', '', '', '', '', '', ''];

/** POIndex is bits 62:60 of the leaf: the upper three of PBHA's four bits. */
const withIndex = (index: number, leaf: object) => ({ AF: 1, nG: 1, PBHA: index << 1, ...leaf });

function machineWith(el0: number, el1: number, leaf: object, options: Stage1Options = {}, index = 5): Stage1 {
  const machine = new Stage1({ tcr2: { POE: 1, E0POE: 1 }, retention: 'none', ...options });
  const others = 0xffff_ffff_ffff_ffffn & ~(0xfn << BigInt(4 * index));
  machine.set('porEl0', (0x7777_7777_7777_7777n & others) | (BigInt(el0) << BigInt(4 * index)));
  machine.set('porEl1', (0x7777_7777_7777_7777n & others) | (BigInt(el1) << BigInt(4 * index)));
  machine.map(VA, PA, withIndex(index, leaf));
  return machine;
}

const ALL = { AP: 1, PXN: 1, UXN: 0 };

const LETTERS = ['r', 'w', 'x'] as const;
const ACCESSES = { r: Access.Read, w: Access.Write, x: Access.Fetch } as const;

/** Direct permissions in words. */
const base = (readOnly: boolean, noExecute: boolean): string =>
  `r${readOnly ? '' : 'w'}${noExecute ? '' : 'x'}`;

describe('what an overlay leaves, Arm ARM "Stage 1 permissions", "Permission overlay"', () => {
  const machine = new Stage1({ tcr2: { POE: 1, E0POE: 1 }, retention: 'none' });
  const four = fc.integer({ min: 0, max: 15 });
  const index = fc.integer({ min: 0, max: 7 });
  const letter = fc.constantFrom(...LETTERS);

  it.each([
    ['EL0', Access.User, 1, 'porEl0', 'porEl1'],
    ['EL1', 0, 0, 'porEl1', 'porEl0'],
  ] as const)(
    'at %s: of the direct permissions what the indexed field has',
    (_, level, ap1, register, other) => {
      const check = (
        value: number,
        poIndex: number,
        kind: 'r' | 'w' | 'x',
        ro: boolean,
        xn: boolean,
      ): void => {
        machine.set(register, BigInt(value) << BigInt(4 * poIndex));
        machine.set(other, 0n);
        machine.map(VA, PA, withIndex(poIndex, { AP: ap1 | (ro ? 2 : 0), UXN: xn, PXN: xn }));
        const overlaid = (OVERLAYS[value] as string).includes(kind);
        const granted = base(ro, xn).includes(kind) && overlaid;
        expect(machine.access(VA, level | ACCESSES[kind])).toBe(granted ? PA : DENIED);
        if (!granted) expect(machine.esr & OVERLAY).toBe(overlaid ? 0n : OVERLAY);
      };
      fc.assert(fc.property(four, index, letter, fc.boolean(), fc.boolean(), check), { numRuns: 800 });
    },
  );
});

describe('permission overlays', () => {
  it.each([
    ['TCR2_EL1.E0POE = 0: none at EL0', { tcr2: { POE: 1 } }, Access.User, PA],
    ['TCR2_EL1.POE = 0: none at EL1', { tcr2: { E0POE: 1 } }, Access.Read, PA],
    ['E0POE = 1: LDTR asks POR_EL0', { tcr2: { E0POE: 1 } }, Access.Unprivileged, DENIED],
    ['no FEAT_S1POE: TCR2_EL1.POE has no effect', { features: ARM64_RECORDED }, Access.Read, PA],
    ['no FEAT_TCR2: none', { features: { ...ARM64_COMPLETE, tcr2: false } }, Access.User, PA],
  ])('%s', (_, options, access, outcome) => {
    expect(machineWith(0, 0, ALL, options).access(VA, access)).toBe(outcome);
  });

  it.each([
    ['the read is denied: reported as a read', 0b0100, 0n],
    ['only the write is denied: reported as a write', 0b0001, WNR],
  ])('an atomic access, of which %s', (_, overlay, wnr) => {
    const machine = machineWith(overlay, 7, ALL);
    expect(machine.access(VA, USER_WRITE | Access.Atomic)).toBe(DENIED);
    expect(machine.esr & (OVERLAY | WNR)).toBe(OVERLAY | wnr);
  });

  it('is told before a lack of the page itself', () => {
    const machine = machineWith(0, 7, { AP: 0, UXN: 1 });
    expect(machine.access(VA, Access.User)).toBe(DENIED);
    expect(machine.mmu.fault.reasons).toBe(Reason.Overlay);
  });

  it('does not lift PAN: what counts is what EL0 could do without it', () => {
    const machine = machineWith(0, 7, { ...ALL, UXN: 1 });
    machine.mmu.setPan(true);
    expect(machine.access(VA, Access.Read)).toBe(DENIED);
    expect(machine.mmu.fault.reasons).toBe(Reason.Pan);
  });

  it('with indirection applies to the fields below 8 only', () => {
    const machine = new Stage1({ tcr2: { POE: 1, E0POE: 1, PIE: 1 }, retention: 'none' });
    machine.set('pire0', 0x0000_0000_0000_00c5n);
    machine.map(VA, PA, { AF: 1, AP: 0 });
    expect(machine.access(VA, Access.User)).toBe(DENIED);
    expect(machine.esr & OVERLAY).toBe(OVERLAY);
    machine.map(VA, PA, { AF: 1, AP: 1 });
    expect(machine.access(VA, USER_WRITE)).toBe(PA);
  });
});

describe('WXN, Arm ARM "Stage 1 permissions": without an overlay it takes execution, with one it takes writing', () => {
  const wxn = { sctlr: { WXN: 1 } } as const;
  it.each([
    ['no overlay: written', { ...wxn, tcr2: {} }, ALL, USER_WRITE, PA, 0],
    ['no overlay: not executed', { ...wxn, tcr2: {} }, ALL, USER_FETCH, DENIED, Reason.Wxn],
    ['overlay: not written', wxn, ALL, USER_WRITE, DENIED, Reason.Overlay | Reason.Wxn],
    ['overlay: executed', wxn, ALL, USER_FETCH, PA, 0],
    ['overlay, UXN = 1: nothing to exclude, written', wxn, { ...ALL, UXN: 1 }, USER_WRITE, PA, 0],
    ['overlay, read-only: nothing to exclude', wxn, { ...ALL, AP: 3 }, USER_WRITE, DENIED, Reason.ReadOnly],
    ['no overlay, UXN = 1', { ...wxn, tcr2: {} }, { ...ALL, UXN: 1 }, USER_FETCH, DENIED, Reason.Uxn],
  ])('SCTLR_EL1.WXN, %s', (_, options, leaf, access, outcome, reasons) => {
    const machine = machineWith(7, 7, leaf, options);
    expect(machine.access(VA, access)).toBe(outcome);
    if (outcome === DENIED) expect(machine.mmu.fault.reasons).toBe(reasons);
  });

  it('is reported as the overlay of a write: S1ComputePermissions clears ow, S1CheckPermissions then asks the overlay', () => {
    const machine = machineWith(7, 7, ALL, wxn);
    expect(machine.access(VA, USER_WRITE)).toBe(DENIED);
    expect(machine.esr).toBe(0x40_9200_004fn);
    expect(executeAt(machine.mmu, atNamed('s1e0w'), VA)).toBe(true);
    expect(parEl1(machine.mmu)).toBe(0x481fn);
    // At EL1: executable only where EL0 cannot write.
    machine.map(VA, PA, withIndex(5, { AP: 0, UXN: 1 }));
    expect(machine.access(VA, Access.Write)).toBe(DENIED);
    expect(machine.esr).toBe(0x40_9600_004fn);
  });

  it('of what PAN takes away excludes nothing: the page is not writable then', () => {
    const machine = machineWith(7, 7, { AP: 0, UXN: 0 }, { sctlr: { WXN: 1, EPAN: 1 } });
    machine.mmu.setPan(true);
    expect(machine.access(VA, Access.Write)).toBe(DENIED);
    expect(machine.mmu.fault.reasons).toBe(Reason.Epan);
    expect(machine.esr).toBe(0x9600_004fn);
  });

  it.each([
    ['an overlay without X: the page can be written', 0b0101, USER_WRITE, PA],
    ['an overlay with X: it cannot', 0b0111, USER_WRITE, DENIED],
    ['and is executed', 0b0111, USER_FETCH, PA],
  ])('PIRE0_EL1 field 0b0110, %s', (_, overlay, access, outcome) => {
    const machine = exclusiveField(0x6n);
    machine.set('porEl0', BigInt(overlay));
    expect(machine.access(VA, access)).toBe(outcome);
    if (outcome === DENIED) expect(machine.esr).toBe(0x40_9200_004fn);
  });

  it('PIRE0_EL1 field 0b0110 asks the overlay also where both fields become "no access"', () => {
    const machine = exclusiveField(0x6n);
    machine.set('pir', 0x3n);
    machine.set('porEl0', 0x7n);
    // The read passes the overlay and fails by the page, of the atomic access the write fails by the overlay before that.
    expect(machine.access(VA, Access.User)).toBe(DENIED);
    expect(machine.esr).toBe(0x9200_000fn);
    expect(machine.access(VA, USER_WRITE | Access.Atomic)).toBe(DENIED);
    expect(machine.esr).toBe(0x40_9200_004fn);
  });
});

/** A page of index 0, whose field of PIRE0_EL1 this is. */
function exclusiveField(pire0: bigint): Stage1 {
  const machine = new Stage1({ tcr2: { E0POE: 1, PIE: 1 }, retention: 'none' });
  machine.set('pire0', pire0);
  machine.map(VA, PA, { AF: 1, AP: 0 });
  return machine;
}
