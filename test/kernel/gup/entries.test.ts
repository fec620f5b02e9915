/**
 * Every entry of GUP: what it answers to arguments that nobody may pass, which flags it adds, what it does to mmap_lock, and
 * what it takes of the pages. mm/gup.c, from `is_valid_gup_args` to `pin_user_pages_unlocked`.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EINTR, EINVAL } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_FORCE,
  FOLL_GET,
  FOLL_LONGTERM,
  FOLL_MADV_POPULATE,
  FOLL_PCI_P2PDMA,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_TOUCH,
  FOLL_TRIED,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
  type PageArray,
} from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPages, pinUserPages } from '../../../src/kernel/gup/get-user-pages.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import {
  getUserPagesUnlocked,
  pinUserPagesUnlocked,
} from '../../../src/kernel/gup/get-user-pages-unlocked.ts';
import { putUserPage, unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { MMF_HAS_PINNED } from '../../../src/kernel/mm/mm.ts';
import { PROT_NONE, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, PAGE } from '../support/world.ts';
import { counts, expectQuiet, FIRST, locked, mmOf, RW, setUp, slots } from './support.ts';

type Call = (
  task: TaskStruct,
  page: number,
  count: number,
  flags: number,
  pages: PageArray | null,
) => Task<number>;

interface Entry {
  readonly call: Call;
  /** The caller has mmap_lock. */
  readonly holds: boolean;
  readonly pin: boolean;
  readonly touches: boolean;
}

/** All on the caller's own memory, so that they can be compared; the remote ones by its mm. */
const entries: Readonly<Record<string, Entry>> = {
  get_user_pages: { call: getUserPages, holds: true, pin: false, touches: true },
  get_user_pages_unlocked: {
    call: (task, page, count, flags, pages) => getUserPagesUnlocked(task, page, count, pages, flags),
    holds: false,
    pin: false,
    touches: true,
  },
  'get_user_pages_remote, locked NULL': {
    call: (task, page, count, flags, pages) =>
      getUserPagesRemote(task, mmOf(task), page, count, flags, pages, null),
    holds: true,
    pin: false,
    touches: true,
  },
  'get_user_pages_remote, locked': {
    call: (task, page, count, flags, pages) =>
      getUserPagesRemote(task, mmOf(task), page, count, flags, pages, { held: true }),
    holds: true,
    pin: false,
    touches: true,
  },
  pin_user_pages: { call: pinUserPages, holds: true, pin: true, touches: false },
  pin_user_pages_unlocked: {
    call: (task, page, count, flags, pages) => pinUserPagesUnlocked(task, page, count, pages, flags),
    holds: false,
    pin: true,
    touches: true,
  },
  'pin_user_pages_remote, locked NULL': {
    call: (task, page, count, flags, pages) =>
      pinUserPagesRemote(task, mmOf(task), page, count, flags, pages, null),
    holds: true,
    pin: true,
    touches: true,
  },
  'pin_user_pages_remote, locked': {
    call: (task, page, count, flags, pages) =>
      pinUserPagesRemote(task, mmOf(task), page, count, flags, pages, { held: true }),
    holds: true,
    pin: true,
    touches: true,
  },
};

/** One call of an entry on a task's own memory, under its lock where the entry wants that. */
function make(
  { world }: ReturnType<typeof setUp>,
  task: TaskStruct,
  entry: Entry,
  flags: number,
  pages: PageArray | null,
  count = pages?.length ?? 1,
  page = FIRST,
): number {
  const path = entry.call(task, page, count, flags, pages);
  return entry.holds ? locked(world, task, mmOf(task), path) : world.run(task, path);
}

const each = Object.entries(entries);

const badFlags: readonly (readonly [string, number])[] = [
  ['FOLL_TOUCH', FOLL_TOUCH],
  ['FOLL_TRIED', FOLL_TRIED],
  ['FOLL_REMOTE', FOLL_REMOTE],
  ['FOLL_PIN', FOLL_PIN],
  ['FOLL_FAST_ONLY', FOLL_FAST_ONLY],
  ['FOLL_UNLOCKABLE', FOLL_UNLOCKABLE],
  ['FOLL_MADV_POPULATE', FOLL_MADV_POPULATE],
];

describe.each(each)('%s and its arguments', (_name, entry) => {
  const refused = entry.pin ? 0 : -EINVAL;

  it.each(badFlags)('refuses %s from outside, warns once, and touches nothing', (_flag, flags) => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 1, RW);
    expect(make(scene, target, entry, flags, slots(1))).toBe(refused);
    expect(make(scene, target, entry, flags, slots(1))).toBe(refused);
    expect(world.kernel.warnings.list.map(({ place }) => place)).toEqual(['is_valid_gup_args']);
    expect([world.state(target, BASE), target.minFlt, mmOf(target).flagBits & MMF_HAS_PINNED]).toEqual([
      '-',
      0,
      0,
    ]);
  });

  it('refuses FOLL_LONGTERM where it takes no pins, and FOLL_GET where it does', () => {
    const scene = setUp();
    scene.world.map(scene.target, 0, 1, RW);
    const flags = entry.pin ? FOLL_GET : FOLL_LONGTERM;
    expect(make(scene, scene.target, entry, flags, slots(1))).toBe(refused);
    expect(scene.world.kernel.warnings.list).toHaveLength(1);
  });

  it('refuses FOLL_LONGTERM with FOLL_PCI_P2PDMA; that alone changes nothing of ordinary memory', () => {
    const scene = setUp();
    scene.world.map(scene.target, 0, 1, RW);
    expect(make(scene, scene.target, entry, FOLL_LONGTERM | FOLL_PCI_P2PDMA, slots(1))).toBe(refused);
    expect(make(scene, scene.target, entry, FOLL_PCI_P2PDMA, slots(1))).toBe(1);
  });

  it('without pages: only faults in, or, for a pin, is refused', () => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 2, RW);
    expect(make(scene, target, entry, FOLL_WRITE, null, 2)).toBe(entry.pin ? 0 : 2);
    expect(world.state(target, BASE)).toBe(entry.pin ? '-' : 'Xw');
    expect(make(scene, target, entry, FOLL_GET, null, 2)).toBe(refused);
  });
});

