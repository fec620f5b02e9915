/** Mistakes in calls that TypeScript's types would show, or cannot show: each ends the run with one line. */
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import type { Task } from '../../src/base/task.ts';
import { scenarioSummary } from '../../src/report/scenario-text.ts';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

function run(program: Program, config: Partial<RunConfig> = {}): ScenarioResult {
  return runScenario(defineScenario({ title: 'a mistake', programs: { program } }), {
    architecture,
    ...config,
  });
}

function mistake(program: Program): string {
  try {
    run(program);
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
  return 'nothing was said';
}

const wrong = <T = never>(value: unknown): T => value as T;

describe('arguments that a call does not have', () => {
  it.each<[string, Program, string]>([
    [
      'an unknown key of mmap',
      function* (u) {
        yield* u.mmap(wrong({ bytes: 4096, prot: 'rw', flags: ['fixed'] }));
      },
      'program "program": mmap has no "flags": expected address, bytes, prot, shared, validate, droppable, fixed, noreplace, growsDown, populate',
    ],
    [
      'a misspelt key of mmap',
      function* (u) {
        yield* u.mmap(wrong({ bytes: 4096, prot: 'rw', growsdown: true }));
      },
      'program "program": mmap has no "growsdown"; did you mean "growsDown"?',
    ],
    [
      'a flag of mmap that is no boolean',
      function* (u) {
        yield* u.mmap(wrong({ bytes: 4096, prot: 'rw', fixed: 1 }));
      },
      'program "program": mmap: fixed: expected true or false, found 1',
    ],
    [
      'mmap without a length',
      function* (u) {
        yield* u.mmap(wrong({ prot: 'rw' }));
      },
      'program "program": mmap: bytes is not a number: expected a number or bigint, found undefined',
    ],
    [
      'an unknown key of a range',
      function* (u) {
        yield* u.processVmReadv(2, [wrong({ address: 0n, length: 8 })]);
      },
      'program "program": a range of processVmReadv has no "length": expected address, bytes',
    ],
    [
      'one range in place of a list',
      function* (u) {
        yield* u.processVmReadv(2, wrong({ address: 0n, bytes: 8 }));
      },
      'program "program": processVmReadv: the ranges: expected a list of { address, bytes }, found object',
    ],
    [
      'a width that no load has',
      function* (u) {
        yield* u.load(0x1000n, wrong(3));
      },
      'program "program": load: bytes: expected 1, 2, 4 or 8, found 3',
    ],
  ])('%s', (_, program, text) => {
    expect(mistake(program)).toContain(text);
  });
});

describe('what is no descriptor, and no call', () => {
  it.each<[string, (u: User, fd: number) => Task<unknown>]>([
    ['kvmRead', (u, fd) => u.kvmRead(fd, 0n, 8)],
    ['pread', (u, fd) => u.pread(fd, 8, 0)],
    ['close', (u, fd) => u.close(fd)],
    ['procMemRead', (u, fd) => u.procMemRead(fd, 0n, 8)],
    ['pidfdGetfd', (u, fd) => u.pidfdGetfd(2, fd)],
    ['dmaRead', (u, fd) => u.dmaRead(fd, 0n, 8)],
    ['mmap', (u, fd) => u.mmap({ bytes: 4096, prot: 'r', fd })],
    ['deviceFetchAdd', (u, fd) => u.deviceFetchAdd(fd, 0n, 1)],
    ['uprobeUnregister', (u, fd) => u.uprobeUnregister(fd)],
    ['uffd.read', (u, fd) => u.uffd(fd).read()],
  ])('a descriptor of %s that is no number', (_, call) => {
    const says = (fd: unknown) =>
      mistake(function* (u) {
        yield* call(u, wrong(fd));
      });
    expect(says('3')).toContain('program "program": the descriptor is no whole number: expected');
    expect(says('3')).toContain("found '3'");
    expect(says(1.5)).toContain('found 1.5');
    expect(says(77)).toBe('nothing was said');
  });

  it('a call that there is not is named, with one that is like it', () => {
    const says = (call: (u: never) => unknown): string =>
      mistake(function* (u) {
        yield call(wrong(u)) as never;
      });
    expect(says((u: { kvmRaed(): void }) => u.kvmRaed())).toBe(
      'program "program": User has no call kvmRaed; did you mean kvmRead?',
    );
    expect(says((u: { frobnicate(): void }) => u.frobnicate())).toBe(
      'program "program": User has no call frobnicate',
    );
    expect(says(() => wrong<{ zzzzz(): void }>({}).zzzzz())).toContain('threw TypeError');
    const share = mistake(function* (u, shared) {
      yield* u.compute(1);
      const theShare = wrong<{ wiat(): void }>(shared);
      theShare.wiat();
    });
    expect(share).toBe('program "program": Share has no call wiat; did you mean wait?');
  });
});

describe('configurations of a run', () => {
  const program: Program = function* (u) {
    yield* u.compute(1);
  };
  const says = (config: object): string => {
    try {
      run(program, config);
    } catch (error) {
      if (error instanceof InputError) return error.message;
      throw error;
    }
    return 'nothing was said';
  };
  it.each([
    [{ desing: 'v4' }, 'the configuration of a run has no "desing"; did you mean "design"?'],
    [{ polcy: 'random' }, 'the configuration of a run has no "polcy"; did you mean "policy"?'],
    [
      { policy: 'stalled' },
      "the policy is not known: expected virtual-time, round-robin, random, stalling, found 'stalled'",
    ],
  ])('%j is refused', (config, text) => {
    expect(says(config)).toContain(text);
  });
});

describe('names in placement', () => {
  it('that no process had are remarked on at the end; those of children, when there were some', () => {
    const result = (children: number) =>
      runScenario(
        defineScenario({
          title: 'placed',
          cpus: 2,
          placement: { target: 1, tragte: 0, helper: 1 },
          programs: {
            *target(u) {
              if (children === 0) return;
              const pid = yield* u.must(u.fork(function* () {}, 'helper'));
              yield* u.must(u.wait(pid));
            },
          },
        }),
        { architecture },
      );
    const remark = '"placement" names "tragte", and no process had that name; did you mean "target"?';
    expect(result(1)).toMatchObject({ outcome: { kind: 'finished' }, remarks: [remark] });
    expect(result(0).remarks).toEqual([remark, '"placement" names "helper", and no process had that name']);
    expect(scenarioSummary(result(1))).toContain(`WARNING: ${remark}`);
  });
});

it('a result counts remote calls and bytes of every path that copies', () => {
  const result = runScenario(
    defineScenario({
      title: 'paths',
      programs: {
        *target(u, share) {
          const at = yield* u.must(u.mmap({ bytes: 8192, prot: 'rw' }));
          yield* u.must(u.storeBytes(at, new TextEncoder().encode('text\0')));
          share.set('at', at);
          yield* share.wait('over');
        },
        *reader(u, share) {
          const address = yield* share.waitWord('at');
          const pid = u.pidOf('target');
          yield* u.must(u.processVmReadv(pid, [{ address, bytes: 100 }]));
          yield* u.must(
            u.processVmWritev(pid, [{ address: address + 4000n, bytes: 200 }], new Uint8Array(200)),
          );
          yield* u.must(u.copyRemoteVmStr(pid, address, 64));
          share.set('over', true);
        },
      },
    }),
    { architecture },
  );
  expect(result.remoteAccess).toMatchObject({ calls: 3, bytes: 100 + 200 + 5 });
});

describe('a call that was made and not run', () => {
  it.each<[string, Program, string]>([
    [
      'before the next call',
      function* (u) {
        u.store(0x1000n, 1n);
        yield* u.compute(1);
      },
      'store was made and not run before compute: is its yield* missing?',
    ],
    [
      'inside must',
      function* (u) {
        u.must(u.munmap(0x1000n, 4096));
        yield* u.compute(1);
      },
      'munmap was made and not run before compute',
    ],
    [
      'at the end of the program',
      function* (u) {
        yield* u.compute(1);
        u.check(false, 'never seen');
      },
      'check was made and not run when the program ended',
    ],
    [
      'waiting for a variable',
      function* (u, share) {
        share.wait('never set');
        yield* u.compute(1);
      },
      'share.wait was made and not run before compute',
    ],
  ])('%s', (_, program, text) => {
    expect(mistake(program)).toContain(`program "program": ${text}`);
  });

  it('is none when calls are nested, or a call is kept for later', () => {
    const { outcome } = run(function* (u, share) {
      share.set('word', 1);
      const page = u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      const at = yield* page;
      yield* u.must(u.attempt(u.store(at, yield* share.waitWord('word'))));
    });
    expect(outcome).toEqual({ kind: 'finished' });
  });
});

describe('the timeline names every argument', () => {
  const argsOf = (result: ScenarioResult, name: string) =>
    result.events.flatMap((event) =>
      event.kind === 'syscall-enter' && event.name === name ? [event.args.join(', ')] : [],
    );

  it('of mmap: its flags', () => {
    const result = run(function* (u) {
      yield* u.mmap({ address: 0x10000n, bytes: 4096, prot: 'rw', fixed: true, populate: true });
      yield* u.mmap({ address: 0x10000n, bytes: 4096, prot: 'rw', shared: true, noreplace: true });
      yield* u.mmap({ bytes: 8192, prot: 'r', growsDown: true });
    });
    expect(argsOf(result, 'mmap')).toEqual([
      '0x10000, 0x1000, rw, private|fixed|populate',
      '0x10000, 0x1000, rw, shared|noreplace',
      '0x0, 0x2000, r, private|growsDown',
    ]);
  });

  it('of process_vm_readv: also when there are no ranges', () => {
    const result = run(function* (u) {
      return yield* u.processVmReadv(u.pid, []);
    });
    expect(argsOf(result, 'process_vm_readv')).toEqual(['2, no ranges']);
    const exit = result.events.find(({ kind }) => kind === 'syscall-exit');
    expect(exit).toMatchObject({ result: 'bytes 0, data (none)' });
  });
});
