/** kvm-unit-tests x86/smap.c: supervisor accesses to user pages under CR4.SMAP and RFLAGS.AC, cached and not. */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { PTE } from '../../../../src/arch/x86_64/entries.ts';
import { invlpg, setAlignmentCheck } from '../../../../src/arch/x86_64/privileged.ts';
import { TestMachine } from './test-machine.ts';

const SUPERVISOR_PAGE = 0x40_0000n;
const USER_PAGE = 0x80_0000n;
const STACK_WRITE = Access.Write | Access.StackSegment;

function machineWithSmap(): TestMachine {
  const machine = new TestMachine();
  machine.map(SUPERVISOR_PAGE, { RW: 1 });
  machine.map(USER_PAGE, { RW: 1, US: 1 });
  expect(setAlignmentCheck(machine.mmu, false)).toBeNull();
  expect(machine.cr4(['SMAP', true])).toBe(0);
  return machine;
}

const ROWS = [
  ['write to supervisor page', SUPERVISOR_PAGE, Access.Write, false, 'ok'],
  ['read from user page with AC=1', USER_PAGE, Access.Read, true, 'ok'],
  ['read from user page with AC=0', USER_PAGE, Access.Read, false, '#PF(P)'],
  ['write to user page with AC=1', USER_PAGE, Access.Write, true, 'ok'],
  ['write to user page with AC=0', USER_PAGE, Access.Write, false, '#PF(P WR)'],
  ['write to user stack with AC=1', USER_PAGE, STACK_WRITE, true, 'ok'],
  ['write to user stack with AC=0', USER_PAGE, STACK_WRITE, false, '#PF(P WR)'],
  ['executing on user page with AC=0', USER_PAGE, Access.Fetch, false, 'ok'],
] as const;

describe.each(['without INVLPG', 'with INVLPG'] as const)('smap %s', (how) => {
  it.each(ROWS)('%s', (_, page, access, ac, want) => {
    const machine = machineWithSmap();
    // Cached with AC = 1 first, so that the rule is applied to a hit.
    setAlignmentCheck(machine.mmu, true);
    expect(machine.write(page)).toBe('ok');
    if (how === 'with INVLPG') invlpg(machine.mmu, page);
    setAlignmentCheck(machine.mmu, ac);
    expect(machine.access(page, access)).toBe(want);
  });
});

describe('smap with CR0.WP = 0 (check_smap_nowp)', () => {
  function readOnlyUserPage(): TestMachine {
    const machine = machineWithSmap();
    machine.map(USER_PAGE, { RW: 0, US: 1 });
    expect(machine.cr4(['SMAP', false])).toBe(0);
    expect(machine.cr0(['WP', false])).toBe(0);
    expect(machine.cr3(0x1000n)).toBe(0);
    return machine;
  }

  it('write to user page with SMAP=0, AC=0, WP=0, PTE.U=1 && PTE.W=0', () => {
    const machine = readOnlyUserPage();
    expect(machine.write(USER_PAGE)).toBe('ok');
  });

  it('read from user page with SMAP=1, AC=0, WP=0, PTE.U=1 && PTE.W=0', () => {
    const machine = readOnlyUserPage();
    expect(machine.write(USER_PAGE)).toBe('ok');
    expect(machine.cr4(['SMAP', true])).toBe(0);
    expect(machine.cr3(0x1000n)).toBe(0);
    expect(machine.read(USER_PAGE)).toBe('#PF(P)');
  });
});

describe('smap: implicit supervisor accesses, which smap.c leaves open', () => {
  it.each([true, false])('are refused on user pages whatever AC is (AC = %s)', (ac) => {
    const machine = machineWithSmap();
    setAlignmentCheck(machine.mmu, ac);
    expect(machine.access(USER_PAGE, Access.Implicit)).toBe('#PF(P)');
    expect(machine.access(SUPERVISOR_PAGE, Access.Implicit)).toBe('ok');
  });

  it('a refused write leaves the dirty flag clear', () => {
    const machine = machineWithSmap();
    const pte = machine.map(USER_PAGE, { RW: 1, US: 1 });
    expect(machine.write(USER_PAGE)).toBe('#PF(P WR)');
    expect(PTE.has(machine.memory.readWord(pte) ?? 0n, 'D')).toBe(false);
  });
});
