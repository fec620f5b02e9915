/** Giving pins back, and more pins on a folio that has one: mm/gup.c, `unpin_user_pages` to `folio_add_pins`. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { ENOMEM } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';
import { folioAddPin, folioAddPins } from '../../../src/kernel/gup/folio-add-pin.ts';
import { FOLL_GET, FOLL_PIN } from '../../../src/kernel/gup/foll-flags.ts';
import {
  NULL_PAGE,
  tryGrabFolio,
  unpinUserPage,
  unpinUserPages,
  unpinUserPagesDirtyLock,
} from '../../../src/kernel/gup/pin.ts';
import {
  unpinFolio,
  unpinFolios,
  unpinUserFolio,
  unpinUserPageRangeDirtyLock,
} from '../../../src/kernel/gup/unpin-folio.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { World } from '../support/world.ts';

/** A small folio and a large one of four pages, each page pinned once; two pins of the small one. */
function pinned() {
  const world = new World();
  const task = world.process('driver');
  const { frames } = world.kernel;
  const small = frames.allocate();
  const large = frames.allocate(2);
  frames.tryPin(small, 2);
  frames.tryPin(large, 4);
  const run = (path: Task<unknown>) => world.run(task, path);
  const left = () => [small, large].map((frame) => frames.refcount(frame) - 1);
  const dirty = () => [small, large].map((frame) => frames.hasFlag(frame, FrameFlag.Dirty));
  return { world, task, frames, small, large, run, left, dirty };
}

const B = GUP_PIN_COUNTING_BIAS;
type Scene = ReturnType<typeof pinned>;
type Give = (task: TaskStruct, scene: Scene) => Task<unknown>;

describe('what each function gives back', () => {
  it.each<[string, Give, number[], boolean[]]>([
    ['unpin_user_page', (t, { small }) => unpinUserPage(t, small), [B, 4], [false, false]],
    ['unpin_user_page of a tail', (t, { large }) => unpinUserPage(t, large + 3), [2 * B, 3], [false, false]],
    [
      'unpin_user_pages, without entries that are NULL',
      (t, { small, large }) => unpinUserPages(t, [NULL_PAGE, small, large, NULL_PAGE, large + 1], 5),
      [B, 2],
      [false, false],
    ],
    [
      'unpin_user_pages_dirty_lock, clean',
      (t, { small, large }) => unpinUserPagesDirtyLock(t, [small, small, large], 3, false),
      [0, 3],
      [false, false],
    ],
    [
      'unpin_user_pages_dirty_lock, dirty',
      (t, { small, large }) => unpinUserPagesDirtyLock(t, [large + 2, large + 1, small], 3, true),
      [B, 2],
      [true, true],
    ],
    [
      'unpin_user_page_range_dirty_lock',
      (t, { large }) => unpinUserPageRangeDirtyLock(t, large, 4, true),
      [2 * B, 0],
      [false, true],
    ],
    ['unpin_user_folio', (t, { large }) => unpinUserFolio(t, large, 4), [2 * B, 0], [false, false]],
    ['unpin_folio', (t, { small }) => unpinFolio(t, small), [B, 4], [false, false]],
    [
      'unpin_folios, of which some are the same',
      (t, { small, large }) => unpinFolios(t, [small, small, NULL_PAGE, large], 4),
      [0, 3],
      [false, false],
    ],
  ])('%s', (_name, give, left, dirty) => {
    const scene = pinned();
    scene.run(give(scene.task, scene));
    expect(scene.left()).toEqual(left);
    expect(scene.dirty()).toEqual(dirty);
    expect(scene.frames.hasFlag(scene.large, FrameFlag.Locked)).toBe(false);
    expect(scene.world.kernel.warnings.list).toEqual([]);
  });
});

describe('giving back', () => {
  it.each([
    ['unpin_user_pages', unpinUserPages],
    ['unpin_folios', unpinFolios],
  ] as const)('%s warns of an error for a count, and gives nothing back', (place, give) => {
    const scene = pinned();
    scene.run(give(scene.task, [scene.small], -ENOMEM));
    expect(scene.left()).toEqual([2 * B, 4]);
    expect(scene.world.kernel.warnings.list.map((warning) => warning.place)).toEqual([place]);
  });

  it('goes over entries of one folio in one step', () => {
    const scene = pinned();
    const { large, task } = scene;
    let steps = 0;
    const path = unpinUserPages(task, [large, large + 1, large + 2, large + 3], 4);
    while (path.next().done !== true) steps++;
    expect([steps, scene.left()]).toEqual([1, [2 * B, 0]]);
  });

  it('warns of an anonymous page that is not exclusive any more', () => {
    const scene = pinned();
    scene.frames.setFlags(scene.small, FrameFlag.Anon);
    scene.run(unpinUserPage(scene.task, scene.small));
    expect(scene.world.kernel.warnings.list.map(({ place }) => place)).toEqual(['sanity_check_pinned_pages']);
  });
});

describe('more pins', () => {
  it('folio_add_pin adds one and is in no statistics; folio_add_pins is', () => {
    const scene = pinned();
    const { task, small, large, frames } = scene;
    const before = frames.pinsAcquired;
    scene.run(folioAddPin(task, small));
    scene.run(folioAddPin(task, large));
    expect([scene.left(), frames.pinsAcquired - before]).toEqual([[3 * B, 5], 0]);
    expect(scene.run(folioAddPins(task, large + 1, 3))).toBe(0);
    expect([scene.left(), frames.pinsAcquired - before]).toEqual([[3 * B, 8], 3]);
    expect(scene.world.kernel.warnings.list).toEqual([]);
  });

  it('warns of a folio that is not pinned, and leaves the zero page alone', () => {
    const scene = pinned();
    const { world, task, frames } = scene;
    const other = frames.allocate();
    scene.run(folioAddPin(task, other));
    expect(world.kernel.warnings.list.map(({ place }) => place)).toEqual(['folio_add_pin']);
    const before = frames.refcount(frames.zeroFrame);
    scene.run(folioAddPin(task, frames.zeroFrame));
    expect(frames.refcount(frames.zeroFrame)).toBe(before);
  });
});

describe('counts', () => {
  it('that have overflown give no reference any more, and come back', () => {
    const scene = pinned();
    const { world, task, small, frames } = scene;
    const most = 2 ** 21 - 2;
    expect(tryGrabFolio(task, small, FOLL_PIN, most)).toBe(0);
    expect(tryGrabFolio(task, small, FOLL_PIN)).toBe(-ENOMEM);
    expect(tryGrabFolio(task, small, FOLL_GET)).toBe(-ENOMEM);
    expect(world.kernel.warnings.list.map(({ place }) => place)).toEqual(['try_grab_folio']);
    expect(frames.maybeDmaPinned(small)).toBe(true);
    scene.run(unpinUserFolio(task, small, most));
    expect([scene.left()[0], tryGrabFolio(task, small, FOLL_GET)]).toEqual([2 * B, 0]);
  });

  it('are a false alarm with 1024 plain references, on a small folio only', () => {
    const scene = pinned();
    const { task, frames } = scene;
    const small = frames.allocate();
    const large = frames.allocate(1);
    for (const folio of [small, large]) expect(tryGrabFolio(task, folio, FOLL_GET, B - 1)).toBe(0);
    expect([frames.maybeDmaPinned(small), frames.maybeDmaPinned(large)]).toEqual([true, false]);
  });
});
