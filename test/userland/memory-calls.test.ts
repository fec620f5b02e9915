/** The calls of the memory manager as programs make them: results, errno, descriptors. What they do is tested in the kernel. */
import { describe, expect, it } from 'vitest';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import { architecture, architectureName, CPU_MODEL_OF_5_LEVELS } from '../support/architecture.ts';

const PAGE = 4096;
const HUGE = 2 ** 21;

function run(
  program: Program,
  more: Partial<Scenario> = {},
  config: Partial<RunConfig> = {},
): ScenarioResult {
  const scenario = defineScenario({ title: 'calls', lockdep: true, ...more, programs: { program } });
  const result = runScenario(scenario, { architecture, ...config });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result;
}

/** What `program` returned. */
const value = (program: Program, more: Partial<Scenario> = {}, config: Partial<RunConfig> = {}): unknown =>
  run(program, more, config).programs[0]?.value;

const errno = (name: string, number: number) => ({ ok: false, errno: name, number });
const done = { ok: true, value: undefined };

describe('files of memory', () => {
  it('are mapped, read, cut and sealed by their descriptor', () => {
    const found = value(function* (u) {
      const fd = yield* u.must(u.memfdCreate('data', { allowSealing: true }));
      yield* u.must(u.ftruncate(fd, 2 * PAGE));
      const at = yield* u.must(u.mmap({ fd, bytes: 2 * PAGE, prot: 'rw', shared: true }));
      yield* u.must(u.store(at + BigInt(PAGE), 7n));
      const read = yield* u.must(u.pread(fd, 2, PAGE));
      yield* u.must(u.pwrite(fd, Uint8Array.of(9), PAGE));
      const seen = yield* u.must(u.load(at + BigInt(PAGE)));
      yield* u.must(u.fallocate(fd, { offset: PAGE, bytes: PAGE, punchHole: true, keepSize: true }));
      const hole = yield* u.must(u.load(at + BigInt(PAGE)));
      yield* u.must(u.ftruncate(fd, PAGE));
      const beyond = yield* u.attempt(u.load(at + BigInt(PAGE)));
      const busy = yield* u.addSeals(fd, ['WRITE']);
      yield* u.must(u.addSeals(fd, ['SHRINK']));
      const seals = yield* u.must(u.getSeals(fd));
      const sealed = yield* u.ftruncate(fd, 0);
      return [fd, read, seen, hole, beyond.ok, busy, seals, sealed, yield* u.close(fd), yield* u.close(fd)];
    });
    expect(found).toEqual([
      3,
      Uint8Array.of(7, 0),
      9n,
      0n,
      false,
      errno('EBUSY', 16),
      ['SHRINK'],
      errno('EPERM', 1),
      done,
      errno('EBADF', 9),
    ]);
  });

  it('have names that other processes open; a second opening has rights of its own', () => {
    const found = value(function* (u) {
      const missing = yield* u.open('/tmp/none');
      const fd = yield* u.must(u.open('/tmp/some', { create: true, exclusive: true }));
      const twice = yield* u.open('/tmp/some', { create: true, exclusive: true });
      yield* u.must(u.pwrite(fd, Uint8Array.of(1, 2, 3)));
      const again = yield* u.must(u.open(`/proc/self/fd/${fd}`, { mode: 'r' }));
      const refused = yield* u.pwrite(again, Uint8Array.of(1));
      const read = yield* u.must(u.pread(again, 8));
      const shared = yield* u.mmap({ fd: again, bytes: PAGE, prot: 'rw', shared: true });
      yield* u.must(u.unlink('/tmp/some'));
      return [missing, twice, refused, read, shared, yield* u.open('/tmp/some')];
    });
    expect(found).toEqual([
      errno('ENOENT', 2),
      errno('EEXIST', 17),
      errno('EBADF', 9),
      Uint8Array.of(1, 2, 3),
      errno('EACCES', 13),
      errno('ENOENT', 2),
    ]);
  });
});

