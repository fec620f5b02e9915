/** Mappings of device memory as programs see them: what they reach, what calls refuse, what debuggers get. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import type { DeviceArguments } from '../../src/userland/user-devices.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const PAGE = 4096;
const PAGES = (n: number): bigint => BigInt(n * PAGE);

function run(program: Program, more: Partial<Scenario> = {}): unknown {
  const scenario = defineScenario({ title: 'devices', lockdep: true, ...more, programs: { program } });
  const result = runScenario(scenario, { architecture });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result.programs[0]?.value;
}

/** A device of 4 pages, mapped whole. */
function* mapped(u: User, args: Partial<DeviceArguments> = {}, shared = true, prot = 'rw') {
  const fd = yield* u.must(u.openDevice({ bytes: 4 * PAGE, ...args }));
  const at = yield* u.must(u.mmap({ fd, bytes: 4 * PAGE, prot, shared }));
  return { fd, at };
}

const errno = (name: string) => ({ ok: false, errno: name });
const failure = (result: object) => ('errno' in result ? { ok: false, errno: result.errno } : result);
const FILLS = ['remap', 'fault', 'mixed'] as const;

describe('a mapping of device memory', () => {
  it.each(FILLS)('reaches what the device reads and writes, filled by %s', (fill) => {
    const found = run(function* (u) {
      const { fd, at } = yield* mapped(u, { fill });
      yield* u.must(u.store(at + PAGES(3), 0x1234n));
      yield* u.must(u.deviceWrite(fd, Uint8Array.of(7), 8));
      return [yield* u.must(u.deviceRead(fd, 2, 3 * PAGE)), yield* u.must(u.load(at + 8n))];
    });
    expect(found).toEqual([Uint8Array.of(0x34, 0x12), 7n]);
  });

  it.each([
    ['remap', 'rd wr sh mr mw me ms pf io de dd', 0],
    ['fault', 'rd wr sh mr mw me ms pf io de dd', 0],
    ['mixed', 'rd wr sh mr mw me ms dd mm', 1],
  ] as const)(
    'has the flags of its driver, filled by %s, and nothing that is counted',
    (fill, letters, core) => {
      const found: unknown[] = [];
      run(
        function* (u) {
          const { at } = yield* mapped(u, { fill });
          yield* u.must(u.store(at, 1n));
          found.push(yield* u.must(u.mincore(at, 4 * PAGE)), (yield* u.must(u.mincore(at, PAGE)))[0]);
        },
        {
          finally: {
            'shows it': (world) => {
              const process = world.process('program');
              const entry = process?.smaps().find(({ kind }) => kind.startsWith('/dev/device'));
              const pages = process?.pagemap(entry?.start ?? 0n, 4 * PAGE);
              found.push(
                entry?.vmFlags,
                entry?.rss,
                pages?.map(({ flags }) => flags),
              );
              return true;
            },
          },
        },
      );
      expect(found).toEqual([Uint8Array.of(core, 0, 0, 0), core, letters, 0, fill === 'mixed' ? ['P'] : []]);
    },
  );
});

describe('calls on a mapping of device memory', () => {
  const CALLS: readonly (readonly [string, (u: User, at: bigint) => ReturnType<User['munmap']>, object])[] = [
    ['MADV_DONTNEED', (u, at) => u.madvise(at, PAGE, 'DONTNEED'), errno('EINVAL')],
    ['MADV_PAGEOUT', (u, at) => u.madvise(at, PAGE, 'PAGEOUT'), errno('EINVAL')],
    ['MADV_POPULATE_READ', (u, at) => u.madvise(at, PAGE, 'POPULATE_READ'), errno('EINVAL')],
    ['MADV_GUARD_INSTALL', (u, at) => u.madvise(at, PAGE, 'GUARD_INSTALL'), errno('EINVAL')],
    ['MADV_DOFORK', (u, at) => u.madvise(at, PAGE, 'DOFORK'), errno('EINVAL')],
    ['MADV_DODUMP', (u, at) => u.madvise(at, PAGE, 'DODUMP'), errno('EINVAL')],
    ['MADV_REMOVE', (u, at) => u.madvise(at, PAGE, 'REMOVE'), errno('ENODEV')],
    ['MADV_DONTFORK', (u, at) => u.madvise(at, PAGE, 'DONTFORK'), { ok: true }],
    ['msync', (u, at) => u.msync(at, PAGE, { sync: true }), errno('EINVAL')],
    ['mlock', (u, at) => u.mlock(at, PAGE), { ok: true }],
    ['mprotect', (u, at) => u.mprotect(at, PAGE, 'r'), { ok: true }],
    ['mseal', (u, at) => u.mseal(at, 4 * PAGE), { ok: true }],
    ['munmap of the middle', (u, at) => u.munmap(at + PAGES(1), PAGE), { ok: true }],
  ];
  it.each(CALLS)('%s', (_name, call, expected) => {
    const found = run(function* (u) {
      const { at } = yield* mapped(u);
      return failure(yield* call(u, at));
    });
    expect(found).toMatchObject(expected);
  });
});

