/** @see Linux mm/madvise.c, `process_madvise`, `vector_madvise` */
import { describe, expect, it } from 'vitest';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_PAGEOUT,
  MADV_WILLNEED,
} from '../../../src/kernel/mm/madvise/advice.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { CAP_SYS_NICE, credentials, rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { sysProcessMadvise } from '../../../src/kernel/remote/process-madvise.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { answer, bytes, traced } from '../mm/madvise/support.ts';
import { addressOf, mmOf, ProcessWorld } from '../mm/process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function scene() {
  const world = new ProcessWorld({ kernel: { swapPages: 16, perVmaLocks: true } });
  const target = world.process('target');
  world.map(target, 0, 2, RW);
  world.map(target, 4, 2, RW);
  for (const page of [0, 1, 4, 5]) world.store(target, page, 7);
  return { world, target, caller: world.process('caller') };
}

type Ranges = readonly (readonly [number, number])[];

const call = (caller: TaskStruct, target: TaskStruct, ranges: Ranges, advice: number, flags = 0) =>
  sysProcessMadvise(
    caller,
    target.pid,
    ranges.map(([page, count]) => ({ base: addressOf(page), length: bytes(count) })),
    ranges.length,
    advice,
    flags,
  );

describe('process_madvise of another process', () => {
  it.each([
    [
      'all ranges',
      [
        [0, 2],
        [4, 2],
      ],
      MADV_COLD,
      String(4 * 4096),
    ],
    [
      'up to a range with a hole, though that one is advised too',
      [
        [4, 1],
        [0, 4],
        [5, 1],
      ],
      MADV_COLD,
      '4096',
    ],
    [
      'a hole at once',
      [
        [1, 2],
        [4, 1],
      ],
      MADV_COLD,
      'ENOMEM',
    ],
    ['no ranges', [], MADV_COLD, 'ok'],
    ['no ranges, whatever the advice', [], MADV_WILLNEED, 'ok'],
    ['what throws data away', [[0, 1]], MADV_DONTNEED, 'EINVAL'],
  ] as const)('%s', (_what, ranges, advice, expected) => {
    const { world, target, caller } = scene();
    expect(answer(world.run(caller, call(caller, target, ranges, advice)))).toBe(expected);
    expect(mmOf(target).mmapLock.isLocked()).toBe(false);
    expect(mmOf(target).mmUsers).toBe(1);
  });
});

describe('process_madvise of another process, beside ranges', () => {
  it('reclaims its pages with MADV_PAGEOUT', () => {
    const { world, target, caller } = scene();
    expect(
      world.run(
        caller,
        call(
          caller,
          target,
          [
            [0, 1],
            [4, 1],
          ],
          MADV_PAGEOUT,
        ),
      ),
    ).toBe(8192);
    expect([0, 1, 4, 5].map((page) => world.page(target, page))).toEqual(['Sx', 'Xwd', 'Sx', 'Xwd']);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('needs CAP_SYS_NICE, and the right to look at it', () => {
    const { world, target, caller } = scene();
    caller.credentials = rootCredentials([CAP_SYS_NICE]);
    expect(answer(world.run(caller, call(caller, target, [[0, 1]], MADV_COLD)))).toBe('EPERM');
    caller.credentials = credentials(1000, 1000);
    expect(answer(world.run(caller, call(caller, target, [[0, 1]], MADV_COLD)))).toBe('EACCES');
  });

  it('checks flags before the process', () => {
    const { world, target, caller } = scene();
    expect(answer(world.run(caller, call(caller, target, [[0, 1]], MADV_COLD, 1)))).toBe('EINVAL');
    const unknown = sysProcessMadvise(caller, 999, [], 0, MADV_COLD, 0);
    expect(answer(world.run(caller, unknown))).toBe('ESRCH');
  });
});

describe('process_madvise of the caller itself', () => {
  it("takes any advice, and each range its VMA's lock", () => {
    const { world, target } = scene();
    const log: string[] = [];
    const body = call(
      target,
      target,
      [
        [0, 1],
        [4, 2],
      ],
      MADV_DONTNEED,
    );
    const result = world.run(
      target,
      traced(body, log, (object) => object === mmOf(target).mmapLock),
    );
    expect(result).toBe(3 * 4096);
    expect(log).toEqual([]);
    expect([0, 1, 4, 5].map((page) => world.page(target, page))).toEqual(['-', 'Xwd', '-', '-']);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('keeps mmap_lock for all later ranges once one needed it', () => {
    const { world, target } = scene();
    const log: string[] = [];
    const body = call(
      target,
      target,
      [
        [4, 1],
        [1, 4],
        [5, 1],
      ],
      MADV_DONTNEED,
    );
    const result = world.run(
      target,
      traced(body, log, (object) => object === mmOf(target).mmapLock),
    );
    expect(result).toBe(4096);
    expect(log).toEqual(['down_read', 'up_read']);
    expect([0, 1, 4, 5].map((page) => world.page(target, page))).toEqual(['Xwd', '-', '-', 'Xwd']);
  });
});
