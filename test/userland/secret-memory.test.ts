/** memfd_secret as programs, debuggers and devices see it. mm/secretmem.c; mm/gup.c, `check_vma_flags`, `gup_fast_folio_allowed`. */
import { describe, expect, it } from 'vitest';
import { DESIGNS } from '../../src/kernel/remote/designs/registry.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;

function run(program: Program, more: Partial<Scenario> = {}): unknown {
  const scenario = defineScenario({ title: 'secrets', lockdep: true, ...more, programs: { program } });
  const result = runScenario(scenario, { architecture });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result.programs[0]?.value;
}

/** A file of secret memory of so many pages, mapped whole. */
function* secret(u: User, pages = 2) {
  const fd = yield* u.must(u.memfdSecret());
  yield* u.must(u.ftruncate(fd, pages * PAGE));
  const at = yield* u.must(u.mmap({ fd, bytes: pages * PAGE, prot: 'rw', shared: true }));
  return { fd, at };
}

const errno = (name: string) => expect.objectContaining({ ok: false, errno: name });
const done = expect.objectContaining({ ok: true });

describe('a file of secret memory', () => {
  it('gets its size once', () => {
    const found = run(function* (u) {
      const fd = yield* u.must(u.memfdSecret({ cloexec: true }));
      return [
        yield* u.ftruncate(fd, 0),
        yield* u.ftruncate(fd, 2 * PAGE),
        yield* u.ftruncate(fd, 3 * PAGE),
        yield* u.ftruncate(fd, 2 * PAGE),
        yield* u.ftruncate(fd, 0),
      ];
    });
    expect(found).toEqual([done, done, errno('EINVAL'), errno('EINVAL'), errno('EINVAL')]);
  });

  it('can neither be read, written, allocated, sealed, opened again nor synced', () => {
    const found = run(function* (u) {
      const { fd, at } = yield* secret(u);
      return [
        yield* u.pread(fd, 1),
        yield* u.pwrite(fd, Uint8Array.of(1)),
        yield* u.preadInto(fd, 1, 0, at),
        yield* u.pwriteFrom(fd, 1, 0, at),
        yield* u.fallocate(fd, { offset: 0, bytes: PAGE }),
        yield* u.fallocate(fd, { offset: 0, bytes: PAGE, punchHole: true, keepSize: true }),
        yield* u.addSeals(fd, ['GROW']),
        yield* u.open(`/proc/self/fd/${fd}`),
        yield* u.msync(at, PAGE, { sync: true }),
        yield* u.memfdPinFolios(fd, { start: 0, end: PAGE - 1 }),
      ];
    });
    const refused = [
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'EOPNOTSUPP',
      'EOPNOTSUPP',
      'EINVAL',
      'ENXIO',
      'EINVAL',
      'EINVAL',
    ];
    expect(found).toEqual(refused.map(errno));
  });
});

describe('mapping a file of secret memory', () => {
  it('is allowed shared, not executable, and within RLIMIT_MEMLOCK', () => {
    const found = run(function* (u) {
      const fd = yield* u.must(u.memfdSecret());
      yield* u.must(u.ftruncate(fd, 2 * PAGE));
      const { at } = yield* secret(u, 1);
      const first = [
        yield* u.mmap({ fd, bytes: PAGE, prot: 'rw' }),
        yield* u.mmap({ fd, bytes: PAGE, prot: 'rx', shared: true }),
        yield* u.mprotect(at, PAGE, 'rx'),
      ];
      yield* u.must(u.setuid(1000));
      yield* u.must(u.setrlimit('memlock', { soft: 2 * PAGE }));
      return [
        ...first,
        yield* u.mmap({ fd, bytes: 2 * PAGE, prot: 'rw', shared: true }),
        yield* u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true }),
      ];
    });
    expect(found).toEqual([errno('EINVAL'), errno('EPERM'), errno('EACCES'), errno('EAGAIN'), done]);
  });

  it('shows zeros at first, beyond its end SIGBUS, and gives all frames back at the end', () => {
    let free = 0;
    let back = 0;
    const found = run(
      function* (u) {
        u.sigaction('SIGBUS', 'return');
        const { fd, at } = yield* secret(u);
        yield* u.must(u.store(at + 8n, 5));
        const more = yield* u.must(u.mmap({ fd, bytes: 4 * PAGE, prot: 'rw', shared: true }));
        const seen = [
          yield* u.must(u.load(at)),
          yield* u.must(u.load(more + 8n)),
          yield* u.load(more + 0x3000n),
        ];
        yield* u.must(u.munmap(at, 2 * PAGE));
        yield* u.must(u.munmap(more, 4 * PAGE));
        yield* u.must(u.close(fd));
        return seen;
      },
      {
        finally: {
          counts: (world) => {
            back = world.counter('free-frames');
            return true;
          },
        },
      },
    );
    run(() => (function* () {})(), {
      finally: {
        counts: (world) => {
          free = world.counter('free-frames');
          return true;
        },
      },
    });
    expect(found).toEqual([0n, 5n, expect.objectContaining({ ok: false })]);
    expect(back).toBe(free);
  });
});

