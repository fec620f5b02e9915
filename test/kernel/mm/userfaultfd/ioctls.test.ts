/** What the ioctls of userfaultfd answer, and what they leave alone. */
import { describe, expect, it } from 'vitest';
import { EAGAIN, EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, EPERM } from '../../../../src/kernel/errno.ts';
import { memfdCreate, openAgain } from '../../../../src/kernel/mm/memfd.ts';
import { MAP_FIXED, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { userfaultfdContinue } from '../../../../src/kernel/mm/userfaultfd/continue.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import { userfaultfdPoison } from '../../../../src/kernel/mm/userfaultfd/poison.ts';
import {
  EPOLLERR,
  EPOLLIN,
  userfaultfdPoll,
  userfaultfdRead,
} from '../../../../src/kernel/mm/userfaultfd/read.ts';
import { userfaultfdRegister } from '../../../../src/kernel/mm/userfaultfd/register.ts';
import {
  O_NONBLOCK,
  UFFD_API,
  UFFD_API_FEATURES,
  UFFD_FEATURE_EVENT_FORK,
  UFFD_USER_MODE_ONLY,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdUnregister } from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../../src/kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWake } from '../../../../src/kernel/mm/userfaultfd/wake.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import { userfaultfdZeropage } from '../../../../src/kernel/mm/userfaultfd/zeropage.ts';
import { credentials } from '../../../../src/kernel/process/credentials.ts';
import { addressOf, mmOf } from '../process-world.ts';
import { bytesOf, MINOR, MISSING, pagesOf, RW, UffdWorld, WP } from './uffd-world.ts';

const PAGE = 4096n;

/** Pages 0…5 mapped, 0…3 registered for missing pages, page 1 filled. */
function world(): UffdWorld {
  const made = new UffdWorld();
  made.map(made.owner, 0, 6, RW);
  made.register(0, 4, MISSING);
  expect(made.copy(1, 7)).toEqual({ error: 0, done: 4096 });
  return made;
}

describe('userfaultfd(2)', () => {
  it.each([
    ['unknown flags', 2, -EINVAL],
    ['O_NONBLOCK', O_NONBLOCK, 0],
    ['UFFD_USER_MODE_ONLY', UFFD_USER_MODE_ONLY, 0],
  ])('with %s', (_name, flags, expected) => {
    const made = new UffdWorld();
    const context = made.run(made.owner, sysUserfaultfd(made.owner, flags));
    expect(typeof context === 'number' ? context : 0).toBe(expected);
    // Each keeps the structure of the address space, the one of the world too.
    expect(mmOf(made.owner).mmCount).toBe(expected === 0 ? 3 : 2);
  });

  it('an unprivileged process may only watch its own user-mode faults', () => {
    const made = new UffdWorld();
    made.owner.credentials = credentials(1000, 1000);
    expect(made.run(made.owner, sysUserfaultfd(made.owner, 0))).toBe(-EPERM);
    const context = made.run(made.owner, sysUserfaultfd(made.owner, UFFD_USER_MODE_ONLY));
    if (typeof context === 'number') throw new Error('refused');
    const forkEvents = BigInt(UFFD_FEATURE_EVENT_FORK);
    const api = (version: bigint, features: bigint) =>
      made.run(made.owner, userfaultfdApi(made.owner, context, version, features));
    const refused = { error: -EPERM, features: 0n, ioctls: 0n };
    expect(api(UFFD_API, forkEvents)).toEqual(refused);
    // Before features are looked at that nobody has, behind the version.
    expect(api(UFFD_API, forkEvents | (1n << 40n))).toEqual(refused);
    expect(api(0xabn, forkEvents).error).toBe(-EINVAL);
  });
});

