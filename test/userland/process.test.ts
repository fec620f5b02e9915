/** What a process of a scenario starts with: its address space, its time, its names. */
import { describe, expect, it } from 'vitest';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { checkScenario, defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const PAGE = 4096;

const run = (scenario: Scenario): ScenarioResult => runScenario(defineScenario(scenario), { architecture });

const one = (program: Program, more: Partial<Scenario> = {}): Scenario => ({
  title: 'one program',
  programs: { program },
  ...more,
});

describe('a process', () => {
  it('lays an address space out as exec of a small program does, with the gap for the stack below its end', () => {
    const result = run(
      one(function* (u) {
        const heap = yield* u.must(u.brk(0n));
        // Not a heap: below start_brk the break stays.
        const refused = yield* u.must(u.brk(0x1_0000n));
        const nothing = yield* u.attempt(u.load(0n));
        const grown = yield* u.must(u.brk(heap + 0x1000n));
        yield* u.must(u.store(heap, 1n));
        const stays = yield* u.must(u.brk(heap - 0x1000n));
        const mapped = yield* u.must(u.mmap({ bytes: PAGE, prot: 'r' }));
        return [heap, refused, nothing.ok, grown, stays, mapped];
      }),
    );
    expect(result.programs[0]?.value).toEqual([
      0x40_2000n,
      0x40_2000n,
      false,
      0x40_3000n,
      0x40_3000n,
      { x86_64: 0x7fff_f7ff_e000n, arm64: 0xffff_f7ff_f000n }[architectureName],
    ]);
  });

  it('starts the child of a fork on another CPU not before the fork', () => {
    const result = run(
      one(
        function* (u) {
          yield* u.compute(1000);
          yield* u.must(u.fork(function* () {}, 'child'));
        },
        { cpus: 2, placement: { child: 1 } },
      ),
    );
    const ofChild = result.events
      .filter((event) => event.cpu === 1)
      .map(({ kind, time }) => [kind, time >= 1000]);
    expect(ofChild.slice(0, 2)).toEqual([
      ['task-start', true],
      ['task-switch', true],
    ]);
  });

  it('names address spaces after their processes', () => {
    const page = 0x10_0000n;
    const result = run({
      title: 'two processes',
      programs: {
        *target(u, share) {
          yield* u.must(u.mmap({ address: page, fixed: true, bytes: PAGE, prot: 'rw' }));
          share.set('ready', true);
        },
        *other(u, share) {
          yield* share.wait('ready');
          yield* u.must(
            u.processVmWritev(u.pidOf('target'), [{ address: page, bytes: 1 }], Uint8Array.of(1)),
          );
        },
      },
    });
    expect(result.events.filter(({ kind }) => kind === 'fault-done')).toMatchObject([
      { result: expect.stringContaining('write by get_user_pages in mm of target: ') as string },
    ]);
  });
});

describe('the architecture of a scenario', () => {
  it.each([architectureName, 'both', undefined])('may be %s for a run', (arch) => {
    const scenario = one(function* () {}, arch === undefined ? {} : { arch });
    expect(run(scenario).outcome.kind).toBe('finished');
  });

  it('is a name that this run’s architecture must have', () => {
    expect(() => run(one(function* () {}, { arch: 'vax' }))).toThrow(`is for vax, not ${architectureName}`);
  });

  it.each([7, ''])('is a name: %s is refused', (arch) => {
    expect(() => checkScenario({ ...one(function* () {}), arch })).toThrow('"arch" is not a name');
  });
});
