/** Who may look into whom: `ptrace_may_access` and `mm_access` (kernel/ptrace.c, kernel/fork.c). */
import { describe, expect, it } from 'vitest';
import { EACCES, EINVAL, EPERM, ESRCH } from '../../../src/kernel/errno.ts';
import { SUID_DUMP_DISABLE, SUID_DUMP_USER } from '../../../src/kernel/mm/mm.ts';
import {
  CAP_SETUID,
  CAP_SYS_PTRACE,
  type Credentials,
  credentials,
  rootCredentials,
} from '../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import {
  mmAccess,
  PTRACE_MODE_ATTACH_REALCREDS,
  PTRACE_MODE_FSCREDS,
  PTRACE_MODE_READ,
  PTRACE_MODE_REALCREDS,
  ptraceMayAccess,
} from '../../../src/kernel/process/ptrace-access.ts';
import {
  sysPrctlGetDumpable,
  sysPrctlSetDumpable,
  sysSetuid,
} from '../../../src/kernel/process/set-credentials.ts';
import { type MmMap, sysPrctlSetMmMap } from '../../../src/kernel/process/set-mm-map.ts';
import { World } from '../support/world.ts';

const root = rootCredentials();
const alice = credentials(1000, 1000);
const bob = credentials(1001, 1001);
const tracer = credentials(1001, 1001, new Set([CAP_SYS_PTRACE]));
const capable = credentials(1000, 1000, new Set([CAP_SETUID]));
const READ = PTRACE_MODE_READ | PTRACE_MODE_FSCREDS;
const ATTACH = PTRACE_MODE_ATTACH_REALCREDS;

describe('ptrace_may_access', () => {
  it.each<[string, Credentials, Credentials, number, number, number]>([
    ['root looks into anybody', root, alice, SUID_DUMP_USER, ATTACH, 0],
    ['root looks into what is not dumpable', root, alice, SUID_DUMP_DISABLE, ATTACH, 0],
    ['a user looks into its own', alice, alice, SUID_DUMP_USER, ATTACH, 0],
    ['but not when it is not dumpable', alice, alice, SUID_DUMP_DISABLE, ATTACH, -EPERM],
    ['nor into another user', alice, bob, SUID_DUMP_USER, ATTACH, -EPERM],
    ['nor into root', alice, root, SUID_DUMP_USER, READ, -EPERM],
    ['CAP_SYS_PTRACE is enough', tracer, alice, SUID_DUMP_DISABLE, ATTACH, 0],
    ['a target with more capabilities is out of reach', alice, capable, SUID_DUMP_USER, ATTACH, -EPERM],
    ['one with fewer is not', capable, alice, SUID_DUMP_USER, ATTACH, 0],
    ['all three ids of the target count', alice, { ...alice, suid: 0 }, SUID_DUMP_USER, ATTACH, -EPERM],
    ['groups count as well', alice, { ...alice, egid: 5 }, SUID_DUMP_USER, ATTACH, -EPERM],
    [
      'REALCREDS looks at the real id of the caller',
      { ...alice, fsuid: 1001 },
      alice,
      SUID_DUMP_USER,
      ATTACH,
      0,
    ],
    ['FSCREDS at that of files', { ...alice, fsuid: 1001 }, alice, SUID_DUMP_USER, READ, -EPERM],
    ['a mode without credentials is refused', root, alice, SUID_DUMP_USER, PTRACE_MODE_READ, -EPERM],
    ['a mode with both too', root, alice, SUID_DUMP_USER, READ | PTRACE_MODE_REALCREDS, -EPERM],
  ])('%s', (_name, caller, target, dumpable, mode, result) => {
    const world = new World();
    const current = world.process('caller', 0, caller);
    const task = world.process('target', 0, target);
    if (task.mm !== null) task.mm.dumpable = dumpable;
    expect(ptraceMayAccess(current, task, mode)).toBe(result);
  });

  it('lets every process look at itself', () => {
    const world = new World();
    const task = world.process('alone', 0, alice);
    if (task.mm !== null) task.mm.dumpable = SUID_DUMP_DISABLE;
    expect(ptraceMayAccess(task, task, ATTACH)).toBe(0);
  });
});

