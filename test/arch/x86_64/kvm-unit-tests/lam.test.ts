/**
 * kvm-unit-tests x86/lam.c: CR4.LAM_SUP, tagged supervisor pointers, INVLPG and INVPCID with them; then the user half,
 * which lam.c leaves open.
 */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { invlpg, invpcid } from '../../../../src/arch/x86_64/privileged.ts';
import { CR3 } from '../../../../src/arch/x86_64/registers.ts';
import { TestMachine } from './test-machine.ts';

const GP = 13;
const WITHOUT = { ...INTEL_COMPLETE, lam: false };
const SUPERVISOR = 0xffff_ffff_ffe0_0000n;
/** Bits 62:48 and 62:57 turned over: a supervisor pointer with metadata, bit 63 kept. */
const TAG_48 = 0x7fff_0000_0000_0000n & ~0x2aaa_0000_0000_0000n;
const TAG_57 = 0x5400_0000_0000_0000n;
const USER = 0x1234_5000n;

const supervisorMachine = (features: typeof INTEL_COMPLETE, on: boolean, levels: 4 | 5 = 4): TestMachine => {
  const machine = new TestMachine(features, levels);
  machine.map(SUPERVISOR, { RW: 1 });
  if (on) expect(machine.cr4(['LAM_SUP', true])).toBe(0);
  return machine;
};

describe('lam: CR4.LAM_SUP', () => {
  it.each([
    ['succeeds with LAM', INTEL_COMPLETE, 0],
    ['is #GP without LAM', WITHOUT, GP],
  ] as const)('setting it %s; clearing it succeeds', (_, features, vector) => {
    const machine = new TestMachine(features);
    expect(machine.cr4(['LAM_SUP', true])).toBe(vector);
    expect(machine.cr4(['LAM_SUP', false])).toBe(0);
  });

  it.each([
    ['untagged, off', INTEL_COMPLETE, false, 4, 0n, 'ok'],
    ['tagged, off', INTEL_COMPLETE, false, 4, TAG_48, '#GP'],
    ['untagged, on', INTEL_COMPLETE, true, 4, 0n, 'ok'],
    ['tagged, on, 4 levels: bits 62:48 are metadata', INTEL_COMPLETE, true, 4, TAG_48, 'ok'],
    ['tagged in 62:57, on, 5 levels', INTEL_COMPLETE, true, 5, TAG_57, 'ok'],
    [
      'changed in 55:48, on, 5 levels: these are address',
      INTEL_COMPLETE,
      true,
      5,
      TAG_48 & (0xffn << 48n),
      '#PF(WR)',
    ],
    ['changed in bit 56, on, 5 levels: bit 63 has to equal it', INTEL_COMPLETE, true, 5, 1n << 56n, '#GP'],
    ['tagged, no LAM', WITHOUT, false, 4, TAG_48, '#GP'],
  ] as const)('a supervisor write and read, pointer %s', (_, features, on, levels, tag, want) => {
    const machine = supervisorMachine(features, on, levels);
    expect(machine.write(SUPERVISOR ^ tag)).toBe(want);
    expect(machine.read(SUPERVISOR ^ tag)).toBe(want.replace('WR', ''));
  });

  it('does not apply to fetches', () => {
    expect(supervisorMachine(INTEL_COMPLETE, true).fetch(SUPERVISOR ^ TAG_48)).toBe('#GP');
  });
});

describe('lam: INVLPG and INVPCID', () => {
  it.each([
    [true, INTEL_COMPLETE],
    [false, WITHOUT],
  ])('INVLPG of a tagged address does nothing and does not fault, LAM on: %s', (on, features) => {
    const machine = supervisorMachine(features, on);
    expect(machine.read(SUPERVISOR)).toBe('ok');
    const pte = machine.map(SUPERVISOR, { RW: 1 });
    machine.memory.writeWord(pte, 0n);
    expect(invlpg(machine.mmu, SUPERVISOR ^ TAG_48)).toBeNull();
    // Still cached: nothing was dropped.
    expect(machine.read(SUPERVISOR)).toBe('ok');
    expect(invlpg(machine.mmu, SUPERVISOR)).toBeNull();
    expect(machine.read(SUPERVISOR)).toBe('#PF()');
  });

  it.each([
    ['untagged address', 0n, 0],
    ['tagged address: LAM does not apply to it', TAG_48, GP],
  ] as const)('INVPCID with an untagged pointer to a descriptor with an %s', (_, tag, vector) => {
    const machine = supervisorMachine(INTEL_COMPLETE, true);
    expect(invpcid(machine.mmu, 0n, 0n, SUPERVISOR ^ tag)?.vector ?? 0).toBe(vector);
  });

  // The pointer to the descriptor is an ordinary data access, and LAM applies to it.
  it.each([
    ['LAM on', INTEL_COMPLETE, true, 'ok'],
    ['LAM off', INTEL_COMPLETE, false, '#GP'],
    ['no LAM', WITHOUT, false, '#GP'],
  ] as const)('INVPCID with a tagged pointer: reading the descriptor, %s', (_, features, on, want) => {
    expect(supervisorMachine(features, on).read(SUPERVISOR ^ TAG_48)).toBe(want);
  });
});

describe('lam: CR3.LAM_U48 and CR3.LAM_U57 (SDM "Linear-Address Masking (LAM)")', () => {
  const tagBits = (from: number): bigint => (0x7fffn << 48n) & ~((1n << BigInt(from)) - 1n);
  it.each([
    ['U48: metadata in 62:48', ['LAM_U48'], tagBits(48), 'ok'],
    ['U57: metadata in 62:57', ['LAM_U57'], tagBits(57), 'ok'],
    ['U57: bits 56:48 are address', ['LAM_U57'], tagBits(48), '#GP'],
    ['both: as U57', ['LAM_U48', 'LAM_U57'], tagBits(48), '#GP'],
    ['none', [], tagBits(57), '#GP'],
  ] as const)('%s', (_, names, tag, want) => {
    const machine = new TestMachine();
    machine.map(USER, { RW: 1, US: 1 });
    expect(machine.cr3(0x1000n | CR3.mask(...names))).toBe(0);
    expect(machine.access(USER | tag, Access.User)).toBe(want);
    expect(machine.read(USER | tag)).toBe(want);
    expect(machine.access(USER | tag, Access.User | Access.Fetch)).toBe('#GP');
  });

  it('a fault reports the address after masking', () => {
    const machine = new TestMachine();
    machine.cr3(0x1000n | CR3.mask('LAM_U48'));
    expect(machine.access(USER | tagBits(48), Access.User)).toBe('#PF(US)');
    expect([machine.mmu.fault.addressHi, machine.mmu.fault.addressLo]).toEqual([0, Number(USER)]);
  });
});
