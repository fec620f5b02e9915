/** What a remote access may come upon: how the memory at a place was made, and where in it the access goes. */
import { atomically, type Task } from '../../../src/base/task.ts';
import type { User } from '../../../src/userland/user.ts';
import type { Userfaultfd } from '../../../src/userland/userfaultfd.ts';

export const PAGE = 4096;

export interface Situation {
  /** Settings of the machine. */
  readonly settings?: object;
  readonly arm64?: true;
  /** Pages come when a handler brings them, or lets them be written: the target can not be the one who waits. */
  readonly served?: true;
  /** A page of a VMA that could have it, and which no fault can bring: a guest of KVM with a worker faults on it for ever. */
  readonly neverComes?: true;
  /** Makes memory at `base`, a multiple of 2 MiB, of at most 4 pages or a huge page, and gives where it begins. */
  readonly make: (u: User, base: bigint, uffd: Userfaultfd | null) => Task<bigint>;
}

const pages = (page: number): bigint => BigInt(page * PAGE);

/** Text without end, another for each page. */
function* write(u: User, at: bigint, count: number): Task<void> {
  for (let page = 0; page < count; page++) {
    yield* u.must(u.storeBytes(at + pages(page), new Uint8Array(PAGE).fill(0x41 + page)));
  }
}

const anonymous = (u: User, base: bigint, prot = 'rw', shared = false): Task<bigint> =>
  u.must(u.mmap({ address: base, bytes: 4 * PAGE, prot, fixed: true, shared }));

/** Four pages, written to, then made so. */
function then(change: (u: User, base: bigint) => Task<unknown>): Situation['make'] {
  return function* (u, base) {
    yield* anonymous(u, base);
    yield* write(u, base, 4);
    yield* change(u, base);
    return base;
  };
}

function* file(u: User, base: bigint, bytes: number, shared: boolean): Task<number> {
  const fd = yield* u.must(u.memfdCreate(`file ${base}`));
  yield* u.must(u.pwrite(fd, new Uint8Array(bytes).fill(0x61), 0));
  yield* u.must(u.mmap({ address: base, bytes: 4 * PAGE, prot: 'rw', fixed: true, shared, fd }));
  return fd;
}

function* device(u: User, base: bigint, access: boolean): Task<bigint> {
  const fd = yield* u.must(u.openDevice({ bytes: 4 * PAGE, access }));
  yield* u.must(u.deviceWrite(fd, new Uint8Array(4 * PAGE).fill(0x64), 0));
  return yield* u.must(u.mmap({ address: base, bytes: 4 * PAGE, prot: 'rw', fixed: true, shared: true, fd }));
}

function* huge(u: User, base: bigint, hugetlb: boolean): Task<bigint> {
  const bytes = 2 ** 21;
  yield* u.must(
    u.mmap({ address: base, bytes, prot: 'rw', fixed: true, ...(hugetlb ? { hugetlb: true } : {}) }),
  );
  if (!hugetlb) yield* u.must(u.madvise(base, bytes, 'HUGEPAGE'));
  return base;
}

const HUGETLB = { hugepages: { '2MiB': 40 } };

