/** Scenarios on processors other than the default one. */
import { expect, it } from 'vitest';
import { TLB_PROFILES } from '../../src/hardware/retention.ts';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { architecture, architectureName } from '../support/architecture.ts';

/** Where the architectures differ; `high` is an address beyond what 4 levels reach. */
const { high, tlb, window, five, four, fallback, refused } = {
  x86_64: {
    high: 1n << 55n,
    tlb: 'golden-cove',
    window: 47n,
    five: ['intel-sapphire-rapids', 'intel-complete', 'amd-zen4'],
    four: 'amd-zen4',
    fallback: 'intel-broadwell',
    refused: {
      models: 'intel-complete, intel-recorded, intel-sapphire-rapids, intel-broadwell, amd-zen4',
      able: 'intel-complete, intel-recorded, intel-sapphire-rapids, amd-zen4',
    },
  },
  arm64: {
    high: 1n << 51n,
    tlb: 'neoverse-v2',
    window: 48n,
    five: ['arm64-complete', 'qemu-10.0-max', 'qemu-7.2-max'],
    four: 'neoverse-v2',
    fallback: 'neoverse-v2',
    refused: {
      models:
        'arm64-complete, arm64-recorded, qemu-7.2-max, qemu-10.0-max, neoverse-v2, neoverse-n1, cortex-a72',
      able: 'arm64-complete, arm64-recorded, qemu-7.2-max, qemu-10.0-max',
    },
  },
}[architectureName];

const storesWhereItIsPut = defineScenario({
  title: 'store and load at the address asked for',
  cpus: 2,
  programs: {
    *owner(u) {
      const at = yield* u.must(u.mmap({ address: high, bytes: 0x2000n, prot: 'rw' }));
      yield* u.must(u.store(at + 0x1000n, 0x1234n));
      yield* u.must(
        u.fork(function* (child) {
          yield* child.must(child.store(at + 0x1000n, 0x5678n));
        }, 'child'),
      );
      yield* u.wait();
      return [at, yield* u.must(u.load(at + 0x1000n))];
    },
  },
});

const run = (config: Omit<RunConfig, 'architecture'>) => {
  const { outcome, programs, config: used } = runScenario(storesWhereItIsPut, { architecture, ...config });
  expect(outcome).toEqual({ kind: 'finished' });
  return { value: programs[0]?.value as [bigint, bigint], used };
};

it.each(five)(
  'on %s with 5 levels, mmap takes a hint above the window (Linux, x86_64/5level-paging, arm64/memory)',
  (cpuModel) => {
    const { value, used } = run({ cpuModel, levels: 5 });
    expect(value).toEqual([high, 0x1234n]);
    expect(used).toMatchObject({ cpuModel, levels: 5, tlbProfile: tlb });
  },
);

it.each([[{ cpuModel: four }], [{ tlbProfile: 'plain-two-level' }], [{}]])(
  'with 4 levels, %o, the hint cannot be taken and the mapping goes below the end of the window',
  (config) => {
    const { value, used } = run(config);
    expect(value[0]).toBeLessThan(1n << window);
    expect(value[1]).toBe(0x1234n);
    expect(used).toMatchObject({ levels: 4, ...config });
  },
);

it('with 5 levels a mapping that asks for no address stays within the window of 4 levels', () => {
  const asksNothing = defineScenario({
    title: 'mmap without a hint',
    programs: {
      *owner(u) {
        return yield* u.must(u.mmap({ bytes: 0x1000n, prot: 'rw' }));
      },
    },
  });
  const { programs } = runScenario(asksNothing, { architecture, cpuModel: five[0] as string, levels: 5 });
  expect(programs[0]?.value as bigint).toBeLessThan(1n << window);
});

it.each([
  [{ cpuModel: 'i486' }, `no such CPU model: expected ${refused.models}, found 'i486'`],
  [
    { tlbProfile: 'huge' },
    `no such TLB profile: expected ${Object.keys(TLB_PROFILES).join(', ')}, found 'huge'`,
  ],
  [{ levels: 3 }, 'levels of the page tables: expected 4 or 5, found 3'],
  [
    { cpuModel: fallback, levels: 5 },
    `CPU model ${fallback} has no page tables of 5 levels: expected one of ${refused.able}`,
  ],
])('refuses %o in one line that lists what there is', (config, message) => {
  expect(() => runScenario(storesWhereItIsPut, { architecture, ...config })).toThrow(message);
});