describe('mremap and mmap of device memory', () => {
  it('move it, but do not make it longer, nor leave it behind', () => {
    const found = run(function* (u) {
      const { fd, at } = yield* mapped(u);
      const longer = yield* u.mremap({ address: at, bytes: 4 * PAGE, newBytes: 5 * PAGE, mayMove: true });
      const kept = yield* u.mremap({
        address: at,
        bytes: 4 * PAGE,
        newBytes: 4 * PAGE,
        mayMove: true,
        dontUnmap: true,
      });
      const to = at - PAGES(64);
      const moved = yield* u.mremap({
        address: at,
        bytes: 4 * PAGE,
        newBytes: 4 * PAGE,
        mayMove: true,
        fixed: true,
        newAddress: to,
      });
      yield* u.must(u.store(to + PAGES(1), 5n));
      return [failure(longer), failure(kept), moved.ok, yield* u.must(u.deviceRead(fd, 1, PAGE))];
    });
    expect(found).toEqual([errno('EFAULT'), errno('EINVAL'), true, Uint8Array.of(5)]);
  });

  it.each([
    ['beyond its end', { offset: PAGE }, 'EINVAL'],
    ['without rights that its driver wants', { shared: false }, 'EINVAL'],
  ] as const)('mmap refuses a mapping %s', (_name, more, expected) => {
    const found = run(function* (u) {
      const fd = yield* u.must(u.openDevice({ bytes: 4 * PAGE, fill: 'fault' }));
      return failure(yield* u.mmap({ fd, bytes: 4 * PAGE, prot: 'rw', shared: true, ...more }));
    });
    expect(found).toEqual(errno(expected));
  });

  it('a descriptor of a device is only for mmap', () => {
    const found = run(function* (u) {
      const fd = yield* u.must(u.openDevice({ bytes: PAGE }));
      const other = yield* u.must(u.memfdCreate('m', {}));
      return [
        failure(yield* u.pread(fd, 1)),
        failure(yield* u.ftruncate(fd, 0)),
        failure(yield* u.deviceRead(fd, 1, PAGE)),
        failure(yield* u.deviceWrite(other, Uint8Array.of(1), 0)),
      ];
    });
    expect(found).toEqual([errno('EINVAL'), errno('EINVAL'), errno('EINVAL'), errno('EBADF')]);
  });
});

describe('a private mapping of device memory', () => {
  it.each(['remap', 'mixed'] as const)(
    'is copied when it is written, and the device keeps its own, filled by %s',
    (fill) => {
      const found = run(function* (u) {
        const { fd, at } = yield* mapped(u, { fill }, false);
        yield* u.must(u.deviceWrite(fd, Uint8Array.of(1, 2, 3), 0));
        yield* u.must(u.store(at + 1n, 9n, 1));
        const seen = yield* u.must(u.loadBytes(at, 3));
        return [seen, yield* u.must(u.deviceRead(fd, 3, 0))];
      });
      expect(found).toEqual([Uint8Array.of(1, 9, 3), Uint8Array.of(1, 2, 3)]);
    },
  );
});

describe('fork', () => {
  it.each(FILLS)(
    'gives the child the same device memory, filled by %s, and each its own copies of a private one',
    (fill) => {
      const shared = fill === 'fault';
      const found = run(function* (u) {
        const { fd, at } = yield* mapped(u, { fill }, shared);
        yield* u.must(u.deviceWrite(fd, Uint8Array.of(5), PAGE));
        yield* u.must(u.load(at + PAGES(1)));
        yield* u.must(u.store(at, 1n, 1));
        const pid = yield* u.must(
          u.fork(function* (child) {
            const before = yield* child.must(child.load(at, 1));
            yield* child.must(child.store(at, 2n, 1));
            const device = yield* child.must(child.load(at + PAGES(1), 1));
            yield* child.exit(Number(before) * 16 + Number(device));
          }),
        );
        const { status } = yield* u.must(u.wait(pid));
        return [status >> 8, yield* u.must(u.load(at, 1))];
      });
      expect(found).toEqual([0x15, shared ? 2n : 1n]);
    },
  );
});

/** What `look` finds in a mapping of a device whose bytes count from 0 to 250 again and again. */
function watch(
  args: Partial<DeviceArguments>,
  prot: string,
  look: (u: User, at: bigint) => Task<unknown>,
): unknown {
  return run(function* (u) {
    const { fd, at } = yield* mapped(u, args, true);
    const bytes = Uint8Array.from({ length: 4 * PAGE }, (_, i) => i % 251);
    yield* u.must(u.deviceWrite(fd, bytes, 0));
    for (let i = 0; i < 4; i++) yield* u.must(u.load(at + PAGES(i)));
    yield* u.must(u.mprotect(at, 4 * PAGE, prot));
    return yield* look(u, at);
  });
}

