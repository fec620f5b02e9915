/** Scenarios on processors other than the default one. */
import { expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import type { RunConfig } from '../../src/userland/run-scenario.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';

const architecture = architectureNamed('x86_64');
/** Bit 55: beyond what 4 levels reach. */
const HIGH = 1n << 55n;

const storesWhereItIsPut = defineScenario({
  title: 'store and load at the address asked for',
  cpus: 2,
  programs: {
    *owner(u) {
      const at = yield* u.must(u.mmap({ address: HIGH, bytes: 0x2000n, prot: 'rw' }));
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

it.each([['intel-sapphire-rapids'], ['intel-complete'], ['amd-zen4']])(
  'on %s with 5 levels, mmap takes a hint above 47 bits (Linux, x86_64/5level-paging)',
  (cpuModel) => {
    const { value, used } = run({ cpuModel, levels: 5 });
    expect(value).toEqual([HIGH, 0x1234n]);
    expect(used).toMatchObject({ cpuModel, levels: 5, tlbProfile: 'golden-cove' });
  },
);

it.each([[{ cpuModel: 'amd-zen4' }], [{ tlbProfile: 'plain-two-level' }], [{}]])(
  'with 4 levels, %o, the hint cannot be taken and the mapping goes below 47 bits',
  (config) => {
    const { value, used } = run(config);
    expect(value[0]).toBeLessThan(1n << 47n);
    expect(value[1]).toBe(0x1234n);
    expect(used).toMatchObject({ levels: 4, ...config });
  },
);

it('with 5 levels a mapping that asks for no address stays below 47 bits', () => {
  const asksNothing = defineScenario({
    title: 'mmap without a hint',
    programs: {
      *owner(u) {
        return yield* u.must(u.mmap({ bytes: 0x1000n, prot: 'rw' }));
      },
    },
  });
  const { programs } = runScenario(asksNothing, { architecture, cpuModel: 'amd-zen4', levels: 5 });
  expect(programs[0]?.value as bigint).toBeLessThan(1n << 47n);
});

it.each([
  [
    { cpuModel: 'i486' },
    "no such CPU model: expected intel-complete, intel-recorded, intel-sapphire-rapids, intel-broadwell, amd-zen4, found 'i486'",
  ],
  [{ tlbProfile: 'huge' }, "no such TLB profile: expected golden-cove, plain-two-level, found 'huge'"],
  [{ levels: 3 }, 'levels of the page tables: expected 4 or 5, found 3'],
  [
    { levels: 5 },
    'CPU model intel-broadwell has no page tables of 5 levels: expected one of intel-complete, intel-recorded, intel-sapphire-rapids, amd-zen4',
  ],
])('refuses %o in one line that lists what there is', (config, message) => {
  expect(() => runScenario(storesWhereItIsPut, { architecture, ...config })).toThrow(message);
});