describe('mm_access', () => {
  it('takes a user of the mm, or gives -EACCES without one, or -ESRCH when there is no mm', () => {
    const world = new World();
    const parent = world.process('parent');
    const current = world.process('caller', 0, alice);
    const target = world.fork(parent, 'target');
    const { mm } = target;
    expect(world.run(current, mmAccess(current, target, ATTACH))).toBe(-EACCES);
    expect(mm?.mmUsers).toBe(1);
    expect(world.run(parent, mmAccess(parent, target, ATTACH))).toBe(mm);
    expect(mm?.mmUsers).toBe(2);
    expect(target.execUpdateLock.isLocked()).toBe(false);
    world.run(target, doExit(target, 0));
    expect(world.run(parent, mmAccess(parent, target, ATTACH))).toBe(-ESRCH);
  });
});

describe('setuid and prctl', () => {
  it('leaving root takes dumpable away until it is set again', () => {
    const world = new World();
    const task = world.process('target');
    expect(task.mm?.dumpable).toBe(SUID_DUMP_USER);
    expect(world.run(task, sysSetuid(task, 1000))).toBe(0);
    expect(task.mm?.dumpable).toBe(SUID_DUMP_DISABLE);
    expect(world.run(task, sysPrctlSetDumpable(task, 2))).toBe(-EINVAL);
    expect(world.run(task, sysPrctlSetDumpable(task, 1))).toBe(0);
    expect(sysPrctlGetDumpable(task)).toBe(SUID_DUMP_USER);
    expect(world.run(task, sysSetuid(task, 0))).toBe(-EPERM);
    expect(world.run(task, sysSetuid(task, -1))).toBe(-EINVAL);
  });

  it.each<[string, MmMap, number]>([
    ['the arguments', { argStart: 0x10_0000n, argEnd: 0x10_0010n }, 0],
    ['an empty range', { argStart: 0x10_0000n, argEnd: 0x10_0000n }, 0],
    ['a range the wrong way round', { argStart: 0x10_0010n, argEnd: 0x10_0000n }, -EINVAL],
    ['code must not be empty', { startCode: 0x10_0000n, endCode: 0x10_0000n }, -EINVAL],
    ['below mmap_min_addr', { envStart: 0xf000n, envEnd: 0x10_0000n }, -EINVAL],
    ['beyond user space', { envStart: 0x10_0000n, envEnd: 1n << 48n }, -EINVAL],
    ['a tag in the address', { argStart: 0x0200_0000_0010_0000n }, -EINVAL],
  ])('PR_SET_MM_MAP: %s', (_name, map, result) => {
    const world = new World();
    const task = world.process('target');
    expect(world.run(task, sysPrctlSetMmMap(task, map))).toBe(result);
    const moved = result === 0 ? task.mm?.argEnd : (task.mm?.argStart ?? 0n) + (task.mm?.envEnd ?? 0n);
    expect(moved).toBe(result === 0 ? map.argEnd : 0n);
  });

  it('PR_SET_MM_MAP keeps data and heap within RLIMIT_DATA, and the heap in place while it is at it', () => {
    const world = new World();
    const task = world.process('target');
    task.rlimits = { ...task.rlimits, data: { soft: 0x3000, hard: 0x3000 } };
    const heap = (startBrk: bigint, brk: bigint) =>
      world.run(task, sysPrctlSetMmMap(task, { startBrk, brk }));
    // The program has a page of data.
    expect([heap(0x50_0000n, 0x50_2001n), heap(0x50_0000n, 0x50_2000n)]).toEqual([-EINVAL, 0]);
    expect([task.mm?.brk, task.mm?.mmapLock.isLocked()]).toEqual([0x50_2000n, false]);
  });
});
