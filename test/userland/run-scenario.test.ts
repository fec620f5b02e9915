import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { checkScenario, defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const OTHER_ARCHITECTURE = { x86_64: 'arm64', arm64: 'x86_64' }[architectureName];

const PAGE = 4096;

function run(scenario: Scenario, config: Partial<RunConfig> = {}): ScenarioResult {
  return runScenario(defineScenario(scenario), { architecture, ...config });
}

/** A scenario of one program. */
const one = (program: Program, more: Partial<Scenario> = {}): Scenario => ({
  title: 'one program',
  programs: { program },
  ...more,
});

const resultOf = (result: ScenarioResult, name = 'program') =>
  result.programs.find((program) => program.name === name);

/** Two processes on two CPUs that share a page after fork and write to it; a third one looks on. */
const busy: Scenario = {
  title: 'busy',
  cpus: 2,
  programs: {
    *writer(u, share) {
      const page = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'rw' }));
      for (const offset of [0n, 4096n, 8192n]) yield* u.must(u.store(page + offset, offset));
      const child = yield* u.must(
        u.fork(function* (c) {
          for (const offset of [0n, 4096n, 8192n]) yield* c.must(c.store(page + offset, 7n));
        }),
      );
      share.set('page', page);
      yield* u.must(u.mprotect(page, PAGE, 'r'));
      yield* u.must(u.wait(child));
      return yield* u.must(u.load(page + 4096n));
    },
    *reader(u, share) {
      const page = yield* share.waitWord('page');
      const target = u.pidOf('writer');
      const { data } = yield* u.must(u.processVmReadv(target, [{ address: page, bytes: 3 * PAGE }]));
      return data.length;
    },
  },
};

describe('a run', () => {
  it.each([
    { name: 'virtual time', config: {} },
    { name: 'round-robin', config: { policy: 'round-robin' as const } },
    { name: 'random, seed 1', config: { policy: 'random' as const, seed: 1 } },
    { name: 'random, seed 99', config: { policy: 'random' as const, seed: 99 } },
    {
      name: 'adversarial TLBs',
      config: { policy: 'random' as const, seed: 3, retention: 'adversarial' as const },
    },
  ])('is a function of scenario and configuration: $name', ({ config }) => {
    const first = run(busy, config);
    expect(first.outcome).toEqual({ kind: 'finished' });
    expect(run(busy, config)).toEqual(first);
  });

  it('differs between seeds', () => {
    const schedules = [1, 2, 3, 4].map((seed) => run(busy, { policy: 'random', seed }).schedule);
    expect(new Set(schedules).size).toBe(4);
  });

  it('is repeated exactly by its schedule', () => {
    const first = run(busy, { policy: 'random', seed: 5 });
    const again = run(busy, { schedule: first.schedule });
    expect(again.schedule).toBe(first.schedule);
    expect(again.events).toEqual(first.events);
    expect(again.programs).toEqual(first.programs);
  });

  it('refuses the schedule of another run', () => {
    expect(() => run(busy, { schedule: '77 78' })).toThrow(InputError);
  });

  it('gives what programs returned, also after interleavings', () => {
    for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
      const result = run(busy, { policy: 'random', seed });
      expect([resultOf(result, 'writer')?.value, resultOf(result, 'reader')?.value]).toEqual([
        4096n,
        3 * PAGE,
      ]);
    }
  });
});