describe('a mapping of secret memory', () => {
  it('is locked for good, left out of dumps, and its neighbours of the same file join it', () => {
    const found = run(function* (u) {
      const fd = yield* u.must(u.memfdSecret());
      yield* u.must(u.ftruncate(fd, 4 * PAGE));
      const at = yield* u.must(u.mmap({ fd, bytes: 2 * PAGE, prot: 'rw', shared: true }));
      const next = at + BigInt(2 * PAGE);
      yield* u.must(
        u.mmap({
          fd,
          bytes: 2 * PAGE,
          prot: 'rw',
          shared: true,
          address: next,
          fixed: true,
          offset: 2 * PAGE,
        }),
      );
      yield* u.must(u.store(at, 1));
      const calls = [
        yield* u.munlock(at, PAGE),
        yield* u.mlock(at, PAGE),
        yield* u.madvise(at, PAGE, 'DONTNEED'),
        yield* u.madvise(at, PAGE, 'PAGEOUT'),
        yield* u.madvise(at, PAGE, 'POPULATE_READ'),
        yield* u.processMadvise(u.pid, [{ address: at, bytes: PAGE }], 'COLD'),
      ];
      const smaps = (yield* u.must(u.procSmaps(u.pid))).find(({ start }) => start === at);
      const { pinned: _, locked } = u.pinnedPages();
      return { calls, bytes: smaps && smaps.end - smaps.start, smaps, locked };
    }) as { calls: unknown[]; bytes: bigint; smaps: object; locked: number };
    // mlock locks nothing new, and cannot populate what GUP does not reach.
    expect(found.calls).toEqual([
      done,
      errno('ENOMEM'),
      errno('EINVAL'),
      errno('EINVAL'),
      errno('EINVAL'),
      errno('EINVAL'),
    ]);
    expect(found.bytes).toBe(BigInt(4 * PAGE));
    expect(found.locked).toBe(4);
    expect(found.smaps).toMatchObject({ kind: 'secretmem', rss: 4, vmFlags: 'rd wr sh mr mw ms lo dd' });
  });

  it("is the child's too, but not locked there; both see each other's stores", () => {
    const found = run(function* (u) {
      const { at } = yield* secret(u, 1);
      yield* u.must(u.store(at, 1));
      yield* u.must(
        u.fork(function* (child) {
          yield* child.must(child.store(at + 8n, (yield* child.must(child.load(at))) + 1n));
          const dump = yield* child.accessProcessVm(child.pid, at, 8, ['FORCE']);
          yield* child.exit(dump.ok ? dump.value.length : 99);
        }),
      );
      const { status } = yield* u.must(u.wait());
      return [status, yield* u.must(u.load(at + 8n))];
    });
    expect(found).toEqual([0, 2n]);
  });
});

describe('system calls and dumps: secret memory', () => {
  it('is a buffer of system calls like any other', () => {
    const found = run(function* (u) {
      const { at } = yield* secret(u, 1);
      const file = yield* u.must(u.memfdCreate('plain'));
      yield* u.must(u.pwrite(file, Uint8Array.of(1, 2, 3)));
      yield* u.must(u.preadInto(file, 3, 0, at));
      yield* u.must(u.pwriteFrom(file, 3, 3, at));
      return yield* u.must(u.pread(file, 6));
    });
    expect(found).toEqual(Uint8Array.of(1, 2, 3, 1, 2, 3));
  });

  it('is a hole in a core dump, even where MADV_DODUMP asks for it', () => {
    const found = run(function* (u) {
      const { at } = yield* secret(u, 1);
      yield* u.must(u.store(at, 0x5ec2e7));
      yield* u.must(u.setCoredumpFilter(0xff));
      const first = yield* u.must(u.coreDump());
      yield* u.must(u.madvise(at, PAGE, 'DODUMP'));
      const second = yield* u.must(u.coreDump());
      return [first, second].map((dump) => [
        dump?.mappings.find(({ start }) => start === at)?.dumpBytes,
        dump?.pages.filter(({ address }) => address === at).length,
      ]);
    });
    expect(found).toEqual([
      [0, 0],
      [PAGE, 0],
    ]);
  });
});

