/** execve and vfork. @see Linux fs/exec.c, fs/binfmt_elf.c `create_elf_tables`, kernel/fork.c `wait_for_vfork_done` */
import { describe, expect, it } from 'vitest';
import { PointKind, SchedPoint, SharedObject, type Task } from '../../../src/base/task.ts';
import { errnoName } from '../../../src/kernel/errno.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { copyFromUser } from '../../../src/kernel/mm/user-access.ts';
import { VM_RAND_READ, VM_SEQ_READ } from '../../../src/kernel/mm/vma-flags.ts';
import { type ExecRequest, sysExecve } from '../../../src/kernel/process/exec.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysVfork } from '../../../src/kernel/process/vfork.ts';
import { readProcCmdline } from '../../../src/kernel/remote/proc-pid-cmdline.ts';
import { SIGKILL, SIGSEGV } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { architectureName, PROCESSORS } from '../../support/architecture.ts';
import { addressOf, mmOf, ProcessWorld, type ProcessWorldOptions } from '../mm/process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const REQUEST: ExecRequest = { filename: '/bin/true', argv: ['true', '-x'], envp: ['HOME=/root', 'A=b'] };

function worldWithProcess(options: ProcessWorldOptions = {}) {
  const world = new ProcessWorld(options);
  const task = world.process();
  world.map(task, 0, 2, RW);
  world.store(task, 0, 5);
  return { world, task };
}

function bytesAt(world: ProcessWorld, task: TaskStruct, address: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  expect(world.run(task, copyFromUser(task, bytes, address))).toBe(0);
  return bytes;
}

const textAt = (world: ProcessWorld, task: TaskStruct, from: bigint, to: bigint): string =>
  new TextDecoder().decode(bytesAt(world, task, from, Number(to - from)));

function wordsAt(world: ProcessWorld, task: TaskStruct, address: bigint, count: number): bigint[] {
  const view = new DataView(bytesAt(world, task, address, count * 8).buffer);
  return Array.from({ length: count }, (_, i) => view.getBigUint64(i * 8, true));
}