describe('debuggers and device memory', () => {
  it.each([
    ['a VM_PFNMAP mapping', {}, 'rw', true],
    ['one of PROT_NONE', {}, 'none', true],
    ['one whose driver fills it page by page', { fill: 'fault' }, 'rw', true],
    ['one whose driver has no access', { access: false }, 'rw', false],
    ['a VM_MIXEDMAP one, which follow_pfnmap_start refuses', { fill: 'mixed' }, 'rw', false],
  ] as const)('/proc/pid/mem reads %s', (_name, args, prot, works) => {
    const found = watch(args, prot, function* (u, at) {
      const fd = yield* u.must(u.procMemOpen(u.pid));
      const all = yield* u.procMemRead(fd, at + 10n, 6000);
      const vector = yield* u.processVmReadv(u.pid, [{ address: at, bytes: 8 }]);
      return [all.ok ? [all.value.length, all.value[0], all.value[5999]] : failure(all), failure(vector)];
    });
    const bytes = [6000, 10, 6009 % 251];
    expect(found).toEqual([works ? bytes : errno('EIO'), errno('EFAULT')]);
  });
});

describe('remote access to device memory', () => {
  it.each(['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const)(
    '%s gives them what mmap_lock gives',
    (design) => {
      const looked = (more: Partial<Scenario>): unknown =>
        run(function* (u) {
          const { fd, at } = yield* mapped(u);
          const mixed = yield* mapped(u, { fill: 'mixed' });
          yield* u.must(u.deviceWrite(fd, Uint8Array.of(1, 2, 3), PAGE - 1));
          yield* u.must(u.store(mixed.at, 1n));
          const pid = u.pid;
          const written = yield* u.must(u.accessProcessVmWrite(pid, at + 1n, Uint8Array.of(8, 9)));
          const ranges = [{ address: at, bytes: 8 }];
          return [
            written,
            yield* u.must(u.accessProcessVm(pid, at + PAGES(1) - 2n, 6000)),
            (yield* u.must(u.accessProcessVm(pid, mixed.at, 8))).length,
            failure(yield* u.processVmReadv(pid, ranges)),
            failure(yield* u.processVmWritev(pid, ranges, Uint8Array.of(1))),
          ];
        }, more);
      expect(looked({ design })).toEqual(looked({ design: 'v0' }));
    },
  );

  it('access_remote_vm moves more than a page at once, and beyond the end of the mapping', () => {
    const found = watch({}, 'rw', function* (u, at) {
      yield* u.must(u.munmap(at + PAGES(2), 2 * PAGE));
      const all = yield* u.must(u.accessProcessVm(u.pid, at + PAGES(1), 4 * PAGE));
      return [all.length, all[2 * PAGE], all[3 * PAGE - 1], all[3 * PAGE]];
    });
    // The third page of the device is not mapped any more; behind the device nobody answers.
    expect(found).toEqual([4 * PAGE, (3 * PAGE) % 251, (4 * PAGE - 1) % 251, 0xff]);
  });

  it('a write reaches a writable entry only', () => {
    const found = watch({}, 'rw', function* (u, at) {
      const first = yield* u.must(u.accessProcessVmWrite(u.pid, at, Uint8Array.of(1, 2), ['FORCE']));
      yield* u.must(u.mprotect(at, PAGE, 'r'));
      const second = yield* u.must(u.accessProcessVmWrite(u.pid, at, Uint8Array.of(3), ['FORCE']));
      return [first, second, yield* u.must(u.load(at, 2))];
    });
    expect(found).toEqual([2, 0, 0x201n]);
  });

  it('a page that was never touched, and a private copy, are out of reach', () => {
    const found = run(function* (u) {
      const lazy = yield* mapped(u, { fill: 'fault' });
      const untouched = yield* u.must(u.accessProcessVm(u.pid, lazy.at, 8));
      const own = yield* mapped(u, {}, false);
      const before = yield* u.must(u.accessProcessVm(u.pid, own.at, 8));
      yield* u.must(u.store(own.at, 1n));
      const after = yield* u.must(u.accessProcessVm(u.pid, own.at, 8));
      return [untouched.length, before.length, after.length];
    });
    expect(found).toEqual([0, 8, 0]);
  });
});

describe('memory types', () => {
  it('device memory that is not cached faults where the architecture does not let it be accessed', () => {
    const found = run(function* (u) {
      const { at } = yield* mapped(u, { noncached: true });
      yield* u.must(u.store(at + 8n, 3n));
      const unaligned = yield* u.attempt(u.load(at + 1n));
      yield* u.must(u.mprotect(at, PAGE, 'r'));
      yield* u.must(u.mprotect(at, PAGE, 'rw'));
      const still = yield* u.attempt(u.load(at + 1n));
      return [unaligned.ok, still.ok, yield* u.must(u.load(at + 8n))];
    });
    const allowed = architectureName === 'x86_64';
    expect(found).toEqual([allowed, allowed, 3n]);
  });
});