describe.each(each)('%s and its pages', (_name, entry) => {
  it('takes a reference, or 1024 for a pin, of each page, and gives them back', () => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 3, RW);
    for (const page of [0n, 1n, 2n]) world.store(target, BASE + page * PAGE, [1]);
    const pages = slots(3);
    expect(make(scene, target, entry, 0, pages)).toBe(3);
    expect(pages).toEqual([0n, 1n, 2n].map((page) => world.frameAt(target, BASE + page * PAGE)));
    const weight = entry.pin ? GUP_PIN_COUNTING_BIAS : 1;
    expect(counts(world, pages)).toEqual([1 + weight, 1 + weight, 1 + weight]);
    const { frames } = world.kernel;
    expect(frames.pinsAcquired - frames.pinsReleased).toBe(entry.pin ? 3 : 0);
    if (entry.pin) world.run(target, unpinUserPages(target, pages, 3));
    else for (const frame of pages) world.run(target, putUserPage(target, frame));
    expect(counts(world, pages)).toEqual([1, 1, 1]);
    expect(frames.pinsAcquired).toBe(frames.pinsReleased);
    expectQuiet(world, mmOf(target));
  });

  it('marks pages accessed, unless it is pin_user_pages', () => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [1]);
    const { frames } = world.kernel;
    const frame = world.frameAt(target, BASE);
    frames.clearFlags(frame, FrameFlag.Referenced);
    expect(make(scene, target, entry, 0, slots(1))).toBe(1);
    expect(frames.hasFlag(frame, FrameFlag.Referenced)).toBe(entry.touches);
  });

  it('sets MMF_HAS_PINNED for a pin, for ever', () => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 1, RW);
    const pages = slots(1);
    make(scene, target, entry, FOLL_WRITE, pages);
    if (entry.pin) world.run(target, unpinUserPages(target, pages, 1));
    expect(mmOf(target).flagBits & MMF_HAS_PINNED).toBe(entry.pin ? MMF_HAS_PINNED : 0);
  });
});

describe.each(each)('%s, where it ends', (_name, entry) => {
  it('gives the pages before a hole, hides why it ended, and fails where the first one is one', () => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 2, RW);
    world.map(target, 3, 1, PROT_NONE);
    const pages = slots(4);
    expect(make(scene, target, entry, FOLL_WRITE, pages)).toBe(2);
    expect(pages.slice(2)).toEqual([-1, -1]);
    expect(make(scene, target, entry, FOLL_WRITE, slots(1), 1, FIRST + 2)).toBe(-EFAULT);
    expect(make(scene, target, entry, 0, slots(1), 1, FIRST + 3)).toBe(-EFAULT);
    expect(make(scene, target, entry, FOLL_FORCE, slots(1), 1, FIRST + 3)).toBe(1);
    expectQuiet(world, mmOf(target));
  });

  it('gives 0 for no pages, whatever the address', () => {
    const scene = setUp();
    expect(make(scene, scene.target, entry, 0, [], 0, 12345)).toBe(0);
    expectQuiet(scene.world, mmOf(scene.target));
  });

  it('takes the zero page without a fault of its own, and pins nothing there', () => {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 1, PROT_READ);
    world.load(target, BASE, 1);
    const { frames } = world.kernel;
    const before = frames.refcount(frames.zeroFrame);
    const pages = slots(1);
    expect(make(scene, target, entry, 0, pages)).toBe(1);
    expect(pages).toEqual([frames.zeroFrame]);
    expect(frames.refcount(frames.zeroFrame) - before).toBe(entry.pin ? 0 : 1);
    expect(frames.pinsAcquired).toBe(0);
  });
});

describe('locked', () => {
  it.each([
    ['get_user_pages_remote', getUserPagesRemote, -EINVAL],
    ['pin_user_pages_remote', pinUserPagesRemote, 0],
  ] as const)('%s refuses a lock that is not held, and does not take it', (_name, call, result) => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    const path = call(caller, mm, FIRST, 1, 0, slots(1), { held: false });
    expect(world.run(caller, path)).toBe(result);
    expect(world.kernel.warnings.list.map(({ text }) => text)).toEqual([
      'locked says that mmap_lock is not held',
    ]);
  });

  it.each([
    ['get_user_pages_unlocked', getUserPagesUnlocked],
    ['pin_user_pages_unlocked', pinUserPagesUnlocked],
  ] as const)('%s of a task that was killed gives no page', (_name, call) => {
    const { world, target, mm } = setUp();
    world.map(target, 0, 1, RW);
    target.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    // The lock is free, so nobody is stopped there: the loop says why.
    expect(world.run(target, call(target, FIRST, 1, slots(1), 0))).toBe(-EINTR);
    expectQuiet(world, mm);
  });
});
