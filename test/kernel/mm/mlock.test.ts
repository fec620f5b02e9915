/** mlock and its relatives. @see Linux mm/mlock.c */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EINTR } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { sysBrk } from '../../../src/kernel/mm/brk.ts';
import { MADV_DONTFORK, MADV_GUARD_INSTALL } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { MLOCK_ONFAULT, sysMlock, sysMlock2, sysMunlock } from '../../../src/kernel/mm/mlock.ts';
import {
  MCL_CURRENT,
  MCL_FUTURE,
  MCL_ONFAULT,
  sysMlockall,
  sysMunlockall,
} from '../../../src/kernel/mm/mlockall.ts';
import {
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_FIXED,
  MAP_GROWSDOWN,
  MAP_LOCKED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { CAP_IPC_LOCK, rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { advise, answer, bytes, pages, vmas } from './madvise/support.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function scene(): { readonly world: ProcessWorld; readonly task: TaskStruct } {
  const world = new ProcessWorld();
  return { world, task: world.process() };
}

/** Without CAP_IPC_LOCK, and with so many pages that may be locked. */
function limited(softPages: number): ReturnType<typeof scene> {
  const all = scene();
  all.task.credentials = rootCredentials([CAP_IPC_LOCK]);
  const memlock = { soft: softPages * 4096, hard: 1 << 30 };
  all.task.rlimits = { ...all.task.rlimits, memlock };
  return all;
}

const lock = (world: ProcessWorld, task: TaskStruct, page: number, count: number): string =>
  answer(world.run(task, sysMlock(task, addressOf(page), bytes(count))));
const unlock = (world: ProcessWorld, task: TaskStruct, page: number, count: number): string =>
  answer(world.run(task, sysMunlock(task, addressOf(page), bytes(count))));
const lockAll = (world: ProcessWorld, task: TaskStruct, flags: number): string =>
  answer(world.run(task, sysMlockall(task, flags)));

describe('mlock', () => {
  it.each([
    ['private writable memory', RW, MAP_PRIVATE, 'ok', '0+2 PX'],
    ['private read-only memory', PROT_READ, MAP_PRIVATE, 'ok', '0+2 PZ'],
    ['memory that is only executed', PROT_EXEC, MAP_PRIVATE, 'ok', '0+2 PZ'],
    ['shared memory', RW, MAP_SHARED, 'ok', '0+2 PFX'],
    ['memory without access', PROT_NONE, MAP_PRIVATE, 'ENOMEM', undefined],
  ])('of %s: %s %s %s, and it counts as locked', (_what, prot, flags, expected, shown) => {
    const { world, task } = scene();
    world.map(task, 0, 4, prot, flags);
    expect(lock(world, task, 0, 2)).toBe(expected);
    expect(pages(task)[0]).toBe(shown);
    expect(vmas(task)[0]).toMatch(/^0-2 .* lo$/);
    expect(mmOf(task).lockedVm).toBe(2);
    expect(unlock(world, task, 0, 4)).toBe('ok');
    expect(vmas(task)).toHaveLength(1);
    expect(mmOf(task).lockedVm).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('rounds outwards, and locking twice counts once', () => {
    const { world, task } = scene();
    world.map(task, 0, 4, RW);
    expect(world.run(task, sysMlock(task, addressOf(0, 4095), 2n))).toBe(0);
    expect(lock(world, task, 0, 2)).toBe('ok');
    expect([vmas(task), mmOf(task).lockedVm]).toEqual([['0-2 rw-p lo', '2-4 rw-p'], 2]);
  });

  it.each([
    ['mlock', lock, ['0-1 rw-p lo', '2-3 rw-p', '3-4 rw-p dc']],
    ['munlock', unlock, ['0-1 rw-p', '2-3 rw-p lo', '3-4 rw-p dc lo']],
  ] as const)('%s ends at a hole, after what lies before it', (_name, call, expected) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.map(task, 2, 2, RW);
    advise(world, task, 3, 1, MADV_DONTFORK);
    if (call === unlock) for (const page of [0, 2, 3]) lock(world, task, page, 1);
    expect(call(world, task, 0, 4)).toBe('ENOMEM');
    expect(vmas(task).map((vma) => vma.replace('lo dc', 'dc lo'))).toEqual(expected);
    // mlock gave up before it populated anything.
    if (call === lock) expect(pages(task)).toEqual([]);
  });

  it.each([
    ['mlock', (task: TaskStruct, length: bigint) => sysMlock(task, addressOf(0), length)],
    ['munlock', (task: TaskStruct, length: bigint) => sysMunlock(task, addressOf(0), length)],
  ] as const)(
    '%s of a length that rounds up to 0 does nothing; of a range that wraps: EINVAL',
    (_name, call) => {
      const { world, task } = scene();
      world.map(task, 0, 1, RW);
      expect(world.run(task, call(task, 2n ** 64n - 1n))).toBe(0);
      expect(answer(world.run(task, call(task, 2n ** 64n - 0x1000n)))).toBe('EINVAL');
      expect(vmas(task)).toEqual(['0-1 rw-p']);
    },
  );
});

describe('mlock and other memory', () => {
  it('of a range with a guard fails, the range being locked', () => {
    const { world, task } = scene();
    world.map(task, 0, 3, RW);
    advise(world, task, 1, 1, MADV_GUARD_INSTALL);
    expect(lock(world, task, 0, 3)).toBe('ENOMEM');
    expect(pages(task)).toEqual(['0+1 PX', '1+1 SG']);
    expect(vmas(task)[0]).toContain('lo');
  });

  it('does not grow a stack', () => {
    const { world, task } = scene();
    world.map(task, 4, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    expect(lock(world, task, 3, 2)).toBe('ENOMEM');
    expect(vmas(task)).toEqual(['4-5 rw-p gd']);
  });

  it('takes pages that are there off the lists of reclaim, and munlock gives them back', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 1);
    const { frame } = world.pte(task, 0);
    const { frames } = world.kernel;
    expect(frames.hasFlag(frame, FrameFlag.Unevictable)).toBe(false);
    lock(world, task, 0, 1);
    expect(frames.hasFlag(frame, FrameFlag.Unevictable)).toBe(true);
    unlock(world, task, 0, 1);
    expect(frames.hasFlag(frame, FrameFlag.Unevictable)).toBe(false);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('of droppable memory says success and locks nothing', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW, MAP_DROPPABLE);
    expect(lock(world, task, 0, 2)).toBe('ok');
    expect(vmas(task).join()).not.toMatch(/ lo/);
    expect([mmOf(task).lockedVm, pages(task).length]).toEqual([0, 1]);
  });

  it('leaves the zero page alone', () => {
    const { world, task } = scene();
    const { frames } = world.kernel;
    world.map(task, 0, 1, PROT_READ);
    world.load(task, 0);
    const before = frames.flags(frames.zeroFrame);
    lock(world, task, 0, 1);
    expect([pages(task), frames.flags(frames.zeroFrame)]).toEqual([['0+1 PZ'], before]);
  });

  it('of a part that then merges keeps what the other part knows of its guards', () => {
    const world = new ProcessWorld({ kernel: { maybeGuardFlag: true } });
    const task = world.process();
    world.map(task, 0, 2, RW);
    advise(world, task, 0, 1, MADV_GUARD_INSTALL);
    lock(world, task, 0, 2);
    world.map(task, 2, 2, RW);
    expect(vmas(task)).toEqual(['0-2 rw-p gu lo', '2-4 rw-p']);
    expect(lock(world, task, 2, 2)).toBe('ok');
    expect(vmas(task)).toEqual(['0-4 rw-p gu lo']);
  });
});

describe('locked memory', () => {
  it('is not inherited by fork', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    lock(world, task, 0, 1);
    lockAll(world, task, MCL_FUTURE);
    const child = world.fork(task);
    expect(vmas(child)).toEqual(['0-1 rw-p']);
    expect([mmOf(child).lockedVm, mmOf(child).defFlags]).toEqual([0, 0]);
  });
});

