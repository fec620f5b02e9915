/**
 * kvm-unit-tests x86/access.c: the product of entry, CPU and access flags, and its named cases, on 4 and 5 levels.
 * The product has 28,999,680 legal combinations; every 421st number is tried here, all of them with ACCESS_STRIDE=1 in the
 * environment (minutes).
 */
import { describe, expect, it } from 'vitest';
import type { INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { controlRegisters, movToCr4 } from '../../../../src/arch/x86_64/privileged.ts';
import { CR4 } from '../../../../src/arch/x86_64/registers.ts';
import { FLAG_NAMES, type FlagName, flagsOf, isLegal } from './access-flags.ts';
import { ACCESS_FEATURES, AccessMachine, AccessTest } from './access-machine.ts';

const STRIDE = Number(process.env['ACCESS_STRIDE'] ?? 421);
const LEVELS = [4, 5] as const;
const LEGAL_COMBINATIONS = 28_999_680;

/** Tries every `stride`th number. @returns what was wrong, at most ten, and how many were tried and faulted */
function tryProduct(
  machine: AccessMachine,
  stride: number,
): { wrong: string[]; tried: number; faults: number } {
  const test = new AccessTest(machine, 0xffff_9234_0000_0000n);
  const wrong: string[] = [];
  let tried = 0;
  let faults = 0;
  for (let flags = 0; flags < 1 << FLAG_NAMES.length && wrong.length < 10; flags += stride) {
    if (!isLegal(flags)) continue;
    test.flags = flags;
    test.setUp();
    const problem = test.run();
    if (problem !== '') wrong.push(problem);
    tried++;
    if (test.expected.fault) faults++;
  }
  return { wrong, tried, faults };
}

describe('access: the flag product', () => {
  it.each(LEVELS)(
    'every legal combination tried on %i levels does what the SDM says',
    (levels) => {
      const { wrong, tried, faults } = tryProduct(new AccessMachine(levels), STRIDE);
      expect(wrong).toEqual([]);
      expect(Math.abs(tried * STRIDE - LEGAL_COMBINATIONS)).toBeLessThan(LEGAL_COMBINATIONS / 50);
      // Both outcomes occur, or the product tests nothing.
      expect(Math.min(faults, tried - faults)).toBeGreaterThan(tried / 100);
    },
    1_800_000,
  );

  it.each(['adversarial', 'none'] as const)('the same with retention %s', (retention) => {
    expect(tryProduct(new AccessMachine(4, ACCESS_FEATURES, retention), 2111).wrong).toEqual([]);
  });

  it('notices a processor on which bit 36 is an address bit', () => {
    const wide = { ...ACCESS_FEATURES, maxPhysAddr: 37 };
    expect(tryProduct(new AccessMachine(4, wide), 2111).wrong).toHaveLength(10);
  });
});

/** A case answers what was wrong with each access; only empty strings are a pass. */
type Step = (machine: AccessMachine) => string[];

const NAMED: readonly (readonly [name: string, run: Step])[] = [
  ['corrupt_hugepage_trigger: two large pages on one frame keep their own permissions', corruptHugepage],
  ['check_pfec_on_prefetch_pte: the error code of a neighbour of a page just used', pfecOnPrefetch],
  ['check_large_pte_dirty_for_nowp: D of each of two mappings of one large page', largeDirtyWithoutWp],
  ['check_smep_andnot_wp: a page written with SMEP on still cannot be executed', smepAndNotWp],
  ['check_toggle_cr0_wp: CR0.WP counts as it is now, not as it was when the page was cached', toggleWp],
  [
    'check_effective_sp_permissions: a page directory shared by two PDPTEs with different rights',
    sharedDirectory,
  ],
];

function corruptHugepage(machine: AccessMachine): string[] {
  const first = new AccessTest(machine, 0xffff_9234_0000_0000n);
  const second = new AccessTest(machine, 0xffff_e666_0000_0000n, first);
  second.flags = flagsOf('cr0.wp', 'pde.pse', 'pde.p');
  second.setUp();
  const wrong = [second.run()];
  first.flags = second.flags | flagsOf('pde.rw');
  first.setUp();
  wrong.push(first.run());
  first.flags |= flagsOf('write');
  first.setExpected();
  wrong.push(first.run());
  second.flags |= flagsOf('write');
  second.setExpected();
  wrong.push(second.run());
  return wrong;
}

function pfecOnPrefetch(machine: AccessMachine): string[] {
  const first = new AccessTest(machine, 0xffff_9234_0600_1000n);
  const second = new AccessTest(machine, 0xffff_9234_0600_3000n, first);
  first.flags = flagsOf('pde.p', 'pte.p');
  first.setUp();
  second.flags = first.flags | flagsOf('pte.nx');
  second.setUp();
  return [first.run(), second.run()];
}

function largeDirtyWithoutWp(machine: AccessMachine): string[] {
  const first = new AccessTest(machine, 0xffff_9234_0300_0000n);
  const second = new AccessTest(machine, 0xffff_e666_0600_0000n, first);
  second.flags = flagsOf('pde.p', 'pde.pse');
  second.setUp();
  const wrong = [second.run()];
  first.flags = second.flags | flagsOf('write');
  first.setUp();
  wrong.push(first.run());
  second.flags |= flagsOf('write');
  second.setExpected();
  wrong.push(second.run());
  return wrong;
}

function smepAndNotWp(machine: AccessMachine): string[] {
  const test = new AccessTest(machine, 0xffff_9234_0600_1000n);
  const names: FlagName[] = [
    'pde.p',
    'pte.p',
    'pde.user',
    'pte.user',
    'pde.a',
    'pte.a',
    'cr4.smep',
    'cr0.wp',
  ];
  test.flags = flagsOf(...names, 'write');
  test.setUp();
  const wrong = [test.run()];
  test.flags = flagsOf(...names, 'fetch');
  test.setExpected();
  wrong.push(test.run());
  machine.setCr4('SMEP', false);
  return wrong;
}

function toggleWp(machine: AccessMachine): string[] {
  const test = new AccessTest(machine, 0xffff_9230_4200_7000n);
  const base = flagsOf('pde.p', 'pde.a', 'pte.p', 'pte.a', 'write');
  test.flags = base;
  test.setUp();
  return [0, flagsOf('cr0.wp')].map((wp) => {
    test.flags = base | wp;
    test.setExpected(false);
    machine.setCr0Wp(wp === 0);
    machine.setEferNx(true);
    machine.setEferNx(false);
    return test.run();
  });
}

function sharedDirectory(machine: AccessMachine): string[] {
  const base = 0xffff_9234_8000_0000n;
  const reader: FlagName[] = ['pde.p', 'pte.p', 'pde.user', 'pte.user', 'pde.a', 'pte.a', 'pte.rw', 'user'];
  const first = new AccessTest(machine, base);
  first.flags = flagsOf(...reader);
  first.setUp();
  const second = new AccessTest(machine, base + 0x20_0000n, first);
  second.flags = flagsOf(...reader, 'pde.rw', 'pte.d', 'write');
  second.setUp();
  // The second PDPTE is read-only and references the same page directory.
  const third = new AccessTest(machine, base + 0x4000_0000n, first);
  third.tables[3] = first.tables[3] as number;
  third.tables[2] = first.tables[2] as number;
  third.flags = first.flags | flagsOf('pdpte.ro');
  third.setUp();
  const fourth = new AccessTest(machine, base + 0x4020_0000n, second);
  fourth.tables[3] = first.tables[3] as number;
  fourth.tables[2] = second.tables[2] as number;
  fourth.flags = second.flags | flagsOf('pdpte.ro');
  fourth.setUp();
  // Setting up the third cleared the root entry that the first pair needs too, and set it again to the same table.
  return [first.run(), second.run(), third.run(), fourth.run()];
}

describe.each(LEVELS)('access on %i levels', (levels) => {
  it.each(NAMED)('%s', (_, run) => {
    const wrong = run(new AccessMachine(levels));
    expect(wrong.length).toBeGreaterThan(1);
    expect(wrong.filter((problem) => problem !== '')).toEqual([]);
  });
});

describe('access: what the processor lacks', () => {
  const refusedBit = (features: typeof INTEL_COMPLETE, levels: 4 | 5, change: bigint): number | null => {
    const { mmu } = new AccessMachine(levels, features);
    const before = controlRegisters(mmu);
    const fault = movToCr4(mmu, before.cr4 ^ change);
    if (fault !== null) expect(controlRegisters(mmu)).toEqual(before);
    return fault?.vector ?? null;
  };
  it.each([
    ['CR4.PKE without PKU is #GP', { ...ACCESS_FEATURES, pku: false }, 4, CR4.mask('PKE')],
    ['CR4.SMEP without SMEP is #GP', { ...ACCESS_FEATURES, smep: false }, 4, CR4.mask('SMEP')],
    ['toggling CR4.LA57 in 64-bit mode is #GP, 4 levels', ACCESS_FEATURES, 4, CR4.mask('LA57')],
    ['toggling CR4.LA57 in 64-bit mode is #GP, 5 levels', ACCESS_FEATURES, 5, CR4.mask('LA57')],
    ['toggling CR4.LA57 together with CR4.PSE is #GP', ACCESS_FEATURES, 4, CR4.mask('LA57', 'PSE')],
  ] as const)('%s', (_, features, levels, change) => {
    expect(refusedBit(features, levels, change)).toBe(13);
  });
});
