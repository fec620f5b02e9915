/**
 * The entries for one page together with its VMA: flags that nobody may pass are refused and warned of, once, and nothing is
 * taken. include/linux/mm.h, `get_user_page_vma_remote`; mm/gup.c, `is_valid_gup_args`.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EINVAL } from '../../../src/kernel/errno.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_LONGTERM,
  FOLL_NOWAIT,
  FOLL_PCI_P2PDMA,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_TOUCH,
  FOLL_UNLOCKABLE,
} from '../../../src/kernel/gup/foll-flags.ts';
import {
  getUserPageVmaRemote,
  type UserPageAndVma,
} from '../../../src/kernel/gup/get-user-page-vma-remote.ts';
import { getUserPageOfVma, pinUserPagesOfVma } from '../../../src/kernel/gup/get-user-pages-of-vma.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE } from '../support/world.ts';
import { FIRST, locked, RW, setUp } from './support.ts';

type Call = (caller: TaskStruct, vma: VmArea, flags: number) => Task<number>;
const out = (): UserPageAndVma => ({ pages: [0], vma: null });

const CALLS: Readonly<Record<string, readonly [Call, number]>> = {
  get_user_page_vma_remote: [
    (caller, vma, flags) => getUserPageVmaRemote(caller, vma.mm, FIRST, flags, out()),
    -EINVAL,
  ],
  'the same for a locked VMA': [
    (caller, vma, flags) => getUserPageOfVma(caller, { vma, ownLock: false, held: true }, FIRST, flags, [0]),
    -EINVAL,
  ],
  'pin_user_pages for a locked VMA': [
    (caller, vma, flags) => pinUserPagesOfVma(caller, vma, FIRST, 1, flags, [0], { held: true }),
    0,
  ],
};
const FLAGS = { FOLL_NOWAIT, FOLL_TOUCH, FOLL_REMOTE, FOLL_PIN, FOLL_FAST_ONLY, FOLL_UNLOCKABLE } as const;

describe.each(Object.entries(CALLS))('%s', (_name, [call, refused]) => {
  const cases: (readonly [string, number])[] = Object.entries(FLAGS);
  if (refused !== 0) cases.push(['FOLL_LONGTERM', FOLL_LONGTERM]);
  cases.push(['FOLL_LONGTERM with FOLL_PCI_P2PDMA', FOLL_LONGTERM | FOLL_PCI_P2PDMA]);

  it.each(cases)('refuses %s, warns once, and takes nothing', (_flag, flags) => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [1]);
    const vma = mm.vmas.lookup(FIRST) as VmArea;
    for (let times = 0; times < 2; times++)
      expect(locked(world, caller, mm, call(caller, vma, flags))).toBe(refused);
    expect(world.kernel.warnings.list).toHaveLength(1);
    expect(world.kernel.frames.refcount(world.frameAt(target, BASE))).toBe(1);
  });
});
