/** What an explained walk says of PAN, of tag checks that were not made and of contiguous runs. */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { explainAccess } from '../../../src/arch/arm64/explain.ts';
import { DATA, type MachineOptions, Memory, SmallMachine } from './small-machine.ts';

const VA = 0x40_0000n;
const TAGGED_3 = VA | (3n << 56n);

function rules(
  options: MachineOptions,
  fields: object,
  address = VA,
  access = 0,
  pan = true,
): readonly string[] {
  const machine = new SmallMachine(options).map(VA, DATA, Memory.Tagged, fields);
  machine.mmu.setPan(pan);
  return explainAccess(machine.mmu, address, access).rules;
}

describe('PAN', () => {
  it('is a reason only where it denies: what EL0 can read or write', () => {
    expect(rules({}, { AP: 1 })).toContainEqual(
      expect.stringMatching(/^PSTATE.PAN = 1: EL1 data accesses to what EL0 can read or write are denied/),
    );
    expect(rules({}, { AP: 0 })).toContain('PSTATE.PAN = 1 denies nothing here: the page grants EL0 nothing');
  });

  it('says that EPAN is set without effect, and why', () => {
    const old = { features: { pan: 2 }, sctlr: { EPAN: 1 } } as const;
    expect(rules(old, { AP: 1 }).join()).toContain(
      'SCTLR_EL1.EPAN has no effect: ID_AA64MMFR1_EL1.PAN = 2, no FEAT_PAN3',
    );
    expect(rules({ sctlr: { EPAN: 1 } }, { AP: 1 }).join()).not.toContain('no effect');
  });

  it('covers what EL0 can only execute with EPAN', () => {
    expect(rules({ sctlr: { EPAN: 1 } }, { AP: 0, UXN: 0 }).join()).toContain('SCTLR_EL1.EPAN = 1: EL1 data');
    expect(rules({ sctlr: { EPAN: 0 } }, { AP: 0, UXN: 0 }).join()).toContain('the page grants EL0 execute');
  });

  it('is not named for another fault, and not for EL0', () => {
    expect(rules({}, { AP: 2 }, VA, Access.Write).join()).not.toContain('PAN');
    expect(rules({}, { AP: 1 }, VA, Access.User).join()).not.toContain('PAN');
  });
});

describe('a tag check that is not made', () => {
  const checked: MachineOptions = { sctlr: { TCF: 1, ATA: 1 }, tcr: { TBI0: 1 } };
  const why = (options: MachineOptions, address = TAGGED_3, access = 0): string | undefined =>
    rules(options, { AP: 0 }, address, access, false).find((rule) => rule.startsWith('tag check'));

  it('says that it was made, where it was', () => {
    expect(why(checked)).toMatch(/^tag check: logical tag 3, Allocation Tags 0: they differ/);
  });

  it('names PSTATE.TCO, and what the check would have seen', () => {
    const machine = new SmallMachine(checked).map(VA, DATA, Memory.Tagged, { AP: 0 });
    machine.mmu.setTco(true);
    expect(explainAccess(machine.mmu, TAGGED_3, 0).rules).toContain(
      'tag check: unchecked: PSTATE.TCO = 1; logical tag 3, Allocation Tags 0',
    );
  });

  it.each<[string, MachineOptions, RegExp]>([
    ['ATA', { ...checked, sctlr: { TCF: 1, ATA: 0 } }, /unchecked: SCTLR_EL1.ATA = 0;/],
    ['TCF', { ...checked, sctlr: { TCF: 0, ATA: 1 } }, /unchecked: SCTLR_EL1.TCF = 0;/],
    [
      'TCF = 3 on an old processor',
      { ...checked, sctlr: { TCF: 3, ATA: 1 }, features: { mte: 2 } },
      /unchecked: SCTLR_EL1.TCF = 3 without FEAT_MTE3;/,
    ],
  ])('names %s', (_what, options, words) => {
    expect(why(options)).toMatch(words);
  });

  it('names TCMA, the instruction, and memory that is not Tagged', () => {
    expect(why({ ...checked, tcr: { TBI0: 1, TCMA0: 1 } }, VA)).toMatch(
      /TCMA0 = 1 and the logical tag is 0;/,
    );
    expect(why(checked, TAGGED_3, Access.TagUnchecked)).toMatch(/from SP and an immediate/);
    const machine = new SmallMachine(checked).map(VA, DATA, Memory.Normal, { AP: 0 });
    expect(explainAccess(machine.mmu, TAGGED_3, 0).rules).toContain(
      'tag check: unchecked: the memory is not Tagged',
    );
  });
});

describe('a contiguous run', () => {
  it('has a size and both of its addresses', () => {
    expect(rules({}, { AP: 0, Contiguous: 1 }, VA, 0, false)).toContainEqual(
      expect.stringMatching(
        /^Contiguous = 1: one of 16 .* map 64 KiB of addresses from 0x400000 at 0x[0-9a-f]+0000 /,
      ),
    );
  });
});

describe('the level of a step', () => {
  it('is the lookup level of the architecture, or null', () => {
    const machine = new SmallMachine({}).map(VA, DATA, Memory.Tagged, { AP: 0 });
    const { steps } = explainAccess(machine.mmu, VA, 0);
    const levels = steps.filter(({ kind }) => kind === 'entry').map(({ level }) => level);
    expect(levels).toEqual([1, 2, 3]);
    expect(steps[0]).toMatchObject({ kind: 'choice', level: null });
  });
});