export const SITUATIONS: Readonly<Record<string, Situation>> = {
  'present pages': { make: then(function* () {}) },
  'absent pages': { make: (u, base) => anonymous(u, base) },
  'zero pages': {
    *make(u, base) {
      yield* anonymous(u, base);
      for (let page = 0; page < 4; page++) yield* u.must(u.load(base + pages(page)));
      return base;
    },
  },
  'read-only private pages': { make: then((u, base) => u.must(u.mprotect(base, 4 * PAGE, 'r'))) },
  'pages shared with a child': {
    make: then(function* (u) {
      yield* u.must(
        u.fork(function* (_, share) {
          yield* share.wait('all is done');
        }),
      );
    }),
  },
  PROT_NONE: { make: then((u, base) => u.must(u.mprotect(base, 4 * PAGE, 'none'))) },
  'exec-only': { make: then((u, base) => u.must(u.mprotect(base, 4 * PAGE, 'x'))) },
  'write-only, absent': { make: (u, base) => anonymous(u, base, 'w') },
  'a hole': {
    make: (_, base) => atomically(() => base),
  },
  'a hole in the middle': { make: then((u, base) => u.must(u.munmap(base + pages(1), PAGE))) },
  'two VMAs': { make: then((u, base) => u.must(u.mprotect(base + pages(1), 3 * PAGE, 'rwx'))) },
  'two VMAs, the second read-only': {
    make: then((u, base) => u.must(u.mprotect(base + pages(1), 3 * PAGE, 'r'))),
  },
  'two VMAs, the second PROT_NONE': {
    make: then((u, base) => u.must(u.mprotect(base + pages(1), 3 * PAGE, 'none'))),
  },
  'below a stack': {
    *make(u, base) {
      const stack = base + pages(16);
      yield* u.must(u.mmap({ address: stack, bytes: 2 * PAGE, prot: 'rw', fixed: true, growsDown: true }));
      yield* write(u, stack, 2);
      return stack - pages(2);
    },
  },
  hugetlb: {
    settings: HUGETLB,
    *make(u, base) {
      yield* huge(u, base, true);
      yield* write(u, base, 4);
      return base;
    },
  },
  'hugetlb, absent': { settings: HUGETLB, make: (u, base) => huge(u, base, true) },
  'a transparent huge page': {
    *make(u, base) {
      yield* huge(u, base, false);
      yield* write(u, base, 4);
      return base;
    },
  },
  'swapped pages': {
    settings: { swap: '4MiB' },
    make: then((u, base) => u.must(u.madvise(base, 4 * PAGE, 'PAGEOUT'))),
  },
  'shared anonymous pages': {
    *make(u, base) {
      yield* anonymous(u, base, 'rw', true);
      yield* write(u, base, 2);
      return base;
    },
  },
  'a shared memfd': {
    *make(u, base) {
      yield* file(u, base, 4 * PAGE, true);
      yield* write(u, base, 1);
      return base;
    },
  },
  'a private memfd': {
    *make(u, base) {
      yield* file(u, base, 4 * PAGE, false);
      return base;
    },
  },
  'a file cut short': {
    neverComes: true,
    *make(u, base) {
      const fd = yield* file(u, base, 4 * PAGE, true);
      yield* write(u, base, 4);
      yield* u.must(u.ftruncate(fd, PAGE));
      return base;
    },
  },
  'userfaultfd, missing': {
    served: true,
    *make(u, base, uffd) {
      yield* anonymous(u, base);
      yield* write(u, base, 1);
      if (uffd !== null) yield* u.must(uffd.register({ address: base, bytes: 4 * PAGE, missing: true }));
      return base;
    },
  },
  'userfaultfd, write-protected': {
    served: true,
    *make(u, base, uffd) {
      yield* anonymous(u, base);
      yield* write(u, base, 4);
      if (uffd === null) return base;
      const range = { address: base, bytes: 4 * PAGE };
      yield* u.must(uffd.register({ ...range, writeProtect: true }));
      yield* u.must(uffd.writeProtect({ ...range, protect: true }));
      return base;
    },
  },
  'a device with an access operation': { make: (u, base) => device(u, base, true) },
  'a device without': { make: (u, base) => device(u, base, false) },
  'secret memory': {
    neverComes: true,
    *make(u, base) {
      const fd = yield* u.must(u.memfdSecret());
      yield* u.must(u.ftruncate(fd, 4 * PAGE));
      yield* u.must(u.mmap({ address: base, bytes: 4 * PAGE, prot: 'rw', fixed: true, shared: true, fd }));
      yield* write(u, base, 4);
      return base;
    },
  },
  'a guard page': {
    neverComes: true,
    make: then((u, base) => u.must(u.madvise(base + pages(1), PAGE, 'GUARD_INSTALL'))),
  },
  'pages with tags': {
    arm64: true,
    *make(u, base) {
      yield* anonymous(u, base, 'rwm');
      yield* write(u, base, 4);
      yield* u.must(u.stg(base + (5n << 56n)));
      return base;
    },
  },
  'sealed read-only pages': {
    make: then(function* (u, base) {
      yield* u.must(u.mprotect(base, 4 * PAGE, 'r'));
      yield* u.must(u.mseal(base, 4 * PAGE));
    }),
  },
};