describe('UFFDIO_API', () => {
  it('reports every feature and ioctl, once', () => {
    const made = new UffdWorld();
    const context = made.run(made.owner, sysUserfaultfd(made.owner, 0));
    if (typeof context === 'number') throw new Error('refused');
    const api = (version: bigint, features: bigint) =>
      made.run(made.owner, userfaultfdApi(made.owner, context, version, features));
    expect(api(0xabn, 0n).error).toBe(-EINVAL);
    expect(api(UFFD_API, 1n << 17n).error).toBe(-EINVAL);
    // bits 0, 1 and 63: register, unregister, api.
    expect(api(UFFD_API, 0n)).toEqual({
      error: 0,
      features: BigInt(UFFD_API_FEATURES),
      ioctls: 0x8000_0000_0000_0003n,
    });
    expect(BigInt(UFFD_API_FEATURES)).toBe(0x1ffffn);
    expect(api(UFFD_API, 0n).error).toBe(-EINVAL);
  });

  it('nothing else works before UFFDIO_API', () => {
    const made = new UffdWorld();
    const { owner } = made;
    made.map(owner, 0, 2, RW);
    const context = made.run(owner, sysUserfaultfd(owner, O_NONBLOCK));
    if (typeof context === 'number') throw new Error('refused');
    const at = addressOf(0);
    expect(made.run(owner, userfaultfdRegister(owner, context, at, PAGE, MISSING)).error).toBe(-EINVAL);
    expect(made.run(owner, userfaultfdUnregister(owner, context, at, PAGE))).toBe(-EINVAL);
    expect(made.run(owner, userfaultfdZeropage(owner, context, at, PAGE, 0n)).error).toBe(-EINVAL);
    expect(made.run(owner, userfaultfdWriteprotect(owner, context, at, PAGE, 1n))).toBe(-EINVAL);
    expect(made.run(owner, userfaultfdWake(owner, context, at, PAGE))).toBe(-EINVAL);
    expect(made.run(owner, userfaultfdRead(owner, context, 32)).result).toBe(-EINVAL);
    expect(made.run(owner, userfaultfdPoll(context))).toBe(EPOLLERR);
  });
});

describe('UFFDIO_REGISTER', () => {
  it.each([
    ['missing', MISSING, 0x13cn],
    ['write protection', WP, 0x17cn],
    ['both', MISSING | WP, 0x17cn],
  ])('for %s reports the ioctls that work', (_name, mode, ioctls) => {
    const made = new UffdWorld();
    made.map(made.owner, 0, 4, RW);
    expect(made.register(0, 4, mode)).toBe(ioctls);
  });

  it('for minor faults of shared memory reports UFFDIO_CONTINUE too', () => {
    const made = new UffdWorld();
    made.map(made.owner, 0, 4, RW, MAP_SHARED);
    expect(made.register(0, 4, MINOR)).toBe(0x1bcn);
  });

  it.each([
    ['no mode', 0, 1, 0n, -EINVAL],
    ['an unknown mode', 0, 1, 8n, -EINVAL],
    ['a hole', 16, 1, MISSING, -EINVAL],
    ['length 0', 0, 0, MISSING, -EINVAL],
    ['minor faults of anonymous memory', 0, 1, MINOR, -EINVAL],
  ])('refuses %s', (_name, page, pages, mode, expected) => {
    const made = new UffdWorld();
    made.map(made.owner, 0, 4, RW);
    const call = userfaultfdRegister(made.manager, made.uffd, addressOf(page), bytesOf(pages), mode);
    expect(made.run(made.manager, call)).toEqual({ error: expected, ioctls: 0n });
  });

  it.each([
    ['address', 1n, PAGE],
    ['length', 0n, 100n],
  ])('refuses an unaligned %s', (_name, offset, length) => {
    const made = new UffdWorld();
    made.map(made.owner, 0, 4, RW);
    const call = userfaultfdRegister(made.manager, made.uffd, addressOf(0) + offset, length, MISSING);
    expect(made.run(made.manager, call).error).toBe(-EINVAL);
  });
});

