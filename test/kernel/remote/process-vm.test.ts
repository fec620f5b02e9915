/** process_vm_readv and writev: the order of checks, what is counted, what is pinned. */
import { describe, expect, it } from 'vitest';
import { EFAULT, EINVAL, EPERM, ESRCH } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { credentials } from '../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import {
  type ProcessVmArguments,
  PVM_MAX_USER_PAGES,
  sysProcessVmReadv,
  sysProcessVmWritev,
} from '../../../src/kernel/remote/process-vm.ts';
import type { IoVector } from '../../../src/kernel/remote/user-buffer.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, PAGE, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const vector = (base: bigint | Uint8Array, length: number | bigint): IoVector => ({
  base,
  length: BigInt(length),
});

/** A target with pages 0 and 1 filled with 1 and 2, a hole at 2, and page 3 untouched; a caller with the same pages. */
function setUp() {
  const world = new World();
  const [target, caller] = [world.process('target'), world.process('caller')];
  for (const task of [target, caller]) {
    world.map(task, 0, 2, RW);
    world.map(task, 3, 1, RW);
  }
  world.store(target, BASE, new Array<number>(4096).fill(1));
  world.store(target, BASE + PAGE, new Array<number>(4096).fill(2));
  return { world, target, caller };
}

function read(
  world: World,
  caller: TaskStruct,
  args: Partial<ProcessVmArguments> & Pick<ProcessVmArguments, 'pid'>,
): number {
  const local = args.local ?? [vector(new Uint8Array(0x10000), 0x10000)];
  const remote = args.remote ?? [vector(BASE, 8)];
  const count = (array: ProcessVmArguments['local']) => (typeof array === 'bigint' ? 1 : array.length);
  const defaults = { local, localCount: count(local), remote, remoteCount: count(remote), flags: 0 };
  return world.run(caller, sysProcessVmReadv(caller, { ...defaults, ...args }));
}

describe('argument checks, in their order (mm/process_vm_access.c, process_vm_rw)', () => {
  const bytes = new Uint8Array(64);
  it.each<[string, Partial<ProcessVmArguments>, number]>([
    ['flags before everything else', { flags: 1, localCount: 2000, pid: 9999 }, -EINVAL],
    ['too many local vectors before the pid', { localCount: 1025, pid: 9999 }, -EINVAL],
    ['an unreadable local array', { local: 0x8n, localCount: 1 }, -EFAULT],
    ['a negative local length', { local: [vector(bytes, 2n ** 63n)] }, -EINVAL],
    ['a local buffer in the kernel half', { local: [vector(0xffff_8000_0000_0000n, 8)] }, -EFAULT],
    [
      'no local bytes: 0, even with a bad pid and a bad remote array',
      { local: [], remote: 8n, pid: 9999 },
      0,
    ],
    ['too many remote vectors before the pid', { remoteCount: 1025, pid: 9999 }, -EINVAL],
    ['an unreadable remote array before the pid', { remote: 0x8n, remoteCount: 1, pid: 9999 }, -EFAULT],
    ['a negative remote length', { remote: [vector(BASE, -1n & 0xffff_ffff_ffff_ffffn)] }, -EINVAL],
    ['no remote bytes: 0, even with a bad pid', { remote: [vector(0x8n, 0)], pid: 9999 }, 0],
    ['no remote vectors: 0', { remoteCount: 0, pid: 9999 }, 0],
    ['an unknown pid', { pid: 9999 }, -ESRCH],
    ['pid 0', { pid: 0 }, -ESRCH],
    ['a remote address in the kernel half', { remote: [vector(0xffff_8000_0000_0000n, 8)] }, -EFAULT],
    ['the end of user space', { remote: [vector(0x7fff_ffff_f000n, 8)] }, -EFAULT],
    ['address 0', { remote: [vector(0n, 8)] }, -EFAULT],
    ['a vector that wraps round the address space', { remote: [vector(2n ** 64n - 8n, 64)] }, -EFAULT],
    [
      'the largest length there is: what the local side takes',
      { remote: [vector(BASE, 2n ** 63n - 1n)] },
      8192,
    ],
  ])('%s', (_name, args, result) => {
    const { world, target, caller } = setUp();
    expect(read(world, caller, { pid: target.pid, ...args })).toBe(result);
  });

  it('of the process: EPERM without the right, ESRCH for a zombie', () => {
    const { world, target, caller } = setUp();
    const user = world.process('user', 0, credentials(1000, 1000));
    expect(read(world, user, { pid: target.pid })).toBe(-EPERM);
    const child = world.fork(caller, 'child');
    world.run(child, doExit(child, 0));
    expect(read(world, caller, { pid: child.pid })).toBe(-ESRCH);
  });

  it('a process may read itself, whoever it is', () => {
    const { world } = setUp();
    const user = world.process('user', 0, credentials(1000, 1000));
    world.map(user, 0, 1, RW);
    world.store(user, BASE, [3]);
    const bytes = new Uint8Array(1);
    expect(read(world, user, { pid: user.pid, local: [vector(bytes, 1)], remote: [vector(BASE, 1)] })).toBe(
      1,
    );
    expect(bytes[0]).toBe(3);
  });
});

