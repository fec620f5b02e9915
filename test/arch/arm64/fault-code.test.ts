import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { faultEsr, faultFar, faultLevel, faultStatus } from '../../../src/arch/arm64/fault-code.ts';
import { Reason } from '../../../src/arch/arm64/fault-reasons.ts';
import { FaultKind, FaultSlot } from '../../../src/arch/fault.ts';

const slot = (fields: Partial<FaultSlot>): FaultSlot => Object.assign(new FaultSlot(), fields);

/** `FaultSlot.level`, of the architecture's level; a fault before any descriptor is read has 0. */
const at = (level: number): number => 4 - level;
const NONE_READ = 0;
const { AddressSize, NotPresent, AccessFlag, Permission, Alignment, TagCheck, Bus } = FaultKind;

describe('DFSC and IFSC, Arm ARM "ISS encoding for an exception from a Data Abort"', () => {
  it.each([
    ['Address size fault, of TTBRn_EL1', AddressSize, NONE_READ, 0b000000],
    ['Address size fault, level 0', AddressSize, at(0), 0b000000],
    ['Address size fault, level 1', AddressSize, at(1), 0b000001],
    ['Address size fault, level 3', AddressSize, at(3), 0b000011],
    ['Address size fault, level -1', AddressSize, at(-1), 0b101001],
    ['Translation fault, no descriptor read', NotPresent, NONE_READ, 0b000100],
    ['Translation fault, level 0', NotPresent, at(0), 0b000100],
    ['Translation fault, level 2', NotPresent, at(2), 0b000110],
    ['Translation fault, level -1', NotPresent, at(-1), 0b101011],
    ['Access flag fault, level 0', AccessFlag, at(0), 0b001000],
    ['Access flag fault, level 3', AccessFlag, at(3), 0b001011],
    ['Permission fault, level 0', Permission, at(0), 0b001100],
    ['Permission fault, level 1', Permission, at(1), 0b001101],
    ['Permission fault, level 3', Permission, at(3), 0b001111],
    ['External abort, not on a walk', Bus, NONE_READ, 0b010000],
    ['Tag Check Fault', TagCheck, NONE_READ, 0b010001],
    ['External abort on a walk, level -1', Bus, at(-1), 0b010011],
    ['External abort on a walk, level 0', Bus, at(0), 0b010100],
    ['External abort on a walk, level 3', Bus, at(3), 0b010111],
    ['Alignment fault', Alignment, at(3), 0b100001],
  ])('%s', (_, kind, level, status) => {
    expect(faultStatus(slot({ kind, level }))).toBe(status);
  });

  it('has no code for what does not happen on arm64', () => {
    expect(() => faultStatus(slot({ kind: FaultKind.NotCanonical }))).toThrow('does not exist on arm64');
  });
});

it.each([
  [NONE_READ, 0],
  [1, 3],
  [4, 0],
  [5, -1],
])('level %i of the slot is level %i of the architecture', (level, architectural) => {
  expect(faultLevel(slot({ level }))).toBe(architectural);
});

const IL = 1n << 25n;
const WNR = 1n << 6n;
const ec = (value: number): bigint => BigInt(value) << 26n;
const PERMISSION_3 = 0b001111n;

describe('ESR_EL1', () => {
  it.each([
    ['EL0 read', Access.User, 0, ec(0x24)],
    ['EL1 read', Access.Read, 0, ec(0x25)],
    ['EL1 write', Access.Write, 0, ec(0x25) | WNR],
    ['LDTR is an abort from the same Exception level', Access.Unprivileged, 0, ec(0x25)],
    ['EL0 fetch: no WnR', Access.User | Access.Fetch, 0, ec(0x20)],
    ['EL1 fetch', Access.Fetch, 0, ec(0x21)],
    ['atomic: reported as a read', Access.Write | Access.Atomic, Reason.NoEl0Access, ec(0x25)],
    ['atomic, the write alone denied', Access.Write | Access.Atomic, Reason.WriteOfAtomic, ec(0x25) | WNR],
    ['DC ZVA: WnR = 1, CM = 0', Access.Write | Access.ZeroBlock, 0, ec(0x25) | WNR],
    ['STG', Access.User | Access.Write | Access.Tag, 0, ec(0x24) | WNR],
    ['DirtyBit', Access.Write, Reason.DirtyBit, ec(0x25) | WNR | (1n << 37n)],
    ['Overlay', Access.Write, Reason.Overlay, ec(0x25) | WNR | (1n << 38n)],
    ['Overlay of a fetch', Access.Fetch, Reason.Overlay, ec(0x21) | (1n << 38n)],
  ])('of a Permission fault: %s', (_, access, reasons, rest) => {
    const fault = slot({ kind: Permission, level: at(3), access, reasons });
    expect(faultEsr(fault)).toBe(rest | IL | PERMISSION_3);
  });

  it.each([
    ['AT S1E1R', Access.Read, at(2), 0x9600_0156n],
    ['AT S1E0W, executed at EL1', Access.Write | Access.Unprivileged, at(-1), 0x9600_0153n],
  ])('of an External abort that %s meets: CM and WnR are 1', (_, access, level, esr) => {
    expect(faultEsr(slot({ kind: Bus, level, access, reasons: Reason.Maintenance }))).toBe(esr);
  });

  it('of a misaligned PC has a class of its own and no syndrome', () => {
    const fault = slot({ kind: Alignment, access: Access.User | Access.Fetch });
    expect(faultEsr(fault)).toBe(0x8a00_0000n);
  });

  it('has ISS2 for Permission faults only', () => {
    const fault = slot({ kind: NotPresent, level: at(3), reasons: Reason.Overlay | Reason.DirtyBit });
    expect(faultEsr(fault)).toBe(ec(0x25) | IL | 0b000111n);
  });
});

it('FAR_EL1 is the address as it was given, all 64 bits', () => {
  expect(faultFar(slot({ addressHi: 0xabff_ffff | 0, addressLo: 0x8000_0001 | 0 }))).toBe(
    0xabff_ffff_8000_0001n,
  );
});
