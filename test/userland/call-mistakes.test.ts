/** Mistakes in calls that TypeScript's types would show, or cannot show: each ends the run with one line. */
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import { type RunConfig, runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
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

describe('arguments that a call does not have', () => {
  const wrong = (value: unknown): never => value as never;
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