describe('mlock2', () => {
  it('with MLOCK_ONFAULT brings nothing in; plain mlock afterwards does', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW);
    expect(world.run(task, sysMlock2(task, addressOf(0), bytes(2), MLOCK_ONFAULT))).toBe(0);
    expect([vmas(task), pages(task)]).toEqual([['0-2 rw-p lo lf'], []]);
    expect(lock(world, task, 0, 2)).toBe('ok');
    expect([vmas(task), pages(task)]).toEqual([['0-2 rw-p lo'], ['0+2 PX']]);
    expect(mmOf(task).lockedVm).toBe(2);
  });

  it('refuses other flags before anything else', () => {
    const { world, task } = limited(0);
    expect(answer(world.run(task, sysMlock2(task, addressOf(0), bytes(1), 2)))).toBe('EINVAL');
  });
});

describe('RLIMIT_MEMLOCK without CAP_IPC_LOCK', () => {
  it('of 0 forbids mlock and mlockall, not munlock', () => {
    const { world, task } = limited(0);
    world.map(task, 0, 1, RW);
    expect(lock(world, task, 0, 1)).toBe('EPERM');
    expect(lockAll(world, task, MCL_FUTURE)).toBe('EPERM');
    expect(unlock(world, task, 0, 1)).toBe('ok');
  });

  it('counts pages that are locked already once', () => {
    const { world, task } = limited(3);
    world.map(task, 0, 8, RW);
    expect(lock(world, task, 0, 4)).toBe('ENOMEM');
    expect(vmas(task)).toEqual(['0-8 rw-p']);
    expect(lock(world, task, 0, 2)).toBe('ok');
    expect(lock(world, task, 1, 2)).toBe('ok');
    expect(lock(world, task, 2, 2)).toBe('ENOMEM');
    expect(mmOf(task).lockedVm).toBe(3);
  });

  it('bounds MAP_LOCKED with EAGAIN', () => {
    const { world, task } = limited(1);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_LOCKED;
    const map = (count: number) =>
      world.run(task, sysMmap(task, addressOf(0), bytes(count), RW, flags, null, 0n));
    expect(map(2)).toBe(-11n);
    expect(map(1)).toBe(addressOf(0));
  });

  it('MCL_CURRENT needs room for all that is mapped, MCL_FUTURE does not', () => {
    const { world, task } = limited(3);
    world.map(task, 0, 4, RW);
    expect(lockAll(world, task, MCL_CURRENT)).toBe('ENOMEM');
    expect(lockAll(world, task, MCL_FUTURE)).toBe('ok');
  });
});

