/** A breakpoint in a page that userfaultfd has write-protected since: it stays, and so does its count. */
import { expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const CODE = 0x10n;
const COUNTER = 0x20n;

/** What stands at the place and in the counter: with the breakpoint, and after it was to be taken out. */
const removed = (protect: boolean): Program =>
  function* (u) {
    const fd = yield* u.must(u.memfdCreate('code'));
    yield* u.must(u.ftruncate(fd, 8192));
    const code = yield* u.must(u.mmap({ fd, bytes: 4096, prot: 'rx' }));
    const data = yield* u.must(u.mmap({ fd, bytes: 4096, offset: 4096, prot: 'rw' }));
    const probe = yield* u.must(
      u.uprobeRegister({ fd, offset: Number(CODE), refCtrOffset: 4096 + Number(COUNTER) }),
    );
    const look = function* () {
      return [yield* u.must(u.load(code + CODE, 1)), yield* u.must(u.load(data + COUNTER, 2))];
    };
    const before = yield* look();
    if (protect) {
      const uffd = yield* u.must(u.userfaultfd({}));
      yield* u.must(uffd.register({ address: code, bytes: 4096, writeProtect: true }));
      yield* u.must(uffd.writeProtect({ address: code, bytes: 4096, protect: true }));
    }
    yield* u.must(u.uprobeUnregister(probe));
    return [before, yield* look()];
  };

it.each([
  ['no longer there', false],
  ['there still, and counted, where the page may not be written', true],
])('a breakpoint that was taken out is %s', (_name, protect) => {
  const scenario = defineScenario({
    title: 'uprobe',
    lockdep: true,
    programs: { program: removed(protect) },
  });
  const { outcome, programs } = runScenario(scenario, { architecture });
  expect(outcome).toEqual({ kind: 'finished' });
  const value = (programs[0]?.value ?? []) as readonly (readonly bigint[])[];
  const [before = [], after = []] = value;
  expect([before[0] === 0n, before[1]]).toEqual([false, 1n]);
  expect(after).toEqual(protect ? before : [0n, 0n]);
});
