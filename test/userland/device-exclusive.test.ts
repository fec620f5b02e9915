/** Pages that a device has for itself: what the device, the process, its children and its debuggers find. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;
const HUGE = 2 ** 21;

function run(program: Program, more: Partial<Scenario> = {}, config: object = {}): unknown {
  const scenario = defineScenario({ title: 'exclusive', lockdep: true, ...more, programs: { program } });
  const result = runScenario(scenario, { architecture, ...config });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result.programs[0]?.value;
}

/** A written page that a device has for itself, holding 5. */
function* taken(u: User) {
  const at = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
  yield* u.must(u.store(at, 5n));
  const fd = yield* u.must(u.openMirrorDevice());
  yield* u.must(u.makeDeviceExclusive(fd, at));
  return { at, fd };
}

const pages = (u: User, fd: number): Task<readonly bigint[]> => u.must(u.deviceExclusivePages(fd));
const named = (result: object) => ('errno' in result ? result.errno : 'done');

describe('a page that a device has for itself', () => {
  it('is changed by the device, and comes back when the process reads it', () => {
    const found = run(function* (u) {
      const { at, fd } = yield* taken(u);
      const before = yield* pages(u, fd);
      const old = yield* u.must(u.deviceFetchAdd(fd, at, 3n));
      const seen = yield* u.must(u.load(at));
      const gone = yield* u.deviceFetchAdd(fd, at, 1n);
      return [before.length, old, seen, named(gone), (yield* pages(u, fd)).length];
    });
    expect(found).toEqual([1, 5n, 8n, 'ENOENT', 0]);
  });

  it('is given to it untouched, and taken from another device', () => {
    const found = run(function* (u) {
      const { at, fd } = yield* taken(u);
      yield* u.must(u.makeDeviceExclusive(fd, at, 2 * PAGE));
      const both = yield* pages(u, fd);
      const other = yield* u.must(u.openMirrorDevice());
      yield* u.must(u.makeDeviceExclusive(other, at + BigInt(PAGE)));
      return [both.length, yield* pages(u, fd), yield* pages(u, other), at];
    }) as [number, bigint[], bigint[], bigint];
    const at = found[3];
    expect(found.slice(0, 3)).toEqual([2, [at], [at + BigInt(PAGE)]]);
  });

  const TAKES_BACK: readonly (readonly [string, (u: User, at: bigint) => Task<unknown>])[] = [
    ['a load', (u, at) => u.must(u.load(at))],
    ['a store', (u, at) => u.must(u.store(at, 5n))],
    ['a debugger that reads', (u, at) => u.must(u.accessProcessVm(u.pid, at, 8))],
    ['a pin', (u, at) => u.must(u.processVmReadv(u.pid, [{ address: at, bytes: 8 }]))],
    ['fork', (u) => u.must(u.fork(function* () {}))],
    ['mprotect', (u, at) => u.must(u.mprotect(at, PAGE, 'r'))],
    ['MADV_DONTNEED', (u, at) => u.must(u.madvise(at, PAGE, 'DONTNEED'))],
    ['munmap', (u, at) => u.must(u.munmap(at, PAGE))],
  ];
  it.each(TAKES_BACK)("is the device's no longer after %s", (_name, act) => {
    const found = run(function* (u) {
      const { at, fd } = yield* taken(u);
      yield* act(u, at);
      return [(yield* pages(u, fd)).length, named(yield* u.deviceFetchAdd(fd, at, 1n))];
    });
    expect(found).toEqual([0, 'ENOENT']);
  });
});

describe('memory that a device has for itself', () => {
  it('mincore, pagemap and smaps see it as it is: resident, and no entry that is present', () => {
    const found: unknown[] = [];
    run(
      function* (u) {
        const { at } = yield* taken(u);
        found.push(yield* u.must(u.mincore(at, PAGE)));
      },
      {
        finally: {
          looks: (world) => {
            const process = world.process('program');
            const entry = process?.smaps().find(({ kind }) => kind === 'anon');
            const runs = process?.pagemap(entry?.start ?? 0n, PAGE).map(({ flags }) => flags);
            found.push(runs, entry?.rss, entry?.anonymous, process?.rss.anon);
            return true;
          },
        },
      },
    );
    expect(found).toEqual([Uint8Array.of(1), ['S'], 4, 4, 1]);
  });

  it('moves with mremap, and keeps what the device wrote through fork, mprotect and reading', () => {
    const found = run(function* (u) {
      const { at, fd } = yield* taken(u);
      yield* u.must(u.deviceFetchAdd(fd, at, 1n));
      const to = at - BigInt(64 * PAGE);
      yield* u.must(
        u.mremap({ address: at, bytes: PAGE, newBytes: PAGE, mayMove: true, fixed: true, newAddress: to }),
      );
      const moved = yield* u.must(u.load(to));
      yield* u.must(u.makeDeviceExclusive(fd, to));
      yield* u.must(u.deviceFetchAdd(fd, to, 1n));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.exit(Number(yield* c.must(c.load(to))));
        }),
      );
      yield* u.must(u.store(to, 99n));
      const { status } = yield* u.must(u.wait(child));
      yield* u.must(u.makeDeviceExclusive(fd, to));
      yield* u.must(u.mprotect(to, PAGE, 'r'));
      const readOnly = yield* u.must(u.load(to));
      yield* u.must(u.mprotect(to, PAGE, 'rw'));
      yield* u.must(u.store(to, 1n));
      return [moved, status >> 8, readOnly, yield* u.must(u.load(to))];
    });
    expect(found).toEqual([6n, 7, 99n, 1n]);
  });

  it('a huge page is split for it, and the rest of it stays', () => {
    const found = run(
      function* (u) {
        const start = yield* u.must(u.mmap({ bytes: 2 * HUGE, prot: 'rw' }));
        const at = (start + BigInt(HUGE - 1)) & ~BigInt(HUGE - 1);
        yield* u.must(u.store(at, 5n));
        const fd = yield* u.must(u.openMirrorDevice());
        yield* u.must(u.makeDeviceExclusive(fd, at));
        yield* u.must(u.store(at + BigInt(PAGE), 6n));
        yield* u.must(u.deviceFetchAdd(fd, at, 1n));
        return [yield* u.must(u.load(at)), (yield* pages(u, fd)).length];
      },
      { transparentHugepage: 'always' },
    );
    expect(found).toEqual([6n, 0]);
  });
});