describe('a signal', () => {
  it('kills the process that does nothing about it, and its program goes no further', () => {
    let after = false;
    const result = run(
      one(function* (u) {
        yield* u.load(0x1000n);
        after = true;
      }),
    );
    expect(after).toBe(false);
    expect(resultOf(result)).toMatchObject({
      state: 'dead',
      exitStatus: 11,
      killedBy: 'SIGSEGV SEGV_MAPERR at 0x1000',
      value: undefined,
    });
    expect(result.outcome).toEqual({ kind: 'finished' });
  });

  it('is a value inside attempt, with code and address', () => {
    const result = run(
      one(function* (u) {
        const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'r' }));
        const store = yield* u.attempt(u.store(page + 0x10n, 1));
        const fetch = yield* u.attempt(u.fetch(page));
        const hole = yield* u.attempt(u.load(page - 4n, 8));
        return [store, fetch, hole].map((r) =>
          r.ok ? 'ok' : 'code' in r ? `${r.code} ${r.address - page}` : r.errno,
        );
      }),
    );
    expect(resultOf(result)?.value).toEqual(['SEGV_ACCERR 16', 'SEGV_ACCERR 0', 'SEGV_MAPERR -4']);
  });

  it('is a value everywhere after sigaction, until the default is set again', () => {
    const result = run(
      one(function* (u) {
        u.sigaction('SIGSEGV', 'return');
        const first = yield* u.load(0x1000n);
        u.sigaction('SIGSEGV', 'default');
        yield* u.load(first.ok ? 0n : 0x2000n);
      }),
    );
    expect(resultOf(result)?.killedBy).toBe('SIGSEGV SEGV_MAPERR at 0x2000');
  });

  it('SIGKILL ends a process that waits, and its parent reaps it', () => {
    const result = run(
      one(function* (u) {
        const child = yield* u.must(
          u.fork(function* (_c, share) {
            yield* share.wait('never');
          }, 'sleeper'),
        );
        yield* u.must(u.kill(child, 'SIGKILL'));
        return yield* u.must(u.wait(child));
      }),
    );
    expect(resultOf(result)?.value).toEqual({ pid: 3, status: 9 });
  });
});

describe('the outcome of a run', () => {
  it('is a deadlock when processes wait for each other, with who waits for what', () => {
    const result = run({
      title: 'two that wait',
      programs: {
        *a(_u, share) {
          yield* share.wait('from b');
          share.set('from a', 1);
        },
        *b(_u, share) {
          yield* share.wait('from a');
          share.set('from b', 1);
        },
      },
    });
    if (result.outcome.kind !== 'deadlock') throw new Error(result.outcome.kind);
    expect(result.outcome.waits.map(({ task, object }) => [task, object])).toEqual([
      ['a', 'the shared variable "from b"'],
      ['b', 'the shared variable "from a"'],
    ]);
  });

  it('is a step bound when there are more steps than allowed', () => {
    const endless = one(function* (u) {
      for (;;) yield* u.compute(1);
    });
    expect(run(endless, { maxSteps: 500 })).toMatchObject({ outcome: { kind: 'step bound' }, steps: 500 });
  });

  it('is a failed assertion when a call that must succeed does not', () => {
    const result = run(
      one(function* (u) {
        yield* u.must(u.mmap({ bytes: 0, prot: 'r' }));
      }),
    );
    expect(result.outcome).toEqual({
      kind: 'assertion failed',
      name: 'program',
      text: 'a call that must succeed gave EINVAL',
    });
  });
});

describe('an assertion', () => {
  it('of `always` ends the run at the very step where it does not hold', () => {
    const result = run(
      one(
        function* (u, share) {
          share.set('x', 1);
          yield* u.compute(1);
          share.set('x', 2);
          yield* u.compute(1);
          share.set('x', 3);
          yield* u.compute(1);
        },
        {
          always: {
            'x stays below 2': (w) => Number(w.share.get('x') ?? 0) < 2 || `x is ${w.share.get('x')}`,
          },
        },
      ),
    );
    expect(result.outcome).toEqual({ kind: 'assertion failed', name: 'x stays below 2', text: 'x is 2' });
  });

  it('of `finally` sees the memory that the programs leave', () => {
    const scenario = one(
      function* (u, share) {
        const page = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
        yield* u.must(u.store(page + 4090n, 0x1122_3344_5566_7788n));
        share.set('page', page);
      },
      {
        finally: {
          'both pages hold their part': (w) => {
            const bytes = w.process('program')?.read((w.share.getWord('page') ?? 0n) + 4090n, 8);
            return bytes?.join() === '136,119,102,85,68,51,34,17' || `found ${bytes?.join()}`;
          },
          'this one does not hold': (w) => w.counter('fault') === 0,
        },
      },
    );
    const { outcome } = run(scenario);
    expect(outcome).toEqual({
      kind: 'assertion failed',
      name: 'this one does not hold',
      text: 'does not hold',
    });
  });
});

describe('a counter', () => {
  const asking = (name: string) =>
    one(
      function* (u) {
        yield* u.compute(1);
      },
      { finally: { asked: (w) => w.counter(name) === 0 } },
    );

  it('of what never happened is 0', () => {
    expect(run(asking('swap-out')).outcome).toEqual({ kind: 'finished' });
  });

  it.each([
    ['swapp-out', 'swap-out'],
    ['vma-lock-sucess', 'vma-lock-success'],
    ['tlb_flush', 'tlb-flush'],
  ])('that there is not is a mistake: %s', (name, near) => {
    expect(() => run(asking(name))).toThrow(
      `assertion "asked": there is no counter "${name}"; did you mean "${near}"?: expected one of fault, `,
    );
  });

  it('of a name that is like no other is a mistake too', () => {
    expect(() => run(asking('nonsense'))).toThrow('there is no counter "nonsense": expected one of');
  });
});

