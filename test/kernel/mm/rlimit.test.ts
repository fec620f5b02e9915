/** @see Linux kernel/sys.c, `do_prlimit` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { limitPages, sysSetrlimit } from '../../../src/kernel/mm/rlimit.ts';
import { CAP_SYS_RESOURCE } from '../../../src/kernel/process/credentials.ts';
import { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { vmaWorld } from './support.ts';

describe('setrlimit', () => {
  it.each([
    ['a soft limit above the hard one', 0x2000, 0x1000, [], 'EINVAL'],
    ['a higher hard limit without CAP_SYS_RESOURCE', 0, 2 ** 40, [CAP_SYS_RESOURCE], 'EPERM'],
    ['a higher hard limit with it', 0, 2 ** 40, [], 'ok'],
    ['lower limits, without it', 0x1000, 0x2000, [CAP_SYS_RESOURCE], 'ok'],
  ] as const)('of RLIMIT_MEMLOCK to %s (%i, %i): %s', (_what, soft, hard, without, expected) => {
    const { task } = vmaWorld({}, without);
    const before = task.rlimits;
    const error = sysSetrlimit(task, 'memlock', { soft, hard });
    expect(error === 0 ? 'ok' : errnoName(error)).toBe(expected);
    expect(task.rlimits).toEqual(error === 0 ? { ...before, memlock: { soft, hard } } : before);
  });

  it('counts whole pages, and is inherited by a child as it is then', () => {
    const { task, kernel, mm } = vmaWorld();
    sysSetrlimit(task, 'stack', { soft: 0x1fff, hard: 0x1fff });
    const { credentials } = task;
    const child = new TaskStruct({ kernel, pid: 2, name: 'c', cpu: 0, mm, credentials, parent: task });
    sysSetrlimit(task, 'stack', { soft: 0, hard: 0x1fff });
    expect([limitPages(child.rlimits.stack), limitPages(task.rlimits.stack)]).toEqual([1, 0]);
  });
});
