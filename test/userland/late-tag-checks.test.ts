/**
 * SEGV_MTEAERR: when a program hears of a tag check that failed asynchronously, and what is not done before it does.
 * @see Linux arch/arm64/kernel/syscall.c, `el0_svc_common`; arch/arm64/kernel/signal.c, `do_notify_resume`
 */
import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import type { Task } from '../../src/base/task.ts';
import type { Outcome } from '../../src/userland/outcome.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architectureName } from '../support/architecture.ts';

const ON_ARM64 = architectureName === 'arm64';
const architecture = architectureNamed('arm64');

function run(program: Program): ScenarioResult {
  return runScenario(defineScenario({ title: 'tags', programs: { program } }), { architecture });
}

/** What the program returned as its notes. */
function notes(program: (u: User, note: (text: string) => void) => ReturnType<Program>): string[] {
  const said: string[] = [];
  const result = run((u) => program(u, (text) => said.push(text)));
  expect(result.outcome.kind).toBe('finished');
  return said;
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;
const TAG = (tag: number): bigint => BigInt(tag) << 56n;

/** A page, and an access to it that an asynchronous check finds wrong: waits to be reported. */
function* storeWithWrongTag(u: User): Task<Outcome<bigint>> {
  yield* u.must(u.setTaggedAddressControl({ mode: 'async', tags: 0xfffe }));
  const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
  yield* u.must(u.store(page, 0));
  const wrong = yield* u.store(page + TAG(3), 7);
  return wrong.ok ? { ok: true, value: page } : wrong;
}

function* nothing(): Task<void> {}

/** Two programs on a CPU: the one is interrupted before or after a store whose tag is wrong, or not at all. */
const preempted = defineScenario({
  title: 'interrupts and late tag checks',
  cpus: 1,
  programs: {
    *program(u, share) {
      const page = yield* u.must(storeWithWrongTag(u));
      const other = page + 64n;
      yield* u.attempt(u.taggedAddressControl());
      let early = 0;
      const next = [
        () => u.store(other, 9),
        () => u.stg(other, TAG(4)),
        () => u.irg(other),
        () => u.munmap(page, 4096),
      ];
      for (let round = 0; round < 24; round++) {
        yield* u.must(u.store(other, 7));
        yield* u.must(u.stg(other, TAG(0)));
        yield* u.must(u.store(page + TAG(3), 1));
        const which = round % next.length;
        const outcome = yield* u.attempt((next[which] as () => Task<Outcome<unknown>>)());
        if (!outcome.ok) early++;
        // What was made has nothing before it that a check found: the call, or the one after it, brings the signal.
        else if (which === 3) yield* u.check(false, 'the call was made');
        else yield* u.attempt(u.taggedAddressControl());
        const value = yield* u.must(u.load(other + (which === 1 && outcome.ok ? TAG(4) : 0n)));
        const tag = (yield* u.must(u.ldg(other))) >> 56n;
        const made = value === 9n || tag === 4n;
        yield* u.check(outcome.ok || !made, `made, though the signal came first (${which})`);
        yield* u.must(u.stg(other, TAG(0)));
      }
      share.set('early', early - 6);
    },
    *other(u) {
      for (let round = 0; round < 150; round++) yield* u.taggedAddressControl();
    },
  },
});

describe.runIf(ON_ARM64)('a program whose tag checks are not all immediate', () => {
  it('gets an asynchronous fault with the next call, which is not made', () => {
    const said = notes(function* (u, note) {
      const page = yield* u.must(storeWithWrongTag(u));
      const outcome = yield* u.attempt(u.munmap(page, 4096));
      note(!outcome.ok && 'code' in outcome ? `${outcome.code} at ${hex(outcome.address)}` : 'no signal');
      note((yield* u.attempt(u.load(page))).ok ? 'still mapped' : 'unmapped');
      note((yield* u.munmap(page, 4096)).ok ? 'made again' : 'refused');
      note((yield* u.attempt(u.load(page))).ok ? 'still mapped' : 'unmapped');
    });
    expect(said).toEqual(['SEGV_MTEAERR at 0x0', 'still mapped', 'made again', 'unmapped']);
  });

  it('forks no child by such a call', () => {
    const said = notes(function* (u, note) {
      yield* u.must(storeWithWrongTag(u));
      const first = yield* u.attempt(
        u.fork(function* (child) {
          note('a child runs');
          yield* child.exit(0);
        }),
      );
      note(first.ok ? 'forked' : 'signal' in first ? first.signal : first.errno);
      const waited = yield* u.wait();
      note(waited.ok ? 'there is a child' : 'errno' in waited ? waited.errno : waited.signal);
    });
    expect(said).toEqual(['SIGSEGV', 'ECHILD']);
  });

  it('gets it before the next instruction when an interrupt came in between, which is not made', () => {
    let early = 0;
    let notEntered = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const { outcome, variables, events } = runScenario(preempted, { architecture, policy: 'random', seed });
      expect({ seed, outcome }).toEqual({ seed, outcome: { kind: 'finished' } });
      const entered = events.filter((event) => event.kind === 'syscall-enter' && event.name === 'munmap');
      notEntered += 6 - entered.length;
      early += Number(new Map(variables).get('early'));
    }
    expect(early).toBeGreaterThan(10);
    // Where the interrupt came before the instruction of a system call, the kernel has not seen the call at all.
    expect(notEntered).toBeGreaterThan(5);
  });

  it('shows the call that was not made as the kernel does: to be restarted', () => {
    const result = run(function* (u) {
      const page = yield* u.must(storeWithWrongTag(u));
      u.sigaction('SIGSEGV', 'return');
      yield* u.munmap(page, 4096);
    });
    const exits = result.events.filter(({ kind }) => kind === 'syscall-exit');
    expect(exits.at(-1)).toMatchObject({ name: 'munmap', result: expect.stringContaining('ERESTARTNOINTR') });
  });
});

