/** FOLL_TOUCH is `folio_mark_accessed` (mm/swap.c): marked first, then active and unmarked, then active and marked. */
import { expect, it } from 'vitest';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { LruList } from '../../../src/kernel/frame/lru-lists.ts';
import { getUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import { putUserPage } from '../../../src/kernel/gup/pin.ts';
import { BASE } from '../support/world.ts';
import { FIRST, locked, RW, setUp } from './support.ts';

it('the second touch of an inactive page brings it to the active list', () => {
  const { world, target, caller, mm } = setUp();
  world.map(target, 0, 1, RW);
  world.store(target, BASE, [1]);
  const { frames } = world.kernel;
  const frame = world.frameAt(target, BASE);
  frames.clearFlags(frame, FrameFlag.Referenced);
  expect(frames.lru.listOf(frame)).toBe(LruList.InactiveAnon);
  const touched = [1, 2, 3, 4].map(() => {
    const pages = [-1];
    expect(locked(world, caller, mm, getUserPagesRemote(caller, mm, FIRST, 1, 0, pages, null))).toBe(1);
    world.run(caller, putUserPage(caller, frame));
    return [frames.lru.listOf(frame), frames.hasFlag(frame, FrameFlag.Referenced)];
  });
  expect(touched).toEqual([
    [LruList.InactiveAnon, true],
    [LruList.ActiveAnon, false],
    [LruList.ActiveAnon, true],
    [LruList.ActiveAnon, true],
  ]);
});
