/**
 * Remote access on one CPU while the target changes its address space on another, under many random schedules. Under
 * mmap_lock the layout a transfer sees is one that existed: all of it before the change, or all of it after.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EIO } from '../../../src/kernel/errno.ts';
import { PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import { sysKill } from '../../../src/kernel/process/kill.ts';
import { openProcMem, readProcMem } from '../../../src/kernel/remote/proc-pid-mem.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../src/kernel/remote/process-vm.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { BASE, PAGE, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const RUNS = 80;
const BYTES = 3 * 4096;

/** Three pages filled with 1, 2, 3; a target on CPU 1, a reader on CPU 0, a third process on CPU 2. */
function threePages(seed: number) {
  const world = new World(3, new RandomPolicy(seed));
  const target = world.process('target', 1);
  const reader = world.process('reader', 0);
  const other = world.process('other', 2);
  world.map(target, 0, 3, RW);
  for (let page = 0; page < 3; page++) {
    world.store(target, BASE + BigInt(page) * PAGE, new Array<number>(4096).fill(page + 1));
  }
  return { world, target, reader, other };
}

type Setting = ReturnType<typeof threePages>;

function readAll(setting: Setting, buffer: Uint8Array) {
  return sysProcessVmReadv(setting.reader, {
    pid: setting.target.pid,
    local: [{ base: buffer, length: BigInt(buffer.length) }],
    localCount: 1,
    remote: [{ base: BASE, length: BigInt(buffer.length) }],
    remoteCount: 1,
    flags: 0,
  });
}

/** Every byte that was counted is what that page always held: never a freed or reused frame. */
function expectOldBytes(buffer: Uint8Array, count: number): void {
  for (let at = 0; at < count; at++)
    if (buffer[at] !== (at >> 12) + 1) expect(buffer[at]).toBe((at >> 12) + 1);
}

/** Some steps of its own first, so that either side may come first at every lock. */
function* delayed<T>(task: Setting['target'], steps: number, path: Task<T>): Task<T> {
  for (let step = 0; step < steps; step++) yield task.startPoint;
  return yield* path;
}

/** Runs both to their ends and gives what the reader's path returned. */
function race(
  setting: Setting,
  reader: Parameters<World['run']>[1],
  ...rest: readonly [number, Parameters<World['run']>[1]][]
) {
  const { loop } = setting.world.system;
  const tasks = [setting.reader, setting.target, setting.other];
  loop.start(setting.reader, reader);
  for (const [who, path] of rest) loop.start(tasks[who] as Setting['target'], path);
  const result = loop.run();
  expect(result.kind).toBe('finished');
  return setting.reader.result as number;
}

/** No frame is left behind: after everybody has exited, only what the kernel had at first is taken. */
function expectBalanced(setting: Setting, freeBefore: number): void {
  const { world } = setting;
  for (const task of [setting.reader, setting.target, setting.other]) {
    if (task.mm !== null) world.run(task, doExit(task, 0));
  }
  // A CPU that ran an exited process keeps its root table loaded until it runs another one (lazy TLB).
  const roots = world.kernel.activeMm.filter(({ borrowed }) => borrowed).length;
  expect(world.kernel.frames.freeFrames + roots).toBe(freeBefore);
}

/** Frames that are free when no process has an address space. */
function freeFramesOfEmptyWorld(): number {
  return new World(3).kernel.frames.freeFrames;
}

describe('a remote read of three pages', () => {
  const free = freeFramesOfEmptyWorld();

  it('sees all of them or one while the middle one is unmapped', () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < RUNS; seed++) {
      const setting = threePages(seed);
      const buffer = new Uint8Array(BYTES);
      const count = race(setting, readAll(setting, buffer), [
        1,
        delayed(setting.target, seed % 40, sysMunmap(setting.target, BASE + PAGE, PAGE)),
      ]);
      seen.add(count);
      expectOldBytes(buffer, count);
      expectBalanced(setting, free);
    }
    expect([...seen].sort()).toEqual([BYTES, 4096].sort());
  });

  it('sees all of them or one while the middle one loses its permissions', () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < RUNS; seed++) {
      const setting = threePages(seed);
      const buffer = new Uint8Array(BYTES);
      const change = sysMprotect(setting.target, BASE + PAGE, PAGE, PROT_NONE);
      const count = race(setting, readAll(setting, buffer), [1, delayed(setting.target, seed % 40, change)]);
      seen.add(count);
      expectOldBytes(buffer, count);
      expectBalanced(setting, free);
    }
    expect([...seen].sort()).toEqual([BYTES, 4096].sort());
  });

  it('sees all of them or -ESRCH while the target exits: the reference to mm_users decides', () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < RUNS; seed++) {
      const setting = threePages(seed);
      const buffer = new Uint8Array(BYTES);
      const count = race(setting, readAll(setting, buffer), [
        1,
        delayed(setting.target, seed % 40, doExit(setting.target, 0)),
      ]);
      seen.add(count);
      expectOldBytes(buffer, Math.max(count, 0));
      expectBalanced(setting, free);
    }
    expect([...seen].sort()).toEqual([BYTES, -3].sort());
  });

  it('sees all of them while the target forks, whoever takes mmap_lock first', () => {
    for (let seed = 0; seed < RUNS; seed++) {
      const setting = threePages(seed);
      const buffer = new Uint8Array(BYTES);
      const count = race(setting, readAll(setting, buffer), [
        1,
        delayed(setting.target, seed % 40, sysFork(setting.target, 'child')),
      ]);
      expect(count).toBe(BYTES);
      expectOldBytes(buffer, count);
      const child = setting.target.result as Setting['target'];
      expect(setting.world.load(child, BASE + PAGE, 1)).toEqual([2]);
      setting.world.run(child, doExit(child, 0));
      expectBalanced(setting, free);
    }
  });
});

