/** userfaultfd on huge pages of hugetlb: whole pages are reported, filled in and protected. */
import { describe, expect, it } from 'vitest';
import { EEXIST, EFAULT, EINVAL, ENOMEM } from '../../../../src/kernel/errno.ts';
import { NO_FRAME } from '../../../../src/kernel/frame/buddy.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_PRIVATE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import type { UserfaultfdContext } from '../../../../src/kernel/mm/userfaultfd/context.ts';
import { userfaultfdContinue } from '../../../../src/kernel/mm/userfaultfd/continue.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import type { FilledRange } from '../../../../src/kernel/mm/userfaultfd/fill-ioctl.ts';
import { userfaultfdPoison } from '../../../../src/kernel/mm/userfaultfd/poison.ts';
import { userfaultfdRead } from '../../../../src/kernel/mm/userfaultfd/read.ts';
import { userfaultfdRegister } from '../../../../src/kernel/mm/userfaultfd/register.ts';
import { O_NONBLOCK, UFFD_API } from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdRelease } from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../../src/kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import { userfaultfdZeropage } from '../../../../src/kernel/mm/userfaultfd/zeropage.ts';
import { SIGBUS, type SignalInfo } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { TaskState } from '../../../../src/sched/task.ts';
import { userStore } from '../../../../src/userland/calls/access.ts';
import { at, HUGE, HugetlbWorld } from '../hugetlb/hugetlb-world.ts';
import { bytesOf, MINOR, MISSING, WP } from './uffd-world.ts';

const UNIT = bytesOf(HUGE);

class HugeUffd extends HugetlbWorld {
  readonly owner = this.process('owner');
  readonly manager = this.process('manager');
  readonly uffd: UserfaultfdContext;

  constructor(flags: number, mode: bigint, ioctls: bigint) {
    super();
    const { owner, manager } = this;
    const uffd = this.run(owner, sysUserfaultfd(owner, O_NONBLOCK));
    if (typeof uffd === 'number') throw new Error('refused');
    this.uffd = uffd;
    this.run(owner, userfaultfdApi(owner, uffd, UFFD_API, 0n));
    this.mapHuge(owner, 0, 2 * HUGE, { flags });
    const registered = this.run(manager, userfaultfdRegister(manager, uffd, at(0), 2n * UNIT, mode));
    expect(registered).toEqual({ error: 0, ioctls });
  }

  copy(
    page: number,
    length = UNIT,
    source: bigint | Uint8Array = new Uint8Array(Number(length)).fill(6),
  ): FilledRange {
    return this.run(this.manager, userfaultfdCopy(this.manager, this.uffd, at(page), source, length, 0n));
  }

  /** A store that may wait: what it gave, `undefined` while it does. */
  beginPut(task: TaskStruct, page: number): () => SignalInfo | null | undefined {
    this.system.loop.start(task, userStore(task, at(page), Uint8Array.of(9)));
    this.system.loop.run();
    return () => (task.state === TaskState.Idle ? (task.result as SignalInfo | null) : undefined);
  }

  event(): string {
    const { messages } = this.run(this.manager, userfaultfdRead(this.manager, this.uffd, 32));
    const [message] = messages;
    if (message?.event !== 'pagefault') return '-';
    return `${Number((message.address - at(0)) >> 12n)} ${message.flags}`;
  }

  settle(): void {
    this.system.loop.run();
  }

  expectAllGivenBack(): void {
    this.run(this.manager, userfaultfdRelease(this.manager, this.uffd));
    this.exit(this.owner);
    expect(this.counters).toBe('8/0');
    expect(this.stale()).toEqual([]);
  }
}

const KINDS = [
  ['private', MAP_PRIVATE, 'Xwd'],
  ['shared', MAP_SHARED, 'Fwd'],
] as const;

describe.each(KINDS)('%s huge pages', (_name, flags, entry) => {
  it('wait for a whole page, reported by its first address', () => {
    const world = new HugeUffd(flags, MISSING, 0x10cn);
    const put = world.beginPut(world.owner, HUGE + 7);
    expect(put()).toBeUndefined();
    expect(world.event()).toBe(`${HUGE} 1`);
    expect(world.copy(HUGE)).toEqual({ error: 0, done: Number(UNIT) });
    world.settle();
    expect(put()).toBeNull();
    expect([
      world.entry(world.owner, HUGE),
      world.get(world.owner, HUGE + 7),
      world.get(world.owner, HUGE),
    ]).toEqual([entry, 9, 6]);
    expect(world.copy(HUGE)).toEqual({ error: -EEXIST, done: -EEXIST });
    expect(world.counters).toBe('7/1');
    world.expectAllGivenBack();
  });

  it('are copied from memory of the caller that must be faulted in first', () => {
    const world = new HugeUffd(flags, MISSING, 0x10cn);
    world.mapHuge(world.manager, 0, 2 * HUGE);
    world.put(world.manager, HUGE, 3);
    expect(world.copy(0, 2n * UNIT, at(0))).toEqual({ error: 0, done: Number(2n * UNIT) });
    expect([world.get(world.owner, 0), world.get(world.owner, HUGE)]).toEqual([0, 3]);
    expect(world.copy(0, UNIT, at(4 * HUGE))).toEqual({ error: -EEXIST, done: -EEXIST });
    world.exit(world.manager);
    const other = world.process('other');
    world.run(other, userfaultfdRelease(other, world.uffd));
    world.exit(world.owner);
    expect(world.counters).toBe('8/0');
  });

  it('a source that is not there gives the page and its promise back', () => {
    const world = new HugeUffd(flags, MISSING, 0x10cn);
    expect(world.counters).toBe('8/2');
    expect(world.copy(0, UNIT, at(8 * HUGE))).toEqual({ error: -EFAULT, done: -EFAULT });
    expect(world.counters).toBe('8/2');
    world.expectAllGivenBack();
  });
});