describe('UFFDIO_REGISTER of memory that cannot have it', () => {
  it('refuses what lies below mmap_min_addr or above user space', () => {
    const made = new UffdWorld();
    for (const at of [0n, 1n << 63n]) {
      const call = userfaultfdRegister(made.manager, made.uffd, at, PAGE, MISSING);
      expect(made.run(made.manager, call).error).toBe(-EINVAL);
    }
  });

  it('refuses memory that can never be written, and what another userfaultfd has', () => {
    const made = new UffdWorld();
    const { owner, manager } = made;
    const file = openAgain(memfdCreate(made.kernel, 'a'), true, false);
    made.run(owner, sysMmap(owner, addressOf(8), PAGE, 1, MAP_SHARED | MAP_FIXED, file, 0n));
    made.map(owner, 0, 4, RW);
    const second = made.open(owner);
    made.register(1, 1, MISSING, second);
    const attempt = (page: number, pages: number) =>
      made.run(manager, userfaultfdRegister(manager, made.uffd, addressOf(page), bytesOf(pages), MISSING));
    expect(attempt(8, 1).error).toBe(-EPERM);
    expect(attempt(0, 3).error).toBe(-EBUSY);
    expect(attempt(0, 1).error).toBe(0);
    // The second one may not be taken away either.
    expect(made.run(manager, userfaultfdUnregister(manager, made.uffd, addressOf(0), bytesOf(3)))).toBe(
      -EINVAL,
    );
  });

  it('splits and merges VMAs; different userfaultfds keep them apart', () => {
    const made = new UffdWorld();
    const { owner, manager } = made;
    made.map(owner, 0, 6, RW);
    const ends = () => [...mmOf(owner).vmas].map(({ start, end }) => end - start);
    made.register(1, 2, MISSING);
    expect(ends()).toEqual([1, 2, 3]);
    made.register(3, 1, MISSING);
    expect(ends()).toEqual([1, 3, 2]);
    made.register(4, 1, MISSING, made.open(owner));
    expect(ends()).toEqual([1, 3, 1, 1]);
    made.register(1, 3, WP);
    expect(ends()).toEqual([1, 3, 1, 1]);
    made.run(manager, userfaultfdUnregister(manager, made.uffd, addressOf(0), bytesOf(4)));
    expect(ends()).toEqual([4, 1, 1]);
    made.expectConsistent();
  });
});

describe('filling pages in', () => {
  it.each([
    ['a page that is there', 1, 1, -EEXIST],
    ['what is not registered', 4, 1, -ENOENT],
    ['a hole', 9, 1, -ENOENT],
    ['more than the VMA has', 3, 2, -ENOENT],
  ])('is refused for %s, and says so in the structure', (_name, page, pages, error) => {
    const made = world();
    const { manager, uffd } = made;
    const range = [addressOf(page), bytesOf(pages)] as const;
    expect(made.copy(page, 1, pages)).toEqual({ error, done: error });
    const calls = [userfaultfdZeropage, userfaultfdPoison];
    for (const call of calls) {
      expect(made.run(manager, call(manager, uffd, ...range, 0n))).toEqual({ error, done: error });
    }
    made.expectConsistent();
  });

  it.each([
    ['an unaligned target', addressOf(2) + 8n, PAGE, 0n],
    ['length 0', addressOf(2), 0n, 0n],
    ['an unknown mode', addressOf(2), PAGE, 8n],
  ])('with %s leaves the structure alone', (_name, at, length, mode) => {
    const made = world();
    const { manager, uffd } = made;
    const copy = userfaultfdCopy(manager, uffd, at, pagesOf(1), length, mode);
    expect(made.run(manager, copy)).toEqual({ error: -EINVAL, done: null });
    const zero = userfaultfdZeropage(manager, uffd, at, length, mode);
    expect(made.run(manager, zero)).toEqual({ error: -EINVAL, done: null });
  });
});

