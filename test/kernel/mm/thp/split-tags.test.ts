/** Memory tags of a huge page stay with each of its pages when it is split. @see Linux arch/arm64/kernel/mte.c */
import { describe, expect, it } from 'vitest';
import { PROT_MTE } from '../../../../src/arch/user-abi.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { MADV_HUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { userTagAccess } from '../../../../src/userland/calls/tag-access.ts';
import { architectureName } from '../../../support/architecture.ts';
import { advise, pages } from '../madvise/support.ts';
import { addressOf } from '../process-world.ts';
import { splitHuge } from './split-support.ts';
import { expectSound, FIRST, HUGE, hugeFrame, hugeScene, RW } from './support.ts';

const AT = [0, 15, 16, 300, 511];

describe.runIf(architectureName === 'arm64')('memory tags', () => {
  it('survive a split, page by page; no page of zeros is taken for the zero page', () => {
    const scene = hugeScene({ memoryBytes: 0x400_0000 });
    const { world, task } = scene;
    world.map(task, FIRST, HUGE, RW | PROT_MTE);
    advise(world, task, FIRST, HUGE, MADV_HUGEPAGE);
    for (const page of AT) {
      const at = addressOf(FIRST + page, 16 * (page % 256));
      world.run(
        task,
        userTagAccess(task, at, (tags, hi, lo, how) => tags.stg(hi, lo, how, 1 + (page % 15))),
      );
    }
    const head = hugeFrame(scene, FIRST);
    expect(splitHuge(scene)).toBe(0);
    expect(pages(task)).toEqual([`${FIRST}+512 PX`]);
    for (const page of AT) {
      expect(world.kernel.frames.hasFlag(head + page, FrameFlag.Tagged)).toBe(true);
      const at = addressOf(FIRST + page, 16 * (page % 256));
      world.run(
        task,
        userTagAccess(task, at, (tags, hi, lo, how) => tags.ldg(hi, lo, how)),
      );
      expect(task.kernel.arch.tagInstructions?.[task.cpu]?.tag).toBe(1 + (page % 15));
    }
    expectSound(scene);
  });
});
