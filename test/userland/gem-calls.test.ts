/** Memory of a graphics driver as programs see it: they share it, and lose it when the driver takes it back. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;

function run(program: Program): { readonly value: unknown; readonly freeFrames: readonly number[] } {
  const freeFrames: number[] = [];
  const scenario = defineScenario({
    title: 'gem',
    lockdep: true,
    programs: { program },
    finally: { 'frames are counted': (world) => freeFrames.push(world.counter('free-frames')) > 0 },
  });
  const result = runScenario(scenario, { architecture });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return { value: result.programs[0]?.value, freeFrames };
}

describe('gemCreate', () => {
  it('gives zeros that all mappings share, also after fork', () => {
    const { value } = run(function* (u) {
      const fd = yield* u.must(u.gemCreate(PAGE + 1));
      const one = yield* u.must(u.mmap({ fd, bytes: 2 * PAGE, prot: 'rw', shared: true }));
      const two = yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'r', shared: true, offset: PAGE }));
      const before = yield* u.must(u.load(two));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.must(c.store(one + BigInt(PAGE), 7));
        }),
      );
      yield* u.must(u.wait(child));
      return [before, yield* u.must(u.load(two))];
    });
    expect(value).toEqual([0n, 7n]);
  });

  it.each([
    ['a private mapping', { shared: false, bytes: PAGE }],
    ['a mapping beyond the end', { shared: true, bytes: 2 * PAGE }],
  ])('refuses %s', (_, args) => {
    const { value } = run(function* (u) {
      const fd = yield* u.must(u.gemCreate(PAGE));
      const mapped = yield* u.mmap({ fd, prot: 'rw', ...args });
      return mapped.ok || ('errno' in mapped && mapped.errno);
    });
    expect(value).toBe('EINVAL');
  });

  it('gives its pages back when nobody has it any more', () => {
    const used = run(function* (u) {
      const fd = yield* u.must(u.gemCreate(8 * PAGE));
      yield* u.must(u.close(fd));
    });
    const unused = run(function* () {});
    expect(used.freeFrames).toEqual(unused.freeFrames);
  });
});

describe('gemPurge', () => {
  it('takes the pages out of every mapping and frees them: an access is a SIGBUS from then on', () => {
    const { value } = run(function* (u) {
      const fd = yield* u.must(u.gemCreate(PAGE));
      const at = yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true }));
      yield* u.must(u.store(at, 1));
      yield* u.must(u.gemPurge(fd));
      const access = yield* u.attempt(u.load(at));
      yield* u.must(u.gemPurge(fd));
      return !access.ok && 'signal' in access && access.signal;
    });
    expect(value).toBe('SIGBUS');
  });

  it('knows its own descriptors only', () => {
    const { value } = run(function* (u) {
      const file = yield* u.must(u.memfdCreate('file'));
      const results = [yield* u.gemPurge(file), yield* u.gemPurge(99)];
      return results.map((result) => ('errno' in result ? result.errno : 'done'));
    });
    expect(value).toEqual(['EBADF', 'EBADF']);
  });
});