describe('UFFDIO_COPY', () => {
  it('stops at a page that is there: the pages before it stay, and the caller is told how many', () => {
    const made = world();
    expect(made.copy(0, 5, 3)).toEqual({ error: -EAGAIN, done: 4096 });
    expect(made.load(made.owner, 0)).toBe(5);
    expect(made.load(made.owner, 1)).toBe(7);
    made.expectConsistent();
  });

  it('reads the data from the caller, faulting it in without the locks of the target', () => {
    const made = world();
    const { manager, uffd } = made;
    made.map(manager, 0, 4, RW);
    expect(made.store(manager, 0, 42)).toBeNull();
    const copy = (page: number, source: bigint, pages: number) =>
      made.run(manager, userfaultfdCopy(manager, uffd, addressOf(page), source, bytesOf(pages), 0n));
    // The second page of the source was never touched.
    expect(copy(2, addressOf(0), 2)).toEqual({ error: 0, done: 8192 });
    expect(made.load(made.owner, 2)).toBe(42);
    expect(made.load(made.owner, 3)).toBe(0);
    // The source need not be aligned, but must be there.
    expect(copy(0, addressOf(0, 1), 1)).toEqual({ error: 0, done: 4096 });
    expect(made.load(made.owner, 0)).toBe(0);
    made.register(4, 2, MISSING);
    expect(copy(4, addressOf(3, 8), 1)).toEqual({ error: -EFAULT, done: -EFAULT });
    expect(copy(4, addressOf(3), 2)).toEqual({ error: -EAGAIN, done: 4096 });
    expect(made.page(made.owner, 5)).toBe('-');
    made.expectConsistent();
  });

  it('gives a private VMA its anon_vma before it finds the range too long', () => {
    const made = new UffdWorld();
    made.map(made.owner, 0, 2, RW);
    made.register(0, 2, MISSING);
    const vma = () => mmOf(made.owner).vmas.lookup(Number(addressOf(0) >> 12n));
    expect(vma()?.anonVma).toBeNull();
    expect(made.copy(1, 1, 2).error).toBe(-ENOENT);
    expect(vma()?.anonVma).not.toBeNull();
  });
});

describe('shared memory, and pages that come from elsewhere', () => {
  it('COPY and ZEROPAGE of shared memory put pages into the object; one that it has is refused', () => {
    const made = new UffdWorld();
    const { owner, manager, uffd } = made;
    made.map(owner, 0, 4, RW, MAP_SHARED);
    made.register(0, 4, MISSING);
    expect(made.copy(0, 9)).toEqual({ error: 0, done: 4096 });
    const zero = userfaultfdZeropage(manager, uffd, addressOf(1), PAGE, 0n);
    expect(made.run(manager, zero)).toEqual({ error: 0, done: 4096 });
    expect([0, 1].map((page) => made.page(owner, page))).toEqual(['Fwd', 'Fwd']);
    const child = made.fork(owner);
    expect(made.load(child, 0)).toBe(9);
    expect(made.copy(0, 8).error).toBe(-EEXIST);
    made.expectConsistent();
  });

  it('ZEROPAGE of private memory maps the zero page', () => {
    const made = world();
    const { manager, uffd, owner } = made;
    made.run(manager, userfaultfdZeropage(manager, uffd, addressOf(2), PAGE, 0n));
    expect(made.page(owner, 2)).toBe('Z');
  });

  it('CONTINUE maps what the file has, and nothing else', () => {
    const made = new UffdWorld();
    const { owner, manager, uffd } = made;
    made.map(owner, 0, 4, RW, MAP_SHARED);
    const child = made.fork(owner);
    expect(made.store(child, 1, 77)).toBeNull();
    made.register(0, 4, MINOR);
    const attempt = (page: number) =>
      made.run(manager, userfaultfdContinue(manager, uffd, addressOf(page), PAGE, 0n));
    expect(attempt(0)).toEqual({ error: -EFAULT, done: -EFAULT });
    expect(attempt(1)).toEqual({ error: 0, done: 4096 });
    expect(attempt(1).error).toBe(-EEXIST);
    expect(made.load(owner, 1)).toBe(77);
    made.expectConsistent();
  });

  it('CONTINUE is not for anonymous memory, nor a protected page for a range without protection', () => {
    const made = world();
    const { manager, uffd } = made;
    const call = userfaultfdContinue(manager, uffd, addressOf(2), PAGE, 0n);
    expect(made.run(manager, call)).toEqual({ error: -EINVAL, done: -EINVAL });
    expect(made.copy(2, 1, 1, 2n)).toEqual({ error: -EINVAL, done: -EINVAL });
  });
});