describe('descriptors', () => {
  it('are inherited by a child, closed by exec if asked for, and gone from memory with the last user', () => {
    const result = run(function* (u, share) {
      const kept = yield* u.must(u.memfdCreate('kept'));
      const closed = yield* u.must(u.memfdCreate('closed', { cloexec: true }));
      yield* u.must(u.pwrite(kept, new Uint8Array(PAGE).fill(5)));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.must(c.pwrite(kept, Uint8Array.of(6)));
          yield* c.must(
            c.execve({
              *program(e, shared) {
                shared.set('kept', (yield* e.pread(kept, 1)).ok);
                const gone = yield* e.pread(closed, 1);
                shared.set('closed', !gone.ok && 'errno' in gone ? gone.errno : 'open');
              },
            }),
          );
        }),
      );
      yield* u.must(u.wait(child));
      share.set('seen', (yield* u.must(u.pread(kept, 1)))[0] ?? -1);
    });
    expect(result.variables).toEqual([
      ['closed', 'EBADF'],
      ['kept', true],
      ['seen', 6],
    ]);
  });
});

describe('mappings', () => {
  it('answer as Linux does', () => {
    const found = value(function* (u) {
      const at = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'rw' }));
      yield* u.must(u.store(at, 1n));
      const there = yield* u.must(u.mincore(at, 2 * PAGE));
      yield* u.must(u.mlock(at, PAGE));
      const locked = yield* u.madvise(at, PAGE, 'DONTNEED');
      yield* u.must(u.munlock(at, PAGE));
      yield* u.must(u.madvise(at, PAGE, 'DONTNEED'));
      const zero = yield* u.must(u.load(at));
      const unknown = yield* u.madvise(at, PAGE, 12345);
      yield* u.must(u.mseal(at, PAGE));
      const sealed = yield* u.munmap(at, PAGE);
      const moved = yield* u.mremap({ address: at + BigInt(PAGE), bytes: PAGE, newBytes: 16 * PAGE });
      const synced = yield* u.msync(at, PAGE, { async: true, sync: true });
      const remapped = yield* u.remapFilePages({ address: at, bytes: PAGE, pageOffset: 0 });
      const advised = yield* u.processMadvise(u.pid, [{ address: at, bytes: PAGE }], 'COLD');
      const limited = yield* u.setrlimit('memlock', { soft: 2n ** 40n, hard: 2n ** 39n });
      yield* u.must(u.setrlimit('memlock', { soft: 0 }));
      return [there, locked, zero, unknown, sealed, moved, synced, remapped, advised, limited];
    });
    expect(found).toEqual([
      Uint8Array.of(1, 0),
      errno('EINVAL', 22),
      0n,
      errno('EINVAL', 22),
      errno('EPERM', 1),
      errno('ENOMEM', 12),
      errno('EINVAL', 22),
      errno('EINVAL', 22),
      { ok: true, value: PAGE },
      errno('EINVAL', 22),
    ]);
  });
});

describe('huge pages', () => {
  it('of pools are promised, seen as huge pages, refused when there are none', () => {
    const result = run(
      function* (u) {
        const at = yield* u.must(u.mmap({ bytes: HUGE, prot: 'rw', hugetlb: '2MiB' }));
        yield* u.must(u.store(at, 1n));
        const fd = yield* u.must(u.memfdCreate('huge', { hugetlb: true }));
        const none = yield* u.mmap({ bytes: HUGE, prot: 'rw', fd, shared: true });
        return [at, none];
      },
      {
        hugepages: { '2MiB': 1 },
        finally: {
          'one entry maps it': (world) => {
            const process = world.process('program');
            const [vma] = process?.smaps() ?? [];
            const page = process?.pageAt((vma?.start ?? 0n) + 0x3000n);
            const pool = world.hugePages('2MiB');
            const runs = process
              ?.pagemap(vma?.start ?? 0n, HUGE)
              .map(({ pages, flags }) => `${pages} ${flags}`);
            const found = [
              page?.pageBytes,
              page?.hugetlb,
              page?.mapcount,
              pool,
              runs,
              vma?.vmFlags.includes('ht'),
            ];
            const wanted = [HUGE, true, 1, { total: 1, free: 0, reserved: 0 }, ['512 PXT'], true];
            return JSON.stringify(found) === JSON.stringify(wanted) || JSON.stringify(found);
          },
        },
      },
    );
    expect(result.programs[0]?.value).toMatchObject([expect.any(BigInt), errno('ENOMEM', 12)]);
  });
});