describe.each(PROCESSORS)('execve on %o', (processor) => {
  it('leaves a stack with the strings, and below them the table that a program starts with', () => {
    const { world, task } = worldWithProcess({ processor });
    expect(world.run(task, sysExecve(task, REQUEST))).toBe(0);
    const mm = mmOf(task);
    const vmas = [...mm.vmas];
    expect(vmas).toHaveLength(1);
    const top = BigInt(world.kernel.arch.mapWindowPages) << 12n;
    expect([BigInt(vmas[0]?.end ?? 0) << 12n, (vmas[0]?.flags ?? 0) & (VM_RAND_READ | VM_SEQ_READ)]).toEqual([
      top,
      0,
    ]);
    expect(textAt(world, task, mm.argStart, mm.argEnd)).toBe('true\0-x\0');
    expect(textAt(world, task, mm.envStart, mm.envEnd)).toBe('HOME=/root\0A=b\0');
    expect(textAt(world, task, mm.envEnd, top - 8n)).toBe('/bin/true\0');
    const words = wordsAt(world, task, mm.startStack, 10);
    expect(words).toEqual([
      2n,
      mm.argStart,
      mm.argStart + 5n,
      0n,
      mm.envStart,
      mm.envStart + 11n,
      0n,
      6n,
      0x1000n,
      0n,
    ]);
    expect(mm.startStack % 16n).toBe(0n);
    expect(world.load(task, 0)).toMatchObject({ signal: SIGSEGV });
    expect([mm.totalVm, mm.stackVm, mm.residentPages]).toEqual([vmas[0]?.pages, vmas[0]?.pages, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('moves the stack down to where it belongs, over its own place or far away', () => {
    for (const shift of [1, 20, 700, 5000]) {
      const { world, task } = worldWithProcess({ processor });
      const stackTopPage = world.kernel.arch.mapWindowPages - shift;
      const envp = ['E'.repeat(40_000)];
      expect(world.run(task, sysExecve(task, { ...REQUEST, envp, stackTopPage }))).toBe(0);
      const mm = mmOf(task);
      expect([...mm.vmas].map(({ end }) => end)).toEqual([stackTopPage]);
      expect(textAt(world, task, mm.argStart, mm.argEnd)).toBe('true\0-x\0');
      expect(textAt(world, task, mm.envStart, mm.envEnd)).toBe(`${envp[0]}\0`);
      const [stack] = [...mm.vmas];
      const foot = addressOfPage(stack?.start ?? 0);
      expect(world.run(task, userStore(task, foot, Uint8Array.of(1)))).toBeNull();
      const { pageTables } = world.kernel;
      const above = pageTables.lookup(rootTable(mm), stackTopPage + shift - 1, pageTables.lastLevel);
      // Its table goes where the stack has left all of it.
      expect(above === null).toBe(shift > 512);
      expect(world.inconsistencies()).toEqual([]);
    }
  });
});

const addressOfPage = (page: number): bigint => BigInt(page) << 12n;

describe('the strings of execve', () => {
  it('may stand in the memory of the caller, over page ends', () => {
    const { world, task } = worldWithProcess();
    const text = new TextEncoder().encode('over the end\0');
    world.run(task, userStore(task, addressOf(0, 4092), text.subarray(0, 8)));
    world.run(task, userStore(task, addressOf(1, 4), text.subarray(8)));
    const request = { ...REQUEST, argv: [addressOf(0, 4092), 'b'] };
    expect(world.run(task, sysExecve(task, request))).toBe(0);
    const mm = mmOf(task);
    expect(textAt(world, task, mm.argStart, mm.argEnd)).toBe('over the end\0b\0');
  });

  it('are one empty one when there is none', () => {
    const { world, task } = worldWithProcess();
    expect(world.run(task, sysExecve(task, { filename: 'x', argv: [], envp: [] }))).toBe(0);
    const mm = mmOf(task);
    expect(textAt(world, task, mm.argStart, mm.argEnd)).toBe('\0');
    expect(wordsAt(world, task, mm.startStack, 3)).toEqual([1n, mm.argStart, 0n]);
  });

  it.each([
    ['a string that is not mapped', { argv: [addressOf(40)] }, 'EFAULT'],
    ['a string without an end', { argv: [addressOf(1)] }, 'EFAULT'],
    ['a string of more than 32 pages', { argv: ['x'.repeat(131_072)] }, 'E2BIG'],
    [
      'more than a quarter of the stack limit',
      { envp: Array<string>(20).fill('x'.repeat(120_000)) },
      'E2BIG',
    ],
    ['more pointers than strings may take', { argv: Array<string>(800_000).fill('') }, 'E2BIG'],
  ] as const)('fail without a trace: %s', (_what, wrong, errno) => {
    const { world, task } = worldWithProcess();
    if (wrong === undefined) return;
    for (let i = 0; i < 4096; i += 8) {
      world.run(task, userStore(task, addressOf(1, i), new Uint8Array(8).fill(0x41)));
    }
    const { mm } = task;
    const free = world.kernel.frames.freeFrames;
    expect(errnoName(world.run(task, sysExecve(task, { ...REQUEST, ...wrong })))).toBe(errno);
    expect([task.mm === mm, world.load(task, 0), world.kernel.frames.freeFrames]).toEqual([true, 5, free]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('are what /proc/PID/cmdline shows', () => {
    const { world, task } = worldWithProcess();
    world.run(task, sysExecve(task, REQUEST));
    const reader = world.process('reader');
    const buffer = new Uint8Array(64);
    expect(world.run(reader, readProcCmdline(reader, task.pid, 0, buffer, 64))).toBe(8);
    expect(new TextDecoder().decode(buffer.subarray(0, 8))).toBe('true\0-x\0');
  });
});

describe('what the program before has set for itself', () => {
  it('is gone: rights to keys, the tagged-address ABI', () => {
    const processor = architectureName === 'x86_64' ? { cpuModel: 'intel-sapphire-rapids' } : {};
    const { world, task } = worldWithProcess({ processor });
    const { protectionKeys, taggedAddressControl } = world.kernel.arch;
    const other = world.process('other');
    world.map(other, 0, 1, RW);
    const set = (): readonly unknown[] => [
      protectionKeys.register?.read(task.cpu),
      taggedAddressControl?.get(task.thread),
    ];
    world.load(task, 0);
    const initial = set();
    protectionKeys.register?.write(task.cpu, 0);
    taggedAddressControl?.set(task.thread, 1n);
    expect(set()).not.toEqual(initial);
    expect(world.run(task, sysExecve(task, REQUEST))).toBe(0);
    expect(set()).toEqual(initial);
    world.load(other, 0);
    world.run(task, copyFromUser(task, new Uint8Array(1), mmOf(task).argStart));
    expect(set()).toEqual(initial);
  });
});

describe('the address space before execve', () => {
  it('goes, with all it had', () => {
    const { world, task } = worldWithProcess();
    const old = mmOf(task);
    expect(world.run(task, sysExecve(task, REQUEST))).toBe(0);
    expect([old.mmUsers, old.mmCount, old.vmas.first()]).toEqual([0, 0, null]);
    expect(mmOf(task).mmUsers).toBe(1);
    expect(task.execUpdateLock.isLocked()).toBe(false);
    world.run(task, doExit(task, 0));
    expect(world.kernel.committedPages).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('stays with a thread that still uses it', () => {
    const { world, task } = worldWithProcess({ cpus: 2 });
    const thread = world.thread(task, 'thread', 1);
    expect(world.run(task, sysExecve(task, REQUEST))).toBe(0);
    expect([world.load(thread, 0), mmOf(thread).mmUsers]).toEqual([5, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is not missed in the middle: on 100 schedules a debugger reads the old memory, the new one, or nothing', () => {
    for (let seed = 0; seed < 100; seed++) {
      const { world, task } = worldWithProcess({ cpus: 2, policy: new RandomPolicy(seed) });
      const reader = world.process('reader', 1);
      const buffer = new Uint8Array(64);
      const { loop } = world.system;
      loop.start(task, sysExecve(task, REQUEST));
      loop.start(reader, readProcCmdline(reader, task.pid, 0, buffer, 64));
      loop.run();
      expect(task.result).toBe(0);
      expect([0, 8]).toContain(reader.result);
      expect(world.inconsistencies()).toEqual([]);
    }
  });
});

const pause = new SchedPoint(PointKind.Read, new SharedObject('program'), 'next instruction');

describe('vfork', () => {
  /** The parent vforks; the child runs `body`. */
  function run(body: (child: TaskStruct) => Task<unknown>, policy?: RandomPolicy) {
    const { world, task } = worldWithProcess({ cpus: 2, ...(policy === undefined ? {} : { policy }) });
    const { loop } = world.system;
    let child: TaskStruct | null = null;
    const start = (made: TaskStruct): void => {
      child = made;
      loop.start(made, body(made));
    };
    loop.start(task, sysVfork(task, 'child', start, 1));
    return { world, task, loop, childOf: () => child as TaskStruct | null };
  }

  it('runs the child in the parent’s memory; the parent goes on when the child exits', () => {
    for (let seed = 0; seed < 50; seed++) {
      const order: string[] = [];
      const { world, task, loop, childOf } = run(function* (child) {
        yield* userStore(child, addressOf(0), Uint8Array.of(7));
        for (let i = 0; i < 20; i++) yield pause;
        order.push(task.result === undefined ? 'parent waits' : 'parent has gone on');
        yield* doExit(child, 0);
      }, new RandomPolicy(seed));
      loop.run();
      expect(order).toEqual(['parent waits']);
      expect(task.result).toBe(childOf());
      expect([world.load(task, 0), mmOf(task).mmUsers]).toEqual([7, 1]);
      expect(world.inconsistencies()).toEqual([]);
    }
  });

  it('wakes the parent when the child has an address space of its own', () => {
    const { world, task, loop, childOf } = run((child) => sysExecve(child, REQUEST));
    loop.run();
    const child = childOf();
    expect([task.result, child?.result]).toEqual([child, 0]);
    expect(child?.mm === task.mm).toBe(false);
    expect([world.load(task, 0), mmOf(task).mmUsers]).toEqual([5, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('does not wake the parent for an execve that fails, but SIGKILL does', () => {
    const { world, task, loop, childOf } = run(function* (child) {
      yield* sysExecve(child, { ...REQUEST, argv: [addressOf(40)] });
      while (task.result === undefined) yield pause;
      const byte = new Uint8Array(1);
      yield* userLoad(child, addressOf(0), byte);
      yield* doExit(child, byte[0] as number);
    });
    loop.run({ maxSteps: 3000 });
    expect(task.result).toBeUndefined();
    task.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    loop.run();
    expect([task.result, childOf()?.vforkDone]).toEqual([childOf(), null]);
    expect(childOf()?.exitStatus).toBe(5);
    expect(world.inconsistencies()).toEqual([]);
  });
});