describe('what is counted', () => {
  it.each<[string, readonly IoVector[], number]>([
    // d014
    ['two pages, then a hole', [vector(BASE, 16384)], 8192],
    ['byte exact from the middle of a page', [vector(BASE + 0x1064n, 8192)], 3996],
    ['a hole first', [vector(BASE + 2n * PAGE, 8), vector(BASE, 8)], -EFAULT],
    ['a hole in the middle ends it', [vector(BASE, 8), vector(BASE + 2n * PAGE, 8), vector(BASE, 8)], 8],
    ['an empty vector is passed over, wherever it points', [vector(8n, 0), vector(BASE, 8)], 8],
  ])('%s', (_name, remote, result) => {
    const { world, target, caller } = setUp();
    expect(read(world, caller, { pid: target.pid, remote })).toBe(result);
  });

  it('is the shorter of the two sides', () => {
    const { world, target, caller } = setUp();
    const args = { pid: target.pid, local: [vector(new Uint8Array(4), 4), vector(new Uint8Array(6), 6)] };
    expect(read(world, caller, { ...args, remote: [vector(BASE, 4096)] })).toBe(10);
    expect(read(world, caller, { ...args, remote: [vector(BASE, 7)] })).toBe(7);
  });

  it('ends at a local page that cannot be written (d018, d096)', () => {
    const { world, target, caller } = setUp();
    const local = (address: bigint, length: number) =>
      read(world, caller, {
        pid: target.pid,
        local: [vector(address, length)],
        remote: [vector(BASE, 8192)],
      });
    expect(local(BASE + 2n * PAGE, 16)).toBe(-EFAULT);
    expect(local(BASE + PAGE, 8192)).toBe(4096);
    expect(local(BASE + PAGE + 8n, 8192)).toBe(4088);
    world.protect(caller, BASE, 1, PROT_READ);
    expect(local(BASE, 8)).toBe(-EFAULT);
  });

  it('scatters into the caller and gathers out of it, arrays and buffers in its own memory', () => {
    const { world, target, caller } = setUp();
    // Two struct iovec at the start of the caller's page 0: 3 bytes at +0x100, 2 bytes at +0x200.
    const words = new DataView(new ArrayBuffer(32));
    words.setBigUint64(0, BASE + 0x100n, true);
    words.setBigUint64(8, 3n, true);
    words.setBigUint64(16, BASE + 0x200n, true);
    words.setBigUint64(24, 2n, true);
    world.store(caller, BASE, [...new Uint8Array(words.buffer)]);
    world.store(target, BASE, [10, 11, 12, 13, 14]);
    const args = { pid: target.pid, local: BASE, localCount: 2, remote: [vector(BASE, 5)] };
    expect(read(world, caller, args)).toBe(5);
    expect(world.load(caller, BASE + 0x100n, 4)).toEqual([10, 11, 12, 0]);
    expect(world.load(caller, BASE + 0x200n, 3)).toEqual([13, 14, 0]);
    world.store(caller, BASE + 0x200n, [98, 99]);
    const write = sysProcessVmWritev(caller, { ...args, remoteCount: 1, flags: 0 });
    expect(world.run(caller, write)).toBe(5);
    expect(world.load(target, BASE, 6)).toEqual([10, 11, 12, 98, 99, 1]);
  });
});