describe.runIf(architectureName === 'x86_64')('protection keys', () => {
  it('a key takes rights away from the thread that has it', () => {
    const found = value(
      function* (u) {
        const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        yield* u.must(u.store(at, 1n));
        const key = yield* u.must(u.pkeyAlloc({ disableWrite: true }));
        yield* u.must(u.pkeyMprotect(at, PAGE, 'rw', key));
        const read = yield* u.must(u.load(at));
        const written = yield* u.attempt(u.store(at, 2n));
        yield* u.pkeySet(key, {});
        const open = yield* u.attempt(u.store(at, 3n));
        return [read, written, open, yield* u.pkeyGet(key), yield* u.pkeyFree(key), yield* u.pkeyFree(key)];
      },
      {},
      { cpuModel: CPU_MODEL_OF_5_LEVELS },
    );
    expect(found).toMatchObject([
      1n,
      { ok: false, signal: 'SIGSEGV', code: 'SEGV_PKUERR' },
      done,
      { disableAccess: false, disableWrite: false },
      done,
      errno('EINVAL', 22),
    ]);
  });
});

describe('processes', () => {
  it('that share an address space see each other write, and each has a pid to wait for', () => {
    const found = value(
      function* (u, share) {
        const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        const thread = yield* u.must(
          u.cloneVm(function* (t) {
            yield* t.must(t.store(at, 5n));
          }, 'thread'),
        );
        yield* u.must(u.wait(thread));
        share.set('over', true);
        return yield* u.must(u.load(at));
      },
      { cpus: 2, placement: { thread: 1 } },
    );
    expect(found).toBe(5n);
  });

  it('come back from an exec that failed, as they were', () => {
    const found = value(function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(at, 1n));
      const failed = yield* u.execve({ *program() {}, argv: [0x10000n] });
      return [failed, yield* u.must(u.load(at))];
    });
    expect(found).toEqual([errno('EFAULT', 14), 1n]);
  });

  it('may not act through the calls of another program', () => {
    const wrong = defineScenario({
      title: 'wrong u',
      programs: {
        *parent(u) {
          yield* u.must(
            u.fork(function* () {
              yield* u.compute(1);
            }, 'child'),
          );
          yield* u.must(u.wait());
        },
      },
    });
    expect(() => runScenario(wrong, { architecture })).toThrow(
      'compute is a call of parent, and child runs: each program has a u of its own',
    );
  });
});

describe('settings of the machine', () => {
  it.each<[string, object, string]>([
    ['a size of no pages', { swap: '10KB' }, '"swap" is no size in pages'],
    ['too little memory', { memory: 4096 }, '"memory" is out of range'],
    ['unknown huge pages', { hugepages: { '4MiB': 1 } }, '"hugepages" has no "4MiB"'],
    ['an unknown mode', { transparentHugepage: 'sometimes' }, '"transparentHugepage" is not known'],
    [
      'an unknown mode of shared memory',
      { transparentHugepageShmem: 'madvise' },
      '"transparentHugepageShmem" is not known',
    ],
    ['an unknown bug', { kernelBugs: ['all'] }, '"kernelBugs" is not known'],
  ])('%s is a mistake', (_, settings, text) => {
    expect(() => defineScenario({ title: 't', programs: { *p() {} }, ...settings })).toThrow(text);
  });

  it('limit mappings, memory and promises', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: 64 * PAGE, prot: 'rw' }));
      return yield* u.mprotect(at + BigInt(PAGE), PAGE, 'r');
    };
    expect(value(program)).toEqual(done);
    expect(value(program, { maxMapCount: 2 })).toEqual(errno('ENOMEM', 12));
    expect(value(program, { maxMapCount: 2 }, { maxMapCount: 100 })).toEqual(done);
    const promise: Program = function* (u) {
      return (yield* u.mmap({ bytes: 2 ** 40, prot: 'rw' })).ok;
    };
    expect([value(promise, { overcommitMemory: 1 }), value(promise, { overcommitMemory: 2 })]).toEqual([
      true,
      false,
    ]);
  });
});
