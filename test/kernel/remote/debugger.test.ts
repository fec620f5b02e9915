/** ptrace on memory, /proc/PID/mem, cmdline and environ: who may, what they return, where they stop. */
import { describe, expect, it } from 'vitest';
import { EACCES, EFAULT, EINVAL, EIO, ENOENT, EPERM, ESRCH } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { SUID_DUMP_DISABLE } from '../../../src/kernel/mm/mm.ts';
import { MAP_GROWSDOWN, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { sysCloneVm } from '../../../src/kernel/process/clone-vm.ts';
import { credentials } from '../../../src/kernel/process/credentials.ts';
import { sysExecve } from '../../../src/kernel/process/exec.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysPrctlSetMmMap } from '../../../src/kernel/process/set-mm-map.ts';
import { sysWait4 } from '../../../src/kernel/process/wait.ts';
import { accessProcessVm } from '../../../src/kernel/remote/access-remote-vm.ts';
import {
  openProcEnviron,
  readProcCmdline,
  readProcEnviron,
} from '../../../src/kernel/remote/proc-pid-cmdline.ts';
import {
  closeProcMem,
  openProcMem,
  type ProcMemFile,
  readProcMem,
  writeProcMem,
} from '../../../src/kernel/remote/proc-pid-mem.ts';
import {
  ptraceDetach,
  ptraceInterrupt,
  ptracePeekData,
  ptracePokeData,
  ptraceSeize,
  ptraceStopPoint,
} from '../../../src/kernel/remote/ptrace.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, MAP_SHARED, PAGE, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const alice = credentials(1000, 1000);

function setUp(kernel: Partial<KernelConfig> = {}) {
  const world = new World(1, undefined, kernel);
  const parent = world.process('debugger');
  const target = world.fork(parent, 'target');
  world.map(target, 0, 1, RW);
  world.store(target, BASE + 0xff8n, [1, 2, 3, 4, 5, 6, 7, 8]);
  return { world, debugger_: parent, target };
}

function attach(world: World, debugger_: TaskStruct, target: TaskStruct): void {
  expect(world.run(debugger_, ptraceSeize(debugger_, target.pid))).toBe(0);
  expect(world.run(debugger_, ptraceInterrupt(debugger_, target.pid))).toBe(0);
}

describe('PTRACE_SEIZE', () => {
  it('is refused for oneself, a traced task, a zombie (EPERM), and for no task at all (ESRCH)', () => {
    const { world, debugger_, target } = setUp();
    const other = world.process('other');
    const user = world.process('user', 0, alice);
    const seize = (who: TaskStruct, pid: number) => world.run(who, ptraceSeize(who, pid));
    expect(seize(debugger_, debugger_.pid)).toBe(-EPERM);
    expect(seize(user, target.pid)).toBe(-EPERM);
    expect(seize(debugger_, target.pid)).toBe(0);
    expect(seize(other, target.pid)).toBe(-EPERM);
    const zombie = world.fork(debugger_, 'zombie');
    world.run(zombie, doExit(zombie, 0));
    expect(seize(other, zombie.pid)).toBe(-EPERM);
    world.run(debugger_, sysWait4(debugger_, zombie.pid, 0));
    expect(seize(other, zombie.pid)).toBe(-ESRCH);
  });
});

describe('PEEKDATA and POKEDATA', () => {
  const word = () => new Uint8Array(8);

  it('need a stopped tracee of the caller, else ESRCH (d021)', () => {
    const { world, debugger_, target } = setUp();
    const other = world.process('other');
    const peek = (who: TaskStruct) => world.run(who, ptracePeekData(who, target.pid, BASE, word()));
    expect(peek(debugger_)).toBe(-ESRCH);
    expect(world.run(debugger_, ptraceSeize(debugger_, target.pid))).toBe(0);
    expect(peek(debugger_)).toBe(-ESRCH);
    expect(world.run(debugger_, ptraceInterrupt(debugger_, target.pid))).toBe(0);
    expect([peek(debugger_), peek(other)]).toEqual([0, -ESRCH]);
    expect(world.run(debugger_, ptraceDetach(debugger_, target.pid))).toBe(0);
    expect([peek(debugger_), target.ptrace, debugger_.tracees.size]).toEqual([-ESRCH, null, 0]);
  });

  it('over a page end into a hole: EIO, and POKE has written the first part (d022)', () => {
    const { world, debugger_, target } = setUp();
    attach(world, debugger_, target);
    const value = Uint8Array.from([9, 9, 9, 9, 9, 9, 9, 9]);
    expect(world.run(debugger_, ptracePeekData(debugger_, target.pid, BASE + 0xffcn, word()))).toBe(-EIO);
    expect(world.run(debugger_, ptracePokeData(debugger_, target.pid, BASE + 0xffcn, value))).toBe(-EIO);
    expect(world.load(target, BASE + 0xff8n, 8)).toEqual([1, 2, 3, 4, 9, 9, 9, 9]);
  });

  it('stop working on a task that became non-dumpable, unless the debugger had CAP_SYS_PTRACE when it attached', () => {
    const world = new World();
    const mine = world.process('debugger', 0, alice);
    const target = world.process('target', 0, alice);
    world.map(target, 0, 1, RW);
    attach(world, mine, target);
    expect(world.run(mine, ptracePeekData(mine, target.pid, BASE, word()))).toBe(0);
    if (target.mm !== null) target.mm.dumpable = SUID_DUMP_DISABLE;
    expect(world.run(mine, ptracePeekData(mine, target.pid, BASE, word()))).toBe(-EIO);
  });

  it('wait for a tracee that is running to come to its stop', () => {
    const world = new World(2);
    const debugger_ = world.process('debugger', 0);
    const target = world.process('target', 1);
    world.map(target, 0, 1, RW);
    const log: string[] = [];
    function* program() {
      for (let step = 0; step < 50; step++) yield target.startPoint;
      log.push('stops');
      yield* ptraceStopPoint(target);
      log.push('goes on');
    }
    function* debugging() {
      yield* ptraceSeize(debugger_, target.pid);
      yield* ptraceInterrupt(debugger_, target.pid);
      const result = yield* ptracePeekData(debugger_, target.pid, BASE, word());
      log.push(`peek ${result}`);
      return yield* ptraceDetach(debugger_, target.pid);
    }
    world.system.loop.start(target, program());
    world.system.loop.start(debugger_, debugging());
    expect(world.system.loop.run().kind).toBe('finished');
    expect(log).toEqual(['stops', 'peek 0', 'goes on']);
  });

  it('let a tracee go when the debugger dies', () => {
    const { world, debugger_, target } = setUp();
    attach(world, debugger_, target);
    world.run(debugger_, doExit(debugger_, 0));
    expect([target.ptrace, target.ptraceStopped]).toEqual([null, false]);
  });
});

function open(world: World, who: TaskStruct, pid: number): ProcMemFile {
  const file = world.run(who, openProcMem(who, pid));
  if (typeof file === 'number') throw new Error(`open gave ${file}`);
  return file;
}

describe('/proc/PID/mem', () => {
  it('opens or not: EACCES, ESRCH for a zombie, ENOENT once it was reaped', () => {
    const { world, debugger_, target } = setUp();
    const user = world.process('user', 0, alice);
    const opened = (who: TaskStruct) => world.run(who, openProcMem(who, target.pid));
    expect(opened(user)).toBe(-EACCES);
    world.run(target, doExit(target, 0));
    expect(opened(debugger_)).toBe(-ESRCH);
    world.run(debugger_, sysWait4(debugger_, target.pid, 0));
    expect(opened(debugger_)).toBe(-ENOENT);
  });

  it('keeps the structure, not the memory: 0 bytes after the target has exited, and close lets the rest go', () => {
    const { world, debugger_, target } = setUp();
    const file = open(world, debugger_, target.pid);
    const { mm } = file;
    expect([mm.mmUsers, mm.mmCount]).toEqual([1, 2]);
    world.run(target, doExit(target, 0));
    const bytes = new Uint8Array(8);
    expect(world.run(debugger_, readProcMem(debugger_, file, BASE, bytes, 8n))).toBe(0);
    expect(world.run(debugger_, writeProcMem(debugger_, file, BASE, bytes, 8n))).toBe(0);
    const before = mm.mmCount;
    world.run(debugger_, closeProcMem(file));
    expect(mm.mmCount).toBe(before - 1);
  });

  it.each([
    ['offset 2^63', 2n ** 63n, 8n, -EINVAL],
    ['a negative length', BASE, 2n ** 64n - 1n, -EINVAL],
    ['length 0', 0n, 0n, 0],
    ['a hole', BASE + 2n * PAGE, 8n, -EIO],
    ['the largest offset', 2n ** 63n - 1n, 8n, -EIO],
    ['up to the end of the last page', BASE + 0xff8n, 4096n, 8],
  ])('%s', (_name, offset, length, result) => {
    const { world, debugger_, target } = setUp();
    const file = open(world, debugger_, target.pid);
    const bytes = new Uint8Array(4096);
    expect(world.run(debugger_, readProcMem(debugger_, file, offset, bytes, length))).toBe(result);
  });
});

describe('a transfer through /proc/PID/mem', () => {
  it('a bad buffer of the caller is EFAULT, even after pages that went well', () => {
    const { world, debugger_, target } = setUp();
    world.map(target, 1, 1, RW);
    world.map(debugger_, 0, 1, RW);
    const file = open(world, debugger_, target.pid);
    const rw = (call: typeof readProcMem, buffer: bigint) =>
      world.run(debugger_, call(debugger_, file, BASE, buffer, 8192n));
    expect([rw(readProcMem, BASE), rw(writeProcMem, BASE)]).toEqual([-EFAULT, -EFAULT]);
    expect(rw(readProcMem, 0xffff_8000_0000_0000n)).toBe(-EFAULT);
  });

  it('goes in steps of a page from wherever it starts, and counts what arrived', () => {
    const { world, debugger_, target } = setUp();
    world.map(target, 1, 2, RW);
    const file = open(world, debugger_, target.pid);
    const bytes = new Uint8Array(3 * 4096);
    const length = BigInt(bytes.length);
    expect(world.run(debugger_, readProcMem(debugger_, file, BASE + 0x800n, bytes, length))).toBe(0x2800);
    expect([...bytes.subarray(0x7f8, 0x800)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it.each<[KernelConfig['procMemForceOverride'], boolean, number]>([
    ['always', false, 8],
    ['ptrace', false, -EIO],
    ['ptrace', true, 8],
    ['never', true, -EIO],
  ])('proc_mem.force_override=%s, attached %s', (procMemForceOverride, attached, result) => {
    const { world, debugger_, target } = setUp({ procMemForceOverride });
    world.protect(target, BASE, 1, PROT_READ);
    if (attached) attach(world, debugger_, target);
    const file = open(world, debugger_, target.pid);
    expect(world.run(debugger_, writeProcMem(debugger_, file, BASE, new Uint8Array(8), 8n))).toBe(result);
  });

  it('proc_mem.force_override=ptrace: not for a file of the memory that the tracee had before execve', () => {
    const { world, debugger_, target } = setUp({ procMemForceOverride: 'ptrace' });
    world.protect(target, BASE, 1, PROT_READ);
    // Somebody else has the memory still.
    world.run(target, sysCloneVm(target, 'sharer'));
    const file = open(world, debugger_, target.pid);
    attach(world, debugger_, target);
    const write = () => world.run(debugger_, writeProcMem(debugger_, file, BASE, new Uint8Array(8), 8n));
    expect(write()).toBe(8);
    world.run(debugger_, ptraceDetach(debugger_, target.pid));
    expect(world.run(target, sysExecve(target, { filename: 'a', argv: ['a'], envp: [] }))).toBe(0);
    attach(world, debugger_, target);
    expect(target.mm).not.toBe(file.mm);
    expect(write()).toBe(-EIO);
    expect(world.run(debugger_, readProcMem(debugger_, file, BASE, new Uint8Array(8), 8n))).toBe(8);
  });
});

describe('/proc/PID/mem below a stack', () => {
  it('grows a stack below it, by as much as it takes, within the limit', () => {
    const { world, debugger_, target } = setUp();
    world.map(target, 4096, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    const file = open(world, debugger_, target.pid);
    const bytes = new Uint8Array(8);
    const at = (page: bigint) =>
      world.run(debugger_, readProcMem(debugger_, file, BASE + page * PAGE, bytes, 8n));
    expect(at(4080n)).toBe(8);
    expect(target.mm?.vmas.lookup(Number(BASE / PAGE) + 4080)?.start).toBe(Number(BASE / PAGE) + 4080);
    // 8 MiB are 2048 pages.
    expect([at(4096n - 2048n), at(4097n - 2048n)]).toEqual([-EIO, 8]);
    expect(target.mm?.mmapLock.isLocked()).toBe(false);
  });
});

/** Strings at BASE: `a\0bc\0` and `E=1\0` behind them. */
function withStrings(text = 'a\0bc\0E=1\0', argBytes = 5n) {
  const setting = setUp();
  const { world, target } = setting;
  world.store(target, BASE, [...new TextEncoder().encode(text)]);
  const argEnd = BASE + argBytes;
  const map = { argStart: BASE, argEnd, envStart: argEnd, envEnd: argEnd + 4n };
  expect(world.run(target, sysPrctlSetMmMap(target, map))).toBe(0);
  const buffer = new Uint8Array(64);
  const shown = (count: number) => (count < 0 ? count : new TextDecoder().decode(buffer.subarray(0, count)));
  return {
    ...setting,
    cmdline: (position = 0, length = 64) =>
      shown(world.run(target, readProcCmdline(target, target.pid, position, buffer, length))),
    environ: (length = 64) => shown(world.run(target, readProcEnviron(target, target.pid, buffer, length))),
  };
}

describe('/proc/PID/cmdline and environ', () => {
  it('read the strings, from any position', () => {
    const { cmdline, environ } = withStrings();
    expect([cmdline(), cmdline(2), cmdline(2, 1), cmdline(5), environ(), environ(2)]).toEqual([
      'a\0bc\0',
      'bc\0',
      'b',
      '',
      'E=1\0',
      'E=',
    ]);
  });

  it('show what setproctitle wrote: up to the first NUL, over the end of the arguments', () => {
    const { cmdline } = withStrings('title goes on\0', 5n);
    // Nine bytes are arguments and environment; the title is not cut at them, only at one page and the buffer.
    expect([cmdline(), cmdline(6), cmdline(0, 3)]).toEqual(['title goe', 'goe', 'tit']);
  });

  it('show no more of a title than the arguments, where the environment is not right behind them', () => {
    const { world, target, cmdline } = withStrings('title goes on\0', 5n);
    const map = { argStart: BASE, argEnd: BASE + 5n, envStart: BASE + 6n, envEnd: BASE + 9n };
    expect(world.run(target, sysPrctlSetMmMap(target, map))).toBe(0);
    expect([cmdline(), cmdline(3), cmdline(5)]).toEqual(['title', 'le', '']);
  });
});

describe('/proc/PID/cmdline and environ at their limits', () => {
  it('take no page for what lies behind the only one that a title may have', () => {
    const { world, target } = setUp();
    world.map(target, 0, 2, RW);
    world.store(target, BASE, new Array<number>(8192).fill(65));
    const argEnd = BASE + 8192n;
    const map = { argStart: BASE, argEnd, envStart: argEnd, envEnd: argEnd };
    expect(world.run(target, sysPrctlSetMmMap(target, map))).toBe(0);
    const pagesTaken = (position: number): readonly [number, number] => {
      const { frames } = world.kernel;
      const before = frames.freeFrames;
      let least = before;
      world.system.loop.start(target, readProcCmdline(target, target.pid, position, new Uint8Array(64), 64));
      world.system.loop.run({
        afterStep: () => {
          least = Math.min(least, frames.freeFrames);
          return true;
        },
      });
      return [target.result as number, before - least];
    };
    expect([pagesTaken(4095), pagesTaken(4096)]).toEqual([
      [1, 1],
      [0, 0],
    ]);
  });

  it.each([
    ['PROT_NONE', (world: World, target: TaskStruct) => world.protect(target, BASE, 1, PROT_NONE)],
    ['a hole', (world: World, target: TaskStruct) => void world.run(target, sysMunmap(target, BASE, PAGE))],
    ['shared memory', (world: World, target: TaskStruct) => void world.map(target, 0, 1, RW, MAP_SHARED)],
  ])('give 0 bytes of %s', (_name, change) => {
    const { world, target, cmdline, environ } = withStrings();
    change(world, target);
    expect([cmdline(), environ()]).toEqual(['', '']);
  });

  it('of a process without strings, without memory, or without being', () => {
    const { world, debugger_, target } = setUp();
    const buffer = new Uint8Array(8);
    const cmdline = () => world.run(debugger_, readProcCmdline(debugger_, target.pid, 0, buffer, 8));
    const environ = () => world.run(debugger_, readProcEnviron(debugger_, target.pid, buffer, 8));
    expect([cmdline(), environ()]).toEqual([0, 0]);
    world.run(target, doExit(target, 0));
    expect([cmdline(), environ()]).toEqual([0, -ESRCH]);
    world.run(debugger_, sysWait4(debugger_, target.pid, 0));
    expect([cmdline(), environ()]).toEqual([-ENOENT, -ENOENT]);
  });

  it('environ needs the right to look, cmdline does not', () => {
    const { world, target } = withStrings();
    const user = world.process('user', 0, alice);
    expect(world.run(user, openProcEnviron(user, target.pid))).toBe(-EACCES);
    expect(world.run(user, readProcCmdline(user, target.pid, 0, new Uint8Array(8), 8))).toBe(5);
  });
});

describe('access_process_vm', () => {
  it('takes the mm for the time of the transfer, and moves 0 bytes when there is none', () => {
    const { world, debugger_, target } = setUp();
    const bytes = new Uint8Array(8);
    const read = () => world.run(debugger_, accessProcessVm(debugger_, target, BASE + 0xff8n, bytes, 8, 0));
    expect([read(), bytes[7], target.mm?.mmUsers]).toEqual([8, 8, 1]);
    world.run(target, doExit(target, 0));
    expect(read()).toBe(0);
  });

  it('marks a page dirty that it wrote, also when the page was cleaned and its entry stayed dirty', () => {
    const { world, debugger_, target } = setUp();
    const { frames } = world.kernel;
    const frame = world.frameAt(target, BASE);
    frames.clearFlags(frame, FrameFlag.Dirty);
    const access = (flags: number) =>
      world.run(debugger_, accessProcessVm(debugger_, target, BASE, new Uint8Array(8), 8, flags));
    expect([access(0), frames.hasFlag(frame, FrameFlag.Dirty)]).toEqual([8, false]);
    expect([access(FOLL_WRITE), frames.hasFlag(frame, FrameFlag.Dirty)]).toEqual([8, true]);
    expect(world.frameAt(target, BASE)).toBe(frame);
  });
});