describe('mlockall', () => {
  it.each([0, MCL_ONFAULT, 8, MCL_CURRENT | 8])('refuses flags %i', (flags) => {
    const { world, task } = scene();
    expect(lockAll(world, task, flags)).toBe('EINVAL');
  });

  it('of what is mapped now populates it; munlockall unlocks it', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW);
    world.map(task, 4, 1, PROT_NONE);
    world.map(task, 6, 1, RW, MAP_SHARED);
    expect(lockAll(world, task, MCL_CURRENT)).toBe('ok');
    expect(vmas(task)).toEqual(['0-2 rw-p lo', '4-5 ---p lo', '6-7 rw-s lo']);
    expect(pages(task)).toEqual(['0+2 PX', '6+1 PFX']);
    world.map(task, 8, 1, RW);
    expect(vmas(task)).toContain('8-9 rw-p');
    expect(world.run(task, sysMunlockall(task))).toBe(0);
    expect(vmas(task).join()).not.toContain('lo');
    expect(mmOf(task).lockedVm).toBe(0);
  });

  it.each([
    [MCL_FUTURE, '0-1 rw-p lo', '0+1 PX'],
    [MCL_FUTURE | MCL_ONFAULT, '0-1 rw-p lo lf', undefined],
  ])('%i of what is mapped later', (flags, vma, page) => {
    const { world, task } = scene();
    world.map(task, 4, 1, RW);
    expect(lockAll(world, task, flags)).toBe('ok');
    world.map(task, 0, 1, RW);
    expect(vmas(task)).toEqual([vma, '4-5 rw-p']);
    expect(pages(task)[0]).toBe(page);
    world.run(task, sysMunlockall(task));
    world.map(task, 8, 1, RW);
    expect(vmas(task)).toEqual(['0-1 rw-p', '4-5 rw-p', '8-9 rw-p']);
  });

  it('a call without MCL_FUTURE ends what an earlier one asked for', () => {
    const { world, task } = scene();
    lockAll(world, task, MCL_FUTURE);
    lockAll(world, task, MCL_CURRENT);
    expect(mmOf(task).defFlags).toBe(0);
  });
});

