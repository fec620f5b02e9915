/**
 * kvm-unit-tests x86/cet.c, as far as it is about memory: the shadow-stack page it sets up (R/W = 0, D = 1) and which
 * accesses it allows; CR4.CET. The control-flow part needs instructions and is listed in not-applicable.test.ts.
 */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { PDE, type PTE } from '../../../../src/arch/x86_64/entries.ts';
import { AMD_ZEN4, INTEL_COMPLETE, INTEL_RECORDED } from '../../../../src/arch/x86_64/features.ts';
import { TestMachine } from './test-machine.ts';

const PAGE = 0x80_0000n;
const { User, Write, ShadowStack } = Access;
const SHADOW = { US: 1, RW: 0, D: 1, A: 1 } as const;

function machineWithCet(fields: Parameters<typeof PTE.encode>[0]): TestMachine {
  const machine = new TestMachine();
  expect(machine.cr4(['CET', true])).toBe(0);
  machine.map(PAGE, fields);
  return machine;
}

describe('cet: a shadow-stack page', () => {
  it.each([
    ['user shadow-stack read', SHADOW, User | ShadowStack, 'ok'],
    ['user shadow-stack write', SHADOW, User | ShadowStack | Write, 'ok'],
    ['user ordinary read', SHADOW, User, 'ok'],
    ['user ordinary write', SHADOW, User | Write, '#PF(P WR US)'],
    ['supervisor ordinary write, CR0.WP = 1', SHADOW, Write, '#PF(P WR)'],
    ['supervisor shadow-stack write to a user page', SHADOW, ShadowStack | Write, '#PF(P WR SS)'],
    ['supervisor shadow-stack write to a supervisor page', { ...SHADOW, US: 0 }, ShadowStack | Write, 'ok'],
    [
      'user shadow-stack write to a supervisor page',
      { ...SHADOW, US: 0 },
      User | ShadowStack | Write,
      '#PF(P WR US SS)',
    ],
    [
      'user shadow-stack write to a writable page',
      { ...SHADOW, RW: 1 },
      User | ShadowStack | Write,
      '#PF(P WR US SS)',
    ],
    [
      'user shadow-stack read of a clean read-only page',
      { ...SHADOW, D: 0 },
      User | ShadowStack,
      '#PF(P US SS)',
    ],
    [
      'user shadow-stack write, page not present',
      { ...SHADOW, P: 0 },
      User | ShadowStack | Write,
      '#PF(WR US SS)',
    ],
  ] as const)('%s gives %s', (_, fields, access, want) => {
    expect(machineWithCet(fields).access(PAGE, access)).toBe(want);
  });

  it('is none when an upper-level entry has R/W = 0', () => {
    const machine = machineWithCet(SHADOW);
    const pde = 0x3000n + 8n * ((PAGE >> 21n) & 0x1ffn);
    const entry = machine.memory.readWord(pde) ?? 0n;
    expect(PDE.has(entry, 'P')).toBe(true);
    machine.memory.writeWord(pde, PDE.set(entry, 'RW', false));
    expect(machine.access(PAGE, User | ShadowStack)).toBe('#PF(P US SS)');
  });
});

describe('cet: CR4.CET', () => {
  it.each([
    ['with CET, Intel', INTEL_COMPLETE, 0],
    ['with shadow stacks only, AMD', AMD_ZEN4, 0],
    ['without CET', INTEL_RECORDED, 13],
  ] as const)('can be set %s: vector %i', (_, features, vector) => {
    expect(new TestMachine(features).cr4(['CET', true])).toBe(vector);
  });

  it('needs CR0.WP = 1, and CR0.WP cannot be cleared while it is set', () => {
    const machine = new TestMachine();
    expect(machine.cr0(['WP', false])).toBe(0);
    expect(machine.cr4(['CET', true])).toBe(13);
    expect(machine.cr0(['WP', true])).toBe(0);
    expect(machine.cr4(['CET', true])).toBe(0);
    expect(machine.cr0(['WP', false])).toBe(13);
  });
});
