/** What the view of the TLBs says of entries that a TLBI names which the CPU has not completed yet. */
import { expect, it } from 'vitest';
import type { Arm64KernelArch } from '../../../../src/arch/arm64/kernel/arm64-kernel-arch.ts';
import type { Arm64MmContext } from '../../../../src/arch/arm64/kernel/asid.ts';
import { addressOperand } from '../../../../src/arch/arm64/tlbi-operands.ts';
import { AT, MteWorld } from './mte-world.ts';

it('trusts an entry until it is named by a TLBI, not only until the DSB drops it', () => {
  const world = new MteWorld(2);
  const task = world.process('p', 1);
  world.map(task, 2);
  world.store(task, AT, 1);
  world.store(task, AT + 0x1000n, 1);
  const { kernel, tlbView } = world.system;
  const arch = kernel.arch as Arm64KernelArch;
  const context = task.mm?.context as Arm64MmContext;
  const first = Number(AT >> 12n);
  const trusted = (page: number): readonly boolean[] => {
    const entries = tlbView.cachedTranslations(1, [context]).filter((entry) => entry.page === page);
    return [...new Set(entries.map((entry) => entry.trusted))];
  };
  const tables = (): readonly boolean[] => [
    ...new Set(tlbView.cachedTables(1, [context]).map((entry) => entry.trusted)),
  ];
  expect([trusted(first), trusted(first + 1), tables()]).toEqual([[true], [true], [true]]);
  arch.domain.tlbi(0, 'VALE1IS', addressOperand(first, arch.asids.asidOf(context)));
  expect([trusted(first), trusted(first + 1), tables()]).toEqual([[false], [true], [true]]);
  arch.domain.dsb(0, 'ISH');
  expect([trusted(first), trusted(first + 1)]).toEqual([[], [true]]);
  arch.domain.tlbi(0, 'VAE1IS', addressOperand(first, arch.asids.asidOf(context)));
  expect(tables()).toContain(false);
});

it('has no entry left that refuses what __ptep_set_access_flags allows, and all where only the Access flag is set', () => {
  const world = new MteWorld();
  const task = world.process('p');
  world.map(task, 1);
  world.store(task, AT, 1);
  const { kernel, tlbView } = world.system;
  const context = task.mm?.context as Arm64MmContext;
  const page = Number(AT >> 12n);
  const left = (dirty: boolean): number => {
    world.run(task, kernel.arch.flushAccessFlags(0, context, page, dirty));
    return tlbView.cachedTranslations(0, [context]).filter((entry) => entry.page === page).length;
  };
  expect(left(false)).toBeGreaterThan(0);
  expect(left(true)).toBe(0);
});
