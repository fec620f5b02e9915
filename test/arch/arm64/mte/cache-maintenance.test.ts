/** Cache maintenance of Allocation Tags: what is left of it without caches is who may execute it, and its faults. */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { TAG_CACHE_OPERATIONS } from '../../../../src/arch/arm64/mte/cache-maintenance.ts';
import { program, VA } from './program.ts';

const { User } = Access;
/** The word with Xt = X1, from the encoding of the manual. */
const dc = (op1: number, crm: number, op2: number): number =>
  0xd508_7001 | (op1 << 16) | (crm << 8) | (op2 << 5);
const CGVAC = dc(3, 10, 3);
const CIGDVAC = dc(3, 14, 5);
const IGVAC = dc(0, 6, 3);
const CGSW = dc(0, 10, 4);
const UNMAPPED = 0x70_0000n;
const trapped = (op1: number, crm: number, op2: number): string =>
  (0x6200_0000 + ((1 << 20) | (op2 << 17) | (op1 << 14) | (7 << 10) | (1 << 5) | (crm << 1))).toString(16);

describe('DC by address of tags', () => {
  it('changes no tag and no memory where it does not fault', () => {
    const machine = program({ sctlr: { UCI: 1 } }).set(1, VA);
    expect(machine.run(CGVAC)).toBe('none');
    expect(machine.run(CGVAC, User)).toBe('none');
    expect(machine.run(IGVAC)).toBe('none');
  });

  it('reports a fault of its address with CM = 1 and WnR = 1', () => {
    const machine = program({ sctlr: { UCI: 1 } }).set(1, UNMAPPED);
    expect(machine.run(CGVAC)).toBe('not present ESR 96000146 FAR 700000');
    expect(machine.run(CIGDVAC, User)).toBe('not present ESR 92000146 FAR 700000');
    expect(machine.run(IGVAC)).toBe('not present ESR 96000146 FAR 700000');
  });

  it.each([
    [CGVAC, 3, 10, 3],
    [CIGDVAC, 3, 14, 5],
  ])('is trapped at EL0 while SCTLR_EL1.UCI = 0: %#x', (word, op1, crm, op2) => {
    expect(
      program({ sctlr: { UCI: 0 } })
        .set(1, VA)
        .run(word, User),
    ).toContain(`ESR ${trapped(op1, crm, op2)}`);
  });

  it.each([IGVAC, CGSW])('is UNDEFINED at EL0 where only EL1 has it: %#x', (word) => {
    expect(
      program({ sctlr: { UCI: 1 } })
        .set(1, VA)
        .run(word, User),
    ).toContain('undefined');
  });

  it('by set and way looks at no address', () => {
    expect(program().set(1, UNMAPPED).run(CGSW)).toBe('none');
  });

  it('is there in sixteen forms, each with its encoding', () => {
    const encodings = TAG_CACHE_OPERATIONS.map(({ op1, crm, op2 }) => `${op1} ${crm} ${op2}`);
    expect(new Set(encodings).size).toBe(16);
  });
});