describe('a read of /proc/pid/mem over three pages', () => {
  it('ends short or with EIO, never with foreign bytes', () => {
    for (let seed = 0; seed < RUNS; seed++) {
      const setting = threePages(seed);
      const file = setting.world.run(setting.reader, openProcMem(setting.reader, setting.target.pid));
      if (typeof file === 'number') throw new Error('open failed');
      const buffer = new Uint8Array(BYTES);
      const read = readProcMem(setting.reader, file, BASE, buffer, BigInt(BYTES));
      const count = race(setting, read, [
        1,
        delayed(setting.target, seed % 60, sysMunmap(setting.target, BASE, 2n * PAGE)),
      ]);
      // One access_remote_vm for each page: the unmapping may come between two of them.
      expect([BYTES, 4096, -EIO]).toContain(count);
      expectOldBytes(buffer, Math.max(count, 0));
    }
  });
});

describe('a killed reader', () => {
  const free = freeFramesOfEmptyWorld();

  /** What the reader got, killed after `steps` steps of its own; nobody else is there. */
  function killedAfter(steps: number): number {
    const setting = threePages(0);
    const { reader, world } = setting;
    const buffer = new Uint8Array(BYTES);
    function* path(): Task<number> {
      const read = readAll(setting, buffer);
      for (let done = 0; ; done++) {
        if (done === steps) reader.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
        const step = read.next();
        if (step.done === true) return step.value;
        yield step.value;
      }
    }
    const count = world.run(reader, path());
    expectOldBytes(buffer, Math.max(count, 0));
    expectBalanced(setting, free);
    return count;
  }

  it('has the pages that were pinned before the signal; with none, -EINTR of GUP is an -EFAULT', () => {
    const counts = Array.from({ length: 60 }, (_, steps) => killedAfter(steps));
    const changes = counts.filter((count, at) => count !== counts[at - 1]);
    expect(changes).toEqual([-EFAULT, 4096, 8192, BYTES]);
  });

  it('leaves nothing pinned while the first page is unmapped under many schedules', () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < RUNS; seed++) {
      const setting = threePages(seed);
      const buffer = new Uint8Array(BYTES);
      const kill = sysKill(setting.other, setting.reader.pid, SIGKILL);
      const unmap = sysMunmap(setting.target, BASE, PAGE);
      const count = race(
        setting,
        readAll(setting, buffer),
        [2, delayed(setting.other, seed % 20, kill)],
        [1, delayed(setting.target, seed % 30, unmap)],
      );
      seen.add(count);
      expectOldBytes(buffer, Math.max(count, 0));
      expectBalanced(setting, free);
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([-EFAULT, 4096, 8192, BYTES]);
  });
});

it('two writers into one page shared by fork: each side keeps its own bytes', () => {
  for (let seed = 0; seed < RUNS; seed++) {
    const setting = threePages(seed);
    const { world, target, reader, other } = setting;
    const child = world.fork(target, 'child');
    const bytes = Uint8Array.from([77]);
    const write = (caller: typeof target, pid: number) =>
      sysProcessVmWritev(caller, {
        pid,
        local: [{ base: bytes, length: 1n }],
        localCount: 1,
        remote: [{ base: BASE, length: 1n }],
        remoteCount: 1,
        flags: 0,
      });
    const count = race(setting, write(reader, target.pid), [2, readOne(other, child.pid)]);
    expect(count).toBe(1);
    expect(world.load(target, BASE, 2)).toEqual([77, 1]);
    expect(world.load(child, BASE, 2)).toEqual([1, 1]);
  }
});

function readOne(caller: Setting['target'], pid: number) {
  return sysProcessVmReadv(caller, {
    pid,
    local: [{ base: new Uint8Array(1), length: 1n }],
    localCount: 1,
    remote: [{ base: BASE, length: 1n }],
    remoteCount: 1,
    flags: 0,
  });
}
