/** The amounts of /proc/PID/smaps as a scenario sees them, in KiB. */
import { expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import type { Share } from '../../src/userland/share.ts';
import type { User } from '../../src/userland/user.ts';
import type { WorldView } from '../../src/userland/world-view.ts';
import { architecture } from '../support/architecture.ts';

const MIB = 2 ** 20;
const HUGE = 0x10_0000_0000n;

/** Stands still while `always` looks: a child that maps the same pages is still there. */
function* whileMapped(u: User, share: Share, touch: (t: User) => Task<void>): Task<void> {
  const child = yield* u.must(
    u.fork(function* (t, shared) {
      yield* touch(t);
      shared.set('both', true);
      yield* shared.wait('seen');
    }, 'child'),
  );
  yield* share.wait('both');
  yield* u.compute(1);
  share.set('seen', true);
  yield* u.must(u.wait(child));
}

/** What smaps says at `HUGE`: while a child maps it too, or else when the program has come to its end. */
function amountsOf(program: Program): Record<string, number> {
  const found: Record<string, number> = {};
  const look = (world: WorldView): void => {
    const entry = world.process('program')?.smapsAt(HUGE);
    if (entry === undefined) return;
    const { rss, anonymous, anonHugePages, privateHugetlb, sharedHugetlb, locked } = entry;
    Object.assign(found, { rss, anonymous, anonHugePages, privateHugetlb, sharedHugetlb, locked });
  };
  const scenario = defineScenario({
    title: 'smaps',
    transparentHugepage: 'always',
    hugepages: { '2MiB': 2 },
    programs: { program },
    always: {
      'looks while both map it': (world) => {
        if (world.share.get('both') === true && world.share.get('seen') !== true) look(world);
        return true;
      },
    },
    finally: {
      'looks at the end': (world) => {
        if (world.share.get('both') !== true) look(world);
        return true;
      },
    },
  });
  expect(runScenario(scenario, { architecture }).outcome).toEqual({ kind: 'finished' });
  return found;
}

const none = { rss: 0, anonymous: 0, anonHugePages: 0, privateHugetlb: 0, sharedHugetlb: 0, locked: 0 };
const huge = { address: HUGE, fixed: true, bytes: 2 * MIB, prot: 'rw' } as const;

it('a transparent huge page is in AnonHugePages as long as a pmd maps it', () => {
  const whole = amountsOf(function* (u) {
    yield* u.must(u.mmap(huge));
    yield* u.must(u.store(HUGE, 1n));
  });
  expect(whole).toEqual({ ...none, rss: 2048, anonymous: 2048, anonHugePages: 2048 });
  const split = amountsOf(function* (u) {
    yield* u.must(u.mmap(huge));
    yield* u.must(u.store(HUGE, 1n));
    yield* u.must(u.madvise(HUGE + 4096n, 4096, 'DONTNEED'));
  });
  expect(split).toEqual({ ...none, rss: 2044, anonymous: 2044 });
});

it('the huge zero page is in nothing', () => {
  const amounts = amountsOf(function* (u) {
    yield* u.must(u.mmap(huge));
    yield* u.must(u.load(HUGE));
  });
  expect(amounts).toEqual(none);
});

it('a page of a pool is in Private_Hugetlb, and in Shared_Hugetlb while another process maps it too', () => {
  const alone = amountsOf(function* (u) {
    yield* u.must(u.mmap({ ...huge, hugetlb: true, shared: true }));
    yield* u.must(u.store(HUGE, 1n));
  });
  expect(alone).toMatchObject({ anonymous: 0, anonHugePages: 0, privateHugetlb: 2048, sharedHugetlb: 0 });
  const both = amountsOf(function* (u, share) {
    yield* u.must(u.mmap({ ...huge, hugetlb: true, shared: true }));
    yield* u.must(u.store(HUGE, 1n));
    yield* whileMapped(u, share, function* (t) {
      yield* t.must(t.load(HUGE));
    });
  });
  expect(both).toMatchObject({ privateHugetlb: 0, sharedHugetlb: 2048 });
});

it('Locked is what is resident of a locked mapping, and the half of what another process maps too', () => {
  const small = { address: HUGE, fixed: true, bytes: 4 * 4096, prot: 'rw', shared: true } as const;
  const alone = amountsOf(function* (u) {
    yield* u.must(u.mmap({ ...small, locked: true }));
  });
  expect(alone).toEqual({ ...none, rss: 16, locked: 16 });
  const both = amountsOf(function* (u, share) {
    yield* u.must(u.mmap({ ...small, locked: true }));
    yield* whileMapped(u, share, function* (t) {
      for (let page = 0n; page < 4n; page++) yield* t.must(t.load(HUGE + page * 4096n));
    });
  });
  expect(both).toEqual({ ...none, rss: 16, locked: 8 });
});