describe.each(KINDS)('%s huge pages as a whole', (_name, flags) => {
  it('refuse zero pages and parts of a page', () => {
    const world = new HugeUffd(flags, MISSING, 0x10cn);
    const { manager, uffd } = world;
    expect(world.run(manager, userfaultfdZeropage(manager, uffd, at(0), UNIT, 0n)).error).toBe(-EINVAL);
    expect(world.copy(0, 4096n).error).toBe(-EINVAL);
    expect(world.copy(8, UNIT).error).toBe(-EINVAL);
    for (const [start, length] of [
      [at(8), UNIT],
      [at(0), 4096n],
    ] as const) {
      const call = userfaultfdRegister(manager, uffd, start, length, MISSING);
      expect(world.run(manager, call).error).toBe(-EINVAL);
    }
  });

  it('poison ends accesses', () => {
    const world = new HugeUffd(flags, MISSING, 0x10cn);
    const { manager, uffd } = world;
    const call = userfaultfdPoison(manager, uffd, at(0), UNIT, 0n);
    expect(world.run(manager, call)).toEqual({ error: 0, done: Number(UNIT) });
    expect(world.put(world.owner, 3, 1)).toMatchObject({ signal: SIGBUS });
    expect(world.copy(0).error).toBe(0);
    expect(world.get(world.owner, 3)).toBe(6);
    world.expectAllGivenBack();
  });

  it('are write-protected as a whole, absent ones by a marker', () => {
    const world = new HugeUffd(flags, WP, 0x14cn);
    const { manager, uffd, owner } = world;
    world.put(owner, 0, 1);
    const protect = (mode: bigint) =>
      world.run(manager, userfaultfdWriteprotect(manager, uffd, at(0), 2n * UNIT, mode));
    expect(protect(1n)).toBe(0);
    expect(world.entry(owner, HUGE)).toBe('marker');
    expect(world.get(owner, 5)).toBe(0);
    const put = world.beginPut(owner, 5);
    expect(put()).toBeUndefined();
    expect(world.event()).toBe('0 3');
    expect(protect(0n)).toBe(0);
    world.settle();
    expect(put()).toBeNull();
    expect(world.put(owner, HUGE, 4)).toBeNull();
    world.expectAllGivenBack();
  });
});

describe('minor faults of shared huge pages', () => {
  it('wait for CONTINUE, which maps what the file has', () => {
    const world = new HugeUffd(MAP_SHARED, MINOR, 0x18cn);
    const { manager, uffd, owner } = world;
    const child = world.fork(owner);
    world.put(child, 1, 5);
    const put = world.beginPut(owner, 2);
    expect(world.event()).toBe('0 5');
    const attempt = (page: number) =>
      world.run(manager, userfaultfdContinue(manager, uffd, at(page), UNIT, 0n));
    expect(attempt(HUGE)).toEqual({ error: -EFAULT, done: -EFAULT });
    expect(attempt(0)).toEqual({ error: 0, done: Number(UNIT) });
    world.settle();
    expect(put()).toBeNull();
    expect([world.get(child, 2), world.get(owner, 1)]).toEqual([9, 5]);
    world.exit(child);
    world.expectAllGivenBack();
  });
});

describe('markers of huge pages', () => {
  const poison = (world: HugeUffd, page: number) =>
    world.run(world.manager, userfaultfdPoison(world.manager, world.uffd, at(page), UNIT, 0n));
  const protect = (world: HugeUffd, pages: number) =>
    world.run(world.manager, userfaultfdWriteprotect(world.manager, world.uffd, at(0), bytesOf(pages), 1n));

  it('write protection does not go to the child of a fork, which nobody watches', () => {
    const world = new HugeUffd(MAP_PRIVATE, WP, 0x14cn);
    const { owner } = world;
    world.put(owner, 0, 6);
    expect(protect(world, 2 * HUGE)).toBe(0);
    expect(world.entry(owner, HUGE)).toBe('marker');
    const child = world.fork(owner);
    expect([world.get(child, 0), world.entry(child, HUGE)]).toEqual([6, '-']);
  });

  it('poison goes to the child of a fork, and along when its mapping is moved', () => {
    const world = new HugeUffd(MAP_PRIVATE, MISSING, 0x10cn);
    const { owner } = world;
    world.copy(0);
    expect(poison(world, HUGE).error).toBe(0);
    const child = world.fork(owner);
    expect(world.get(child, HUGE)).toMatchObject({ signal: SIGBUS });
    const length = 2n * UNIT;
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    expect(world.run(owner, sysMremap(owner, at(0), length, length, flags, at(8 * HUGE)))).toBe(at(8 * HUGE));
    expect([world.get(owner, 8 * HUGE), world.get(owner, 9 * HUGE)]).toMatchObject([6, { signal: SIGBUS }]);
    expect(world.run(owner, sysMadvise(owner, at(9 * HUGE), UNIT, MADV_DONTNEED))).toBe(0);
    expect(world.get(owner, 9 * HUGE)).toBe(0);
  });

  it('without memory for their table write protection fails: ENOMEM', () => {
    const world = new HugeUffd(MAP_SHARED, WP, 0x14cn);
    const { frames } = world.kernel;
    const taken: number[] = [];
    for (let frame = frames.allocate(); frame !== NO_FRAME; frame = frames.allocate()) taken.push(frame);
    expect(protect(world, 2 * HUGE)).toBe(-ENOMEM);
    for (const frame of taken) frames.put(frame);
    expect(protect(world, 2 * HUGE)).toBe(0);
    expect(world.entry(world.owner, 0)).toBe('marker');
  });
});
