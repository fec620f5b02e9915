/** What of a program's memory is in its core dump. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import type { CoreImage } from '../../src/userland/user-probes.ts';
import { architecture } from '../support/architecture.ts';

/** The dump of a program after `prepare`, and what that returned. */
function dumpAfter<T>(
  prepare: (u: User) => Generator<unknown, T, never> | Task<T>,
  settings: object = {},
): { readonly made: T; readonly dump: CoreImage } {
  const scenario = defineScenario({
    title: 'core dump',
    programs: {
      *program(u) {
        const made = yield* prepare(u) as Task<T>;
        return { made, dump: yield* u.must(u.coreDump()) };
      },
    },
    ...settings,
  });
  const { outcome, programs } = runScenario(scenario, { architecture });
  expect(outcome).toEqual({ kind: 'finished' });
  return programs[0]?.value as { made: T; dump: CoreImage };
}

/** Bytes of the mapping at `address` in the dump, and pages of it that are no holes. */
function at({ mappings, pages }: CoreImage, address: bigint): readonly [number, number] {
  const mapping = mappings.find(({ start, end }) => start <= address && address < end);
  if (mapping === undefined) return [-1, 0];
  const inside = pages.filter((page) => page.address >= mapping.start && page.address < mapping.end);
  return [mapping.dumpBytes, inside.length];
}

type Kind = 'private' | 'shared' | 'memfd shared' | 'memfd private' | 'memfd written' | 'named shared';

function* mapped(u: User, kind: Kind) {
  const anonymous = kind === 'private' || kind === 'shared';
  const shared = kind.endsWith('shared');
  let fd: number | undefined;
  if (!anonymous) {
    fd = yield* kind === 'named shared'
      ? u.must(u.open('/tmp/file', { create: true }))
      : u.must(u.memfdCreate('file'));
    yield* u.must(u.ftruncate(fd, 8192));
  }
  const page = yield* u.must(
    u.mmap({ bytes: 8192, prot: 'rw', shared, ...(fd === undefined ? {} : { fd }) }),
  );
  if (kind === 'memfd private') yield* u.must(u.load(page));
  else yield* u.must(u.store(page, 7));
  return page;
}

describe('a core dump', () => {
  it.each<[Kind, number, readonly [number, number]]>([
    ['private', 0x33, [8192, 1]],
    ['private', 0x32, [0, 0]],
    ['shared', 0x33, [8192, 2]],
    ['shared', 0x31, [0, 0]],
    ['memfd shared', 0x33, [8192, 2]],
    ['named shared', 0x33, [0, 0]],
    ['named shared', 0x08, [8192, 2]],
    ['memfd written', 0x33, [8192, 2]],
    ['memfd private', 0x33, [4096, 1]],
    ['memfd private', 0x23, [0, 0]],
    ['memfd private', 0x04, [8192, 2]],
  ])('of %s memory with filter %i', (kind, filter, expected) => {
    const { made, dump } = dumpAfter(function* (u) {
      yield* u.must(u.setCoredumpFilter(filter));
      return yield* mapped(u, kind);
    });
    expect(at(dump, made)).toEqual(expected);
  });

  it('has pages that the program itself may not read, and nothing faulted in for it', () => {
    const { made, dump } = dumpAfter(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 3 * 4096, prot: 'rw' }));
      yield* u.must(u.store(page + 4096n, 9));
      yield* u.must(u.load(page + 8192n));
      yield* u.must(u.mprotect(page, 3 * 4096, 'none'));
      return page;
    });
    // The third page is the zero page: a hole as well.
    expect(dump.pages.map(({ address, data }) => [address, data[0]])).toEqual([[made + 4096n, 9]]);
    expect(dump.complete).toBe(true);
  });

  it('leaves out what madvise says, and lists it all the same', () => {
    const { made, dump } = dumpAfter(function* (u) {
      const page = yield* mapped(u, 'private');
      yield* u.must(u.madvise(page, 4096, 'DONTDUMP'));
      return page;
    });
    expect(at(dump, made)).toEqual([0, 0]);
    expect(at(dump, made + 4096n)).toEqual([4096, 0]);
  });
});

describe('the core dump of a process', () => {
  it('has the filter of the parent', () => {
    const scenario = defineScenario({
      title: 'filter',
      programs: {
        *program(u, share) {
          yield* u.must(u.setCoredumpFilter(0x32));
          const page = yield* mapped(u, 'private');
          const child = yield* u.must(
            u.fork(function* (c, shared) {
              const dump = (yield* c.must(c.coreDump())) as CoreImage;
              shared.set('dumped', at(dump, page)[0]);
            }),
          );
          yield* u.must(u.wait(child));
          return share.get('dumped');
        },
      },
    });
    expect(runScenario(scenario, { architecture }).programs[0]?.value).toBe(0);
  });

  it('is none of a process that is not dumpable', () => {
    const { dump } = dumpAfter(function* (u) {
      yield* u.must(u.setDumpable(false));
    });
    expect(dump).toBe(null);
  });

  it('has huge pages of a pool', () => {
    const { made, dump } = dumpAfter(
      function* (u) {
        const page = yield* u.must(u.mmap({ bytes: 2 << 20, prot: 'rw', hugetlb: true }));
        yield* u.must(u.store(page + 4096n, 5));
        return page;
      },
      { hugepages: { '2MiB': 1 } },
    );
    expect(at(dump, made)).toEqual([2 << 20, 512]);
    expect(dump.pages.find(({ address }) => address === made + 4096n)?.data[0]).toBe(5);
  });
});