describe('MAP_POPULATE', () => {
  it('brings the pages in, so that the first store finds them', () => {
    const scenario = one(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw', populate: true }));
      yield* u.must(u.store(page, 1));
    });
    const result = run(scenario);
    expect(result.counters['fault'] ?? 0).toBe(0);
    expect(resultOf(result)?.minFlt).toBe(1);
  });
});

describe('mistakes of a scenario', () => {
  it('name the program that throws', () => {
    const broken = one(function* (u) {
      yield* u.compute(1);
      throw new TypeError('oops');
    });
    expect(() => run({ ...broken, file: '/x/run-scenario.test.ts' })).toThrow(
      /run-scenario\.test\.ts:\d+:\d+: program "program" threw TypeError: oops$/,
    );
  });

  it.each([
    {
      name: 'letters that are no protection',
      call: { bytes: PAGE, prot: 'rq' },
      message: /"rq" is not a protection/,
    },
    {
      name: 'a number that lost digits',
      call: { bytes: 2 ** 60, prot: 'r' },
      message: /is not exact as a number/,
    },
    { name: 'a number too wide', call: { bytes: 1n << 64n, prot: 'r' }, message: /does not fit 64 bits/ },
  ])('name the program and the call: $name', ({ call, message }) => {
    const broken = one(function* (u) {
      yield* u.mmap(call);
    });
    expect(() => run(broken)).toThrow(message);
    expect(() => run(broken)).toThrow(/^program "program": /);
  });

  it.each([
    { name: 'nothing', value: undefined, message: /not a scenario/ },
    { name: 'no title', value: { programs: {} }, message: /needs a title/ },
    { name: 'no programs', value: { title: 't', programs: {} }, message: /needs "programs"/ },
    { name: 'an unknown key', value: { title: 't', program: {} }, message: /a scenario has no "program"/ },
    {
      name: 'a program that is a number',
      value: { title: 't', programs: { p: 1 } },
      message: /program "p" is not a function/,
    },
    {
      name: 'a CPU that is not there',
      value: { title: 't', cpus: 2, placement: { p: 2 }, programs: { *p() {} } },
      message: /"placement" puts "p" on CPU 2: expected 0 to 1/,
    },
    {
      name: 'a flush that does not exist',
      value: { title: 't', omitTlbFlushes: ['wbinvd'], programs: { *p() {} } },
      message: /"omitTlbFlushes" is not known/,
    },
  ])('are found before anything runs: $name', ({ value, message }) => {
    expect(() => checkScenario(value)).toThrow(InputError);
    expect(() => checkScenario(value)).toThrow(message);
  });
});

describe('code of a scenario', () => {
  it('is named when an assertion throws, in `always` and in `finally`', () => {
    const throwing = {
      'asks too much': () => {
        throw new RangeError('no such thing');
      },
    };
    const program: Program = function* (u) {
      yield* u.compute(1);
    };
    const message = 'assertion "asks too much" threw RangeError: no such thing';
    expect(() => run(one(program, { always: throwing }))).toThrow(new InputError(message));
    expect(() => run(one(program, { finally: throwing }))).toThrow(new InputError(message));
  });

  it('is named when the test of a shared variable throws', () => {
    const broken = one(function* (_u, share) {
      share.set('x', 1);
      yield* share.wait('x', () => {
        throw new Error('oops');
      });
    });
    expect(() => run(broken)).toThrow(
      new InputError('program "program", waiting for "x", threw Error: oops'),
    );
  });

  it('is named when a program is no generator', () => {
    const plain = { title: 't', programs: { p: () => 7 } } as unknown as Scenario;
    expect(() => run(plain)).toThrow(/program "p": is not a generator/);
  });

  it('does not run on another architecture', () => {
    const other = one(function* () {}, { arch: OTHER_ARCHITECTURE });
    expect(() => run(other)).toThrow(`is for ${OTHER_ARCHITECTURE}, not ${architectureName}`);
  });
});
