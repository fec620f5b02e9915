/** The calls on the kernel's own test of GUP. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import { GUP_TEST_COMMANDS, type GupTestCommand } from '../../src/kernel/consumers/gup-test.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

const PAGES = 8;
const BYTES = PAGES * 4096;

/** Runs `program` with memory of 8 pages, page n filled with n + 1; what it gives, and what the kernel warned of. */
function run<T>(program: (u: User, start: bigint, fd: number) => Task<T>): { result: T; warnings: number } {
  const out: { result?: T; warnings: number } = { warnings: 0 };
  const scenario = defineScenario({
    title: 'gup_test',
    programs: {
      *program(u) {
        const start = yield* u.must(u.mmap({ bytes: BYTES, prot: 'rw' }));
        for (let page = 0; page < PAGES; page++) {
          yield* u.must(u.store(start + BigInt(page * 4096), BigInt(page + 1)));
        }
        const fd = yield* u.must(u.gupTestOpen());
        out.result = yield* program(u, start, fd);
        yield* u.must(u.close(fd));
      },
    },
    finally: {
      'all is given back': (world) => {
        out.warnings = world.warnings.length;
        return world.counter('pins-acquired') === world.counter('pins-released');
      },
    },
  });
  const { outcome } = runScenario(scenario, { architecture });
  expect(outcome).toEqual({ kind: 'finished' });
  return { result: out.result as T, warnings: out.warnings };
}

describe('gupTest', () => {
  it.each(GUP_TEST_COMMANDS)('%s takes all pages, in calls of any length', (command) => {
    const { result, warnings } = run(function* (u, address, fd) {
      const figures: [number, number][] = [];
      for (const pagesPerCall of [1, 3, PAGES, 100]) {
        const got = yield* u.must(
          u.gupTest(fd, command, { address, bytes: BYTES, pagesPerCall, flags: ['FOLL_WRITE'] }),
        );
        expect(got.getCycles).toBeGreaterThan(0);
        expect(got.putCycles).toBeGreaterThan(0);
        figures.push([got.pages, got.bytes]);
      }
      return figures;
    });
    expect(result).toEqual([1, 2, 3, 4].map(() => [PAGES, BYTES]));
    expect(warnings).toBe(0);
  });

  it('is short where a page cannot be had, and does not fail even when none can', () => {
    const { result } = run(function* (u, address, fd) {
      yield* u.must(u.mprotect(address + BigInt(3 * 4096), 4096, 'none'));
      const short = yield* u.must(
        u.gupTest(fd, 'PIN_BASIC_TEST', { address, bytes: BYTES, pagesPerCall: 2 }),
      );
      const none = yield* u.must(u.gupTest(fd, 'GUP_FAST_BENCHMARK', { address: 0x1000n, bytes: 4096 }));
      return [short.pages, none.pages, none.bytes];
    });
    expect(result).toEqual([3, 0, 0]);
  });

  it('shows the pages that are asked for, counted from 1, and strikes out those beyond', () => {
    const { result } = run(function* (u, address, fd) {
      const shown = { address, bytes: BYTES, pagesPerCall: PAGES, whichPages: [1, 8, 9] };
      const got = yield* u.must(u.gupTest(fd, 'DUMP_USER_PAGES_TEST', shown));
      const pinned = yield* u.must(u.gupTest(fd, 'DUMP_USER_PAGES_TEST', { ...shown, dumpPin: true }));
      return [got, pinned].map(({ whichPages, dumped }) => [
        whichPages,
        dumped.map(({ index, refcount, mapcount, maybeDmaPinned }) => [
          index,
          refcount,
          mapcount,
          maybeDmaPinned,
        ]),
      ]);
    });
    const lists = [1, 8, 0];
    expect(result).toEqual([
      [lists, [0, 7].map((index) => [index, 2, 1, false])],
      [lists, [0, 7].map((index) => [index, 1025, 1, true])],
    ]);
  });

  it('warns when what is pinned does not say so: a pin of the zero page is none', () => {
    const { warnings } = run(function* (u, _address, fd) {
      const fresh = yield* u.must(u.mmap({ bytes: 4096, prot: 'r', shared: false }));
      yield* u.must(u.gupTest(fd, 'PIN_BASIC_TEST', { address: fresh, bytes: 4096 }));
    });
    expect(warnings).toBe(1);
  });

  it.each<[string, GupTestCommand, object]>([
    ['no bytes', 'GUP_BASIC_TEST', { bytes: 0 }],
    ['a part of a page', 'GUP_BASIC_TEST', { bytes: 4097 }],
    ['no pages for each call', 'PIN_FAST_BENCHMARK', { pagesPerCall: 0 }],
    ['memory beyond the last address', 'PIN_BASIC_TEST', { address: 0xffff_ffff_ffff_f000n }],
  ])('%s is EINVAL', (_, command, wrong) => {
    const { result } = run(function* (u, address, fd) {
      const outcome = yield* u.gupTest(fd, command, { address, bytes: BYTES, ...wrong });
      return outcome.ok ? 'ok' : 'errno' in outcome ? outcome.errno : 'signal';
    });
    expect(result).toBe('EINVAL');
  });
});

describe('pins that last', () => {
  it.each([
    ['slow', {}],
    ['fast, to write', { fast: true, write: true }],
  ])('%s: stay until they are stopped, and are read as they are then', (_, how) => {
    const { result } = run(function* (u, address, fd) {
      const target = yield* u.must(u.mmap({ bytes: BYTES, prot: 'rw' }));
      const before = yield* u.pinLongtermRead(fd, target);
      yield* u.must(u.pinLongtermStart(fd, { address, bytes: BYTES, ...how }));
      const again = yield* u.pinLongtermStart(fd, { address, bytes: BYTES });
      yield* u.must(u.store(address + 4096n, 99n));
      yield* u.must(u.pinLongtermRead(fd, target));
      const seen = [yield* u.must(u.load(target)), yield* u.must(u.load(target + 4096n))];
      yield* u.must(u.munmap(address, BYTES));
      yield* u.must(u.pinLongtermRead(fd, target));
      seen.push(yield* u.must(u.load(target + 7n * 4096n)));
      const bad = yield* u.pinLongtermRead(fd, 0x1000n);
      yield* u.must(u.pinLongtermStop(fd));
      yield* u.must(u.pinLongtermStop(fd));
      const errors = [before, again, bad].map((each) => (!each.ok && 'errno' in each ? each.errno : 'ok'));
      return { seen, errors };
    });
    expect(result).toEqual({ seen: [1n, 99n, 8n], errors: ['EINVAL', 'EINVAL', 'EFAULT'] });
  });

  it('an error leaves nothing pinned, and closing unpins', () => {
    const { result } = run(function* (u, address, fd) {
      const beyond = yield* u.pinLongtermStart(fd, { address: address - 4096n, bytes: BYTES });
      const odd = yield* u.pinLongtermStart(fd, { address: address + 1n, bytes: BYTES });
      yield* u.must(u.pinLongtermStart(fd, { address, bytes: BYTES, fast: true }));
      return [beyond, odd].map((each) => (!each.ok && 'errno' in each ? each.errno : 'ok'));
    });
    expect(result).toEqual(['EFAULT', 'EINVAL']);
  });
});