describe('UFFDIO_WRITEPROTECT', () => {
  it.each([
    ['a range registered for missing pages only', 0, 1, 1n, -ENOENT],
    ['a hole', 9, 1, 1n, -ENOENT],
    ['a protecting call that wakes nobody', 0, 1, 3n, -EINVAL],
    ['an unknown mode', 0, 1, 4n, -EINVAL],
  ])('refuses %s', (_name, page, pages, mode, expected) => {
    const made = world();
    const call = userfaultfdWriteprotect(made.manager, made.uffd, addressOf(page), bytesOf(pages), mode);
    expect(made.run(made.manager, call)).toBe(expected);
  });

  it('protects what lies before a part that is not registered', () => {
    const made = new UffdWorld();
    const { owner } = made;
    made.map(owner, 0, 2, RW);
    made.store(owner, 0, 1);
    made.store(owner, 1, 1);
    made.register(0, 1, WP);
    expect(made.page(owner, 0)).toBe('Xwd');
    expect(made.protect(0, 2)).toBe(-ENOENT);
    expect([0, 1].map((page) => made.page(owner, page))).toEqual(['Xd', 'Xwd']);
    expect(made.protect(0, 1, 0n)).toBe(0);
    expect(made.page(owner, 0)).toBe('Xwd');
  });
});

describe('reading and polling', () => {
  it('a buffer without room for a message is refused, an empty queue is EAGAIN', () => {
    const made = world();
    const { manager, uffd } = made;
    expect(made.run(manager, userfaultfdRead(manager, uffd, 31)).result).toBe(-EINVAL);
    expect(made.run(manager, userfaultfdRead(manager, uffd, 64)).result).toBe(-EAGAIN);
    expect(made.run(manager, userfaultfdPoll(uffd))).toBe(0);
  });

  it('poll of a blocking descriptor is an error', () => {
    const made = new UffdWorld({}, 0, 0);
    expect(made.run(made.manager, userfaultfdPoll(made.uffd))).toBe(EPOLLERR);
  });

  it('the oldest fault comes first; several are read at once, each once', () => {
    const made = world();
    const { manager, uffd, owner } = made;
    const threads = [2, 0, 3].map((page) => {
      const task = made.thread(owner, `reader of ${page}`, 0);
      return made.beginLoad(task, page);
    });
    expect(made.run(manager, userfaultfdPoll(uffd))).toBe(EPOLLIN);
    const { result, messages } = made.run(manager, userfaultfdRead(manager, uffd, 70));
    expect(result).toBe(64);
    const addresses = messages.map((message) => (message.event === 'pagefault' ? message.address : 0n));
    expect(addresses).toEqual([addressOf(2), addressOf(0)]);
    expect(made.event()).toBe('3 0');
    expect(made.run(manager, userfaultfdPoll(uffd))).toBe(0);
    for (const page of [0, 2, 3]) expect(made.copy(page, page).error).toBe(0);
    made.settle();
    expect(threads.map(({ result: byte }) => byte)).toEqual([2, 0, 3]);
    made.expectConsistent();
  });

  it('writes the message to the memory of the reader', () => {
    const made = world();
    const { manager, uffd, owner } = made;
    made.map(manager, 0, 1, RW);
    const store = made.beginStore(owner, 2, 5);
    const read = userfaultfdRead(manager, uffd, 32, addressOf(0, 16));
    expect(made.run(manager, read).result).toBe(32);
    const bytes = Array.from({ length: 32 }, (_, i) => made.load(manager, 0, 16 + i) as number);
    const view = new DataView(Uint8Array.from(bytes).buffer);
    expect([bytes[0], view.getBigUint64(8, true), view.getBigUint64(16, true)]).toEqual([
      0x12,
      1n,
      addressOf(2),
    ]);
    made.copy(2, 0);
    made.settle();
    expect(store.ended).toBe(true);
  });

  it('a blocking read waits for a fault', () => {
    const made = new UffdWorld({}, 0, 0);
    const { manager, uffd, owner } = made;
    made.map(owner, 0, 2, RW);
    made.register(0, 2, MISSING);
    const read = made.begin(manager, userfaultfdRead(manager, uffd, 64));
    expect(read.ended).toBe(false);
    const load = made.beginLoad(owner, 1);
    expect(read.result.result).toBe(32);
    made.copy(1, 3);
    made.settle();
    expect(load.result).toBe(3);
  });
});