describe.runIf(ON_ARM64)('a late tag check and the end of a process', () => {
  it.each<[string, (u: User) => Task<unknown>]>([
    ['exit', (u) => u.exit(0)],
    ['the end of the program', () => nothing()],
  ])('kills it at %s', (_name, end) => {
    const result = run(function* (u) {
      yield* u.must(storeWithWrongTag(u));
      yield* end(u);
    });
    expect(result.programs.find(({ name }) => name === 'program')).toMatchObject({
      killedBy: 'SIGSEGV SEGV_MTEAERR at 0x0',
    });
  });

  it('is followed by the exit where the program handles the signal', () => {
    const result = run(function* (u) {
      yield* u.must(storeWithWrongTag(u));
      u.sigaction('SIGSEGV', 'return');
    });
    expect(result.outcome.kind).toBe('finished');
    expect(result.programs.find(({ name }) => name === 'program')).toMatchObject({ killedBy: null });
  });

  it('is a signal that kills it where it does not ask', () => {
    const result = run(function* (u) {
      yield* u.must(u.setTaggedAddressControl({ mode: 'async' }));
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      yield* u.must(u.store(page + TAG(3), 7));
      yield* u.munmap(page, 4096);
    });
    expect(result.programs.find(({ name }) => name === 'program')).toMatchObject({
      killedBy: 'SIGSEGV SEGV_MTEAERR at 0x0',
    });
  });

  it('kills it between two instructions that touch no memory, once an interrupt has come', () => {
    const computing = defineScenario({
      title: 'interrupts while a program computes',
      cpus: 1,
      programs: {
        *program(u, share) {
          yield* u.must(storeWithWrongTag(u));
          for (let round = 1; round <= 20; round++) {
            yield* u.compute(10);
            share.set('rounds', round);
          }
        },
        *other(u) {
          for (let round = 0; round < 20; round++) yield* u.taggedAddressControl();
        },
      },
    });
    let early = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const { programs, variables } = runScenario(computing, { architecture, policy: 'random', seed });
      expect(programs[0]).toMatchObject({ killedBy: 'SIGSEGV SEGV_MTEAERR at 0x0' });
      if (new Map(variables).get('rounds') !== 20) early++;
    }
    expect(early).toBeGreaterThan(15);
  });
});