describe('what is pinned', () => {
  it('is every page of the remote vector, also beyond the local side', () => {
    const { world, target, caller } = setUp();
    world.map(target, 8, 4, RW);
    const remote = [vector(BASE + 8n * PAGE, 4 * 4096)];
    const local = [vector(new Uint8Array(8), 8)];
    const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    const { result, faults } = world.counted(caller, sysProcessVmReadv(caller, args));
    expect([result, faults]).toEqual([8, 4]);
    expect(world.state(target, BASE + 11n * PAGE)).toBe('Z');
  });

  it('is only the first chunk of a longer one: the rest is not touched once the local side is full', () => {
    const { world, target, caller } = setUp();
    const pages = PVM_MAX_USER_PAGES + 8;
    world.map(target, 16, pages, RW);
    const remote = [vector(BASE + 16n * PAGE, pages * 4096)];
    const local = [vector(new Uint8Array(8), 8)];
    const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    const { result, faults } = world.counted(caller, sysProcessVmReadv(caller, args));
    expect([result, faults]).toEqual([8, PVM_MAX_USER_PAGES]);
    expect(world.state(target, BASE + BigInt(16 + PVM_MAX_USER_PAGES) * PAGE)).toBe('-');
  });

  it('goes on over chunks when the local side is long enough', () => {
    const { world, target, caller } = setUp();
    const pages = PVM_MAX_USER_PAGES + 8;
    world.map(target, 16, pages, RW);
    const last = BASE + BigInt(16 + pages - 1) * PAGE;
    world.store(target, last, [9]);
    const buffer = new Uint8Array(pages * 4096);
    const args = {
      pid: target.pid,
      local: [vector(buffer, buffer.length)],
      remote: [vector(BASE + 16n * PAGE, buffer.length)],
    };
    expect(read(world, caller, args)).toBe(buffer.length);
    expect(buffer[(pages - 1) * 4096]).toBe(9);
  });
});

describe('what is moved', () => {
  it('is exact to the byte also where the range ends in a later chunk, and the local side goes on', () => {
    const { world, target, caller } = setUp();
    const pages = PVM_MAX_USER_PAGES + 1;
    world.map(target, 16, pages, RW);
    const length = pages * 4096 - 100;
    const buffer = new Uint8Array(pages * 4096).fill(5);
    const args = {
      pid: target.pid,
      local: [vector(buffer, buffer.length)],
      remote: [vector(BASE + 16n * PAGE, length)],
    };
    expect(read(world, caller, args)).toBe(length);
    expect([buffer[length - 1], buffer[length]]).toEqual([0, 5]);
  });

  it('is dirty after writev, and as it was after readv, also when its entry stayed dirty', () => {
    const { world, target, caller } = setUp();
    const { frames } = world.kernel;
    const frame = world.frameAt(target, BASE);
    const args = {
      pid: target.pid,
      local: [vector(new Uint8Array(8), 8)],
      localCount: 1,
      remote: [vector(BASE, 8)],
      remoteCount: 1,
      flags: 0,
    };
    frames.clearFlags(frame, FrameFlag.Dirty);
    expect(world.run(caller, sysProcessVmReadv(caller, args))).toBe(8);
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(false);
    expect(world.run(caller, sysProcessVmWritev(caller, args))).toBe(8);
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(true);
    expect(world.frameAt(target, BASE)).toBe(frame);
  });
});

describe('a page', () => {
  it('is pinned while it is copied and no longer, also when the local side faults', () => {
    const { world, target, caller } = setUp();
    const { frames } = world.kernel;
    const frame = world.frameAt(target, BASE);
    let most = 0;
    const { loop } = world.system;
    const local = [vector(BASE + 2n * PAGE, 8)];
    const args = {
      pid: target.pid,
      local,
      localCount: 1,
      remote: [vector(BASE, 8)],
      remoteCount: 1,
      flags: 0,
    };
    loop.start(caller, sysProcessVmReadv(caller, args));
    const look = () => {
      most = Math.max(most, frames.refcount(frame));
      return true;
    };
    expect(loop.run({ afterStep: look }).kind).toBe('finished');
    expect(caller.result).toBe(-EFAULT);
    expect([most, frames.refcount(frame)]).toEqual([1 + GUP_PIN_COUNTING_BIAS, 1]);
    expect(target.mm?.mmapLock.isLocked()).toBe(false);
    expect(target.mm?.mmUsers).toBe(1);
  });
});