it('MCL_FUTURE locks and fills what brk adds, and counts it; lowering the break takes it off the count', () => {
  const { world, task } = scene();
  const mm = mmOf(task);
  mm.startBrk = addressOf(0);
  mm.brk = addressOf(0);
  lockAll(world, task, MCL_FUTURE);
  expect(world.run(task, sysBrk(task, addressOf(3)))).toBe(addressOf(3));
  expect([vmas(task), pages(task), mm.lockedVm]).toEqual([['0-3 rw-p lo'], ['0+3 PX'], 3]);
  expect(world.run(task, sysBrk(task, addressOf(4)))).toBe(addressOf(4));
  expect(mm.lockedVm).toBe(4);
  expect(world.run(task, sysBrk(task, addressOf(1)))).toBe(addressOf(1));
  expect([vmas(task), mm.lockedVm]).toEqual([['0-1 rw-p lo'], 1]);
});

it('brk beyond RLIMIT_MEMLOCK under MCL_FUTURE stays where it is', () => {
  const { world, task } = limited(2);
  const mm = mmOf(task);
  mm.startBrk = addressOf(0);
  mm.brk = addressOf(0);
  expect(lockAll(world, task, MCL_FUTURE)).toBe('ok');
  expect(world.run(task, sysBrk(task, addressOf(3)))).toBe(addressOf(0));
  expect(world.run(task, sysBrk(task, addressOf(2)))).toBe(addressOf(2));
  expect(mm.lockedVm).toBe(2);
});

it('unmapping locked memory takes it off the count', () => {
  const { world, task } = scene();
  world.map(task, 0, 4, RW);
  lock(world, task, 0, 4);
  world.run(task, sysMunmap(task, addressOf(1), bytes(2)));
  expect(mmOf(task).lockedVm).toBe(2);
});

describe('a task that is killed while it waits for mmap_lock gets -EINTR from', () => {
  it.each([
    ['mlock', (task: TaskStruct) => sysMlock(task, addressOf(0), bytes(1))],
    ['munlock', (task: TaskStruct) => sysMunlock(task, addressOf(0), bytes(1))],
    ['mlockall', (task: TaskStruct) => sysMlockall(task, MCL_CURRENT)],
    ['munlockall', (task: TaskStruct) => sysMunlockall(task)],
    ['madvise', (task: TaskStruct) => sysMadvise(task, addressOf(0), bytes(1), MADV_DONTFORK)],
  ] as const)('%s, and nothing has changed', (_name, call) => {
    const world = new ProcessWorld({ cpus: 2 });
    const holder = world.process('holder');
    world.map(holder, 0, 1, RW);
    const killed = world.thread(holder, 'killed', 1);
    const { loop } = world.system;
    loop.start(holder, mmapReadLock(holder, mmOf(holder)));
    loop.run();
    let result = 0;
    const body = function* (): Task<void> {
      result = yield* call(killed);
    };
    loop.start(killed, body());
    loop.run({ maxSteps: 20 });
    expect(result).toBe(0);
    killed.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    loop.start(holder, mmapReadUnlock(holder, mmOf(holder)));
    loop.run();
    expect(result).toBe(-EINTR);
    expect(vmas(holder)).toEqual(['0-1 rw-p']);
  });
});