describe('GUP and secret memory', () => {
  it.each([
    'get_user_pages',
    'get_user_pages_unlocked',
    'get_user_pages_fast',
    'get_user_pages_remote',
    'pin_user_pages',
    'pin_user_pages_unlocked',
    'pin_user_pages_fast',
    'pin_user_pages_remote',
  ] as const)('%s finds EFAULT, with FOLL_FORCE too', (entry) => {
    const found = run(function* (u) {
      const { at } = yield* secret(u, 1);
      yield* u.must(u.store(at, 1));
      const flags = [[], ['FOLL_WRITE'], ['FOLL_FORCE'], ['FOLL_FORCE', 'FOLL_WRITE']];
      const results: unknown[] = [];
      for (const some of flags) results.push(yield* u.gup({ entry, address: at, pages: 1, flags: some }));
      return results;
    });
    expect(found).toEqual(new Array(4).fill(errno('EFAULT')));
  });

  it.each(['get_user_pages_fast_only'] as const)('%s finds no page', (entry) => {
    const found = run(function* (u) {
      const { at } = yield* secret(u, 1);
      yield* u.must(u.store(at, 1));
      return (yield* u.must(u.gup({ entry, address: at, pages: 1 }))).pages;
    });
    expect(found).toBe(0);
  });
});

const proposed = DESIGNS.map(({ name }) => name);

describe.each(proposed)('under %s', (design) => {
  it('no remote path reaches it', () => {
    const scenario = defineScenario({
      title: 'a debugger and a secret',
      lockdep: true,
      programs: {
        *target(u, share) {
          const plain = yield* u.must(
            u.mmap({ bytes: PAGE, prot: 'rw', address: 0x2000_0000n, fixed: true }),
          );
          yield* u.must(u.store(plain + 0xff8n, 0x11));
          const fd = yield* u.must(u.memfdSecret());
          yield* u.must(u.ftruncate(fd, PAGE));
          const place = { address: plain + BigInt(PAGE), fixed: true };
          const at = yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true, ...place }));
          yield* u.must(u.store(at, 0x5ec2e7));
          share.set('at', at);
          yield* share.wait('done');
          return yield* u.must(u.load(at));
        },
        *debugger(u, share) {
          const at = yield* share.waitWord('at');
          const target = u.pidOf('target');
          const ranges = [{ address: at - 8n, bytes: 16 }];
          yield* u.must(u.ptraceAttach(target));
          const mem = yield* u.must(u.procMemOpen(target));
          const results = [
            yield* u.peek(target, at),
            yield* u.poke(target, at, 1),
            yield* u.procMemRead(mem, at, 8),
            yield* u.procMemWrite(mem, at, Uint8Array.of(1)),
            yield* u.processVmReadv(target, [{ address: at, bytes: 8 }]),
            yield* u.processVmWritev(target, [{ address: at, bytes: 1 }], Uint8Array.of(1)),
            yield* u.bpfCopyFromUserTask(target, at, 8),
            yield* u.copyRemoteVmStr(target, at, 8),
          ];
          const short = [
            (yield* u.must(u.procMemRead(mem, at - 8n, 16))).length,
            (yield* u.must(u.accessProcessVm(target, at - 8n, 16, ['FORCE']))).length,
            (yield* u.must(u.accessProcessVm(target, at, 8, ['FORCE']))).length,
            (yield* u.must(u.processVmReadv(target, ranges))).bytes,
          ];
          yield* u.must(u.ptraceDetach(target));
          share.set('done', true);
          return { results, short };
        },
      },
      finally: { 'nothing was warned of': (world) => world.warnings.length === 0 },
    });
    const { outcome, programs } = runScenario(scenario, { architecture, design });
    expect(outcome).toEqual({ kind: 'finished' });
    expect(programs.find(({ name }) => name === 'target')?.value).toBe(0x5ec2e7n);
    const found = programs.find(({ name }) => name === 'debugger')?.value as {
      results: unknown;
      short: unknown;
    };
    const EIO = errno('EIO');
    const EFAULT = errno('EFAULT');
    expect(found.results).toEqual([EIO, EIO, EIO, EIO, EFAULT, EFAULT, EFAULT, EFAULT]);
    expect(found.short).toEqual([8, 8, 0, 8]);
  });
});