describe('make_device_exclusive refuses', () => {
  const REFUSED: readonly (readonly [string, (u: User) => Task<bigint>, string])[] = [
    ['a file', (u) => u.must(u.mmap({ bytes: PAGE, prot: 'rw', shared: true })), 'EOPNOTSUPP'],
    ['memory that may not be written', (u) => u.must(u.mmap({ bytes: PAGE, prot: 'r' })), 'EFAULT'],
    [
      'a huge page of a pool',
      (u) => u.must(u.mmap({ bytes: HUGE, prot: 'rw', hugetlb: true })),
      'EOPNOTSUPP',
    ],
    [
      'memory of a device',
      function* (u) {
        const fd = yield* u.must(u.openDevice({ bytes: PAGE }));
        return yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true }));
      },
      'EFAULT',
    ],
    [
      'a hole',
      function* (u) {
        const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        yield* u.must(u.munmap(at, PAGE));
        return at;
      },
      'EFAULT',
    ],
  ];
  it.each(REFUSED)('%s', (_name, make, expected) => {
    const found = run(
      function* (u) {
        const at = yield* make(u);
        const fd = yield* u.must(u.openMirrorDevice());
        return [named(yield* u.makeDeviceExclusive(fd, at)), yield* pages(u, fd)];
      },
      { hugepages: { '2MiB': 1 } },
    );
    expect(found).toEqual([expected, []]);
  });

  it('no bytes, a descriptor that is none, and a process that has gone', () => {
    const found = run(function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.compute(10000);
        }),
      );
      const fd = yield* u.must(u.openMirrorDevice(child));
      const empty = yield* u.makeDeviceExclusive(fd, at, 0);
      yield* u.must(u.wait(child));
      return [
        named(empty),
        named(yield* u.makeDeviceExclusive(fd, at)),
        named(yield* u.makeDeviceExclusive(99, at)),
        named(yield* u.openMirrorDevice(child)),
      ];
    });
    expect(found).toEqual(['EINVAL', 'EINVAL', 'EBADF', 'ESRCH']);
  });
});

describe('under a design', () => {
  it.each(['v0', 'v4'] as const)('%s: the device, its process and a child lose nothing', (design) => {
    const found = run(
      function* (u) {
        const { at, fd } = yield* taken(u);
        yield* u.must(u.deviceFetchAdd(fd, at, 2n));
        return yield* u.must(u.load(at));
      },
      { design } as Partial<Scenario>,
    );
    expect(found).toBe(7n);
  });
});

describe('a device and threads that add to the same word', () => {
  /** Two threads and a device, each adding 1 so often; what the word holds in the end. */
  const ROUNDS = 6;
  const adders = (share: { expected: bigint }): Program =>
    function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      const fd = yield* u.must(u.openMirrorDevice());
      const thread: Program = function* (t) {
        for (let i = 0; i < ROUNDS; i++) yield* t.must(t.fetchAdd(at, 1n));
      };
      const child = yield* u.must(u.cloneVm(thread));
      let added = 0n;
      for (let i = 0; i < ROUNDS; i++) {
        yield* u.must(u.makeDeviceExclusive(fd, at));
        const done = yield* u.deviceFetchAdd(fd, at, 1n);
        if (done.ok) added++;
      }
      yield* u.must(u.wait(child));
      share.expected = added + BigInt(ROUNDS);
      return yield* u.must(u.load(at));
    };

  it.each(['v0', 'v4'] as const)('%s: no addition is lost, in whatever order', (design) => {
    const byDevice = new Set<bigint>();
    for (let seed = 1; seed <= 25; seed++) {
      const share = { expected: 0n };
      const found = run(
        adders(share),
        { design, cpus: 2 },
        { policy: 'random', seed, retention: 'adversarial' },
      );
      expect(found).toBe(share.expected);
      byDevice.add(share.expected - BigInt(ROUNDS));
    }
    // Some orders let the thread take the page back before the device had added.
    expect(byDevice.size).toBeGreaterThan(1);
  });
});
