/** kvm-unit-tests x86/pku.c and x86/pks.c: key 2 forbids access or writes; supervisor accesses to both kinds of page. */
import { describe, expect, it } from 'vitest';
import { Msr } from '../../../../src/arch/x86_64/model-specific-registers.ts';
import { wrmsr, wrpkru } from '../../../../src/arch/x86_64/privileged.ts';
import { TestMachine } from './test-machine.ts';

const SUPERVISOR_PAGE = 0x40_0000n;
const USER_PAGE = 0x80_0000n;
const AD = 0x10;
const WD = 0x20;

/** Every page has key 2. */
function machineWith(register: 'pkru' | 'pkrs', rights: number, wp: boolean): TestMachine {
  const machine = new TestMachine();
  machine.map(SUPERVISOR_PAGE, { RW: 1, PKEY: 2 });
  machine.map(USER_PAGE, { RW: 1, US: 1, PKEY: 2 });
  expect(machine.cr4([register === 'pkru' ? 'PKE' : 'PKS', true])).toBe(0);
  expect(machine.cr0(['WP', wp])).toBe(0);
  // Cached before the rights change: they are looked at on every access, not only on a walk.
  expect([machine.write(SUPERVISOR_PAGE), machine.write(USER_PAGE)]).toEqual(['ok', 'ok']);
  const fault =
    register === 'pkru' ? wrpkru(machine.mmu, rights) : wrmsr(machine.mmu, Msr.IA32_PKRS, BigInt(rights));
  expect(fault).toBeNull();
  return machine;
}

describe('pku', () => {
  it.each([
    ['write to supervisor page when pkru is ad and wp == 1', SUPERVISOR_PAGE, AD, true, 'write', 'ok'],
    ['write to supervisor page when pkru is ad and wp == 0', SUPERVISOR_PAGE, AD, false, 'write', 'ok'],
    ['write to supervisor page when pkru is wd and wp == 1', SUPERVISOR_PAGE, WD, true, 'write', 'ok'],
    ['write to supervisor page when pkru is wd and wp == 0', SUPERVISOR_PAGE, WD, false, 'write', 'ok'],
    ['write to user page when pkru is wd and wp == 0', USER_PAGE, WD, false, 'write', 'ok'],
    ['write to user page when pkru is wd and wp == 1', USER_PAGE, WD, true, 'write', '#PF(P WR PK)'],
    ['read from user page when pkru is ad', USER_PAGE, AD, false, 'read', '#PF(P PK)'],
  ] as const)('%s', (_, page, rights, wp, kind, want) => {
    const machine = machineWith('pkru', rights, wp);
    expect(machine[kind](page)).toBe(want);
    if (want !== 'ok') {
      wrpkru(machine.mmu, 0);
      expect(machine[kind](page)).toBe('ok');
    }
  });
});

describe('pks', () => {
  it.each([
    [
      'write to supervisor page when pkrs is ad and wp == 1',
      SUPERVISOR_PAGE,
      AD,
      true,
      'write',
      '#PF(P WR PK)',
    ],
    [
      'write to supervisor page when pkrs is ad and wp == 0',
      SUPERVISOR_PAGE,
      AD,
      false,
      'write',
      '#PF(P WR PK)',
    ],
    [
      'write to supervisor page when pkrs is wd and wp == 1',
      SUPERVISOR_PAGE,
      WD,
      true,
      'write',
      '#PF(P WR PK)',
    ],
    ['write to supervisor page when pkrs is wd and wp == 0', SUPERVISOR_PAGE, WD, false, 'write', 'ok'],
    ['write to user page when pkrs is wd and wp == 0', USER_PAGE, WD, false, 'write', 'ok'],
    ['write to user page when pkrs is wd and wp == 1', USER_PAGE, WD, true, 'write', 'ok'],
    ['read from user page when pkrs is ad', USER_PAGE, AD, false, 'read', 'ok'],
  ] as const)('%s', (_, page, rights, wp, kind, want) => {
    const machine = machineWith('pkrs', rights, wp);
    expect(machine[kind](page)).toBe(want);
    if (want !== 'ok') {
      wrmsr(machine.mmu, Msr.IA32_PKRS, 0n);
      expect(machine[kind](page)).toBe('ok');
    }
  });
});
