/**
 * Every path that reaches into another address space, row by row: the flags that GUP gets, the locks that are held when it
 * looks at a mapping, and what a kill or the end of the target makes of it.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { coreDump } from '../../../src/kernel/consumers/core-dump.ts';
import { TomoyoPageDump, tomoyoDumpPage } from '../../../src/kernel/consumers/tomoyo-dump-page.ts';
import { isTrapAtAddress } from '../../../src/kernel/consumers/uprobes/hit.ts';
import { updateRefCtrAt } from '../../../src/kernel/consumers/uprobes/ref-ctr.ts';
import { uprobeRegister, uprobeUnregister } from '../../../src/kernel/consumers/uprobes/register.ts';
import { EFAULT, EIO, ENOMEM, ESRCH } from '../../../src/kernel/errno.ts';
import {
  FOLL_ANON,
  FOLL_DUMP,
  FOLL_FORCE,
  FOLL_GET,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_SPLIT_PMD,
  FOLL_TOUCH,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
} from '../../../src/kernel/gup/foll-flags.ts';
import { mmapReadLock, mmapReadUnlock, mmapWriteLock } from '../../../src/kernel/lock/mmap-lock.ts';
import { fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { sysExecve } from '../../../src/kernel/process/exec.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysPrctlSetMmMap } from '../../../src/kernel/process/set-mm-map.ts';
import {
  bpfCopyFromUserTask,
  bpfCopyFromUserTaskStr,
} from '../../../src/kernel/remote/bpf-copy-from-user-task.ts';
import { copyRemoteVmStr } from '../../../src/kernel/remote/copy-remote-vm-str.ts';
import { getCmdline } from '../../../src/kernel/remote/get-cmdline.ts';
import {
  openProcEnviron,
  readProcCmdline,
  readProcEnviron,
} from '../../../src/kernel/remote/proc-pid-cmdline.ts';
import { openProcMem, readProcMem, writeProcMem } from '../../../src/kernel/remote/proc-pid-mem.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../src/kernel/remote/process-vm.ts';
import {
  ptraceInterrupt,
  ptracePeekData,
  ptracePokeData,
  ptraceSeize,
} from '../../../src/kernel/remote/ptrace.ts';
import { SI_KERNEL, SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { BASE, MAP_PRIVATE, PAGE, World } from '../support/world.ts';

/** What GUP was asked for at a mapping, and what the caller held then. */
interface Look {
  readonly flags: number;
  readonly mode: string;
  readonly argLock: boolean;
}
const looks: Look[] = [];

function look(current: TaskStruct, { mm }: VmArea, flags: number): void {
  const { mmapLock, argLock } = mm;
  const mode = mmapLock.isWrittenBy(current) ? 'write' : mmapLock.isHeldBy(current) ? 'read' : 'none';
  looks.push({ flags, mode, argLock: argLock.holders().length > 0 });
}

const RW = PROT_READ | PROT_WRITE;
const REMOTE = FOLL_GET | FOLL_TOUCH | FOLL_REMOTE;
const PINS = FOLL_PIN | FOLL_TOUCH | FOLL_REMOTE | FOLL_UNLOCKABLE;

let world: World;
let director: Director;
let target: TaskStruct;
let caller: TaskStruct;

beforeEach(() => {
  director = new Director();
  world = new World(2, director.policy);
  director.loop = world.system.loop;
  // With a parent that does not wait, so that it stays a zombie.
  target = world.fork(world.process('parent', 1), 'target');
  caller = world.process('caller', 0);
  world.map(target, 0, 1, RW);
  world.store(target, BASE, [...new TextEncoder().encode('a\0bc\0E=1\0')]);
  world.run(
    target,
    sysPrctlSetMmMap(target, { argStart: BASE, argEnd: BASE + 5n, envStart: BASE + 5n, envEnd: BASE + 9n }),
  );
  expect(world.run(caller, ptraceSeize(caller, target.pid))).toBe(0);
  expect(world.run(caller, ptraceInterrupt(caller, target.pid))).toBe(0);
  looks.length = 0;
  world.kernel.gupWatcher = look;
});

const vector = (write: boolean): Task<number> => {
  const args = {
    pid: target.pid,
    local: [{ base: new Uint8Array(4), length: 4n }],
    localCount: 1,
    remote: [{ base: BASE, length: 4n }],
    remoteCount: 1,
    flags: 0,
  };
  return write ? sysProcessVmWritev(caller, args) : sysProcessVmReadv(caller, args);
};

/** The file is opened at once, what follows is read or written when the task runs. */
function memFile(write: boolean): Task<number> {
  const file = world.run(caller, openProcMem(caller, target.pid));
  if (typeof file === 'number') throw new Error(`open gave ${file}`);
  return (write ? writeProcMem : readProcMem)(caller, file, BASE, new Uint8Array(4), 4n);
}

/** What a path gives when all is well, when the caller is killed before it has mmap_lock, and its flags. */
interface Row {
  readonly call: () => Task<number>;
  readonly result: number;
  /** Null: a wait that no kill ends. */
  readonly killed: number | null;
  readonly gone: number;
  readonly flags: number;
}
const row = (
  call: () => Task<number>,
  result: number,
  killed: number | null,
  gone: number,
  flags: number,
): Row => ({ call, result, killed, gone, flags });
const eight = (): Uint8Array => new Uint8Array(8);

const ROWS: Readonly<Record<string, Row>> = {
  PTRACE_PEEKDATA: row(
    () => ptracePeekData(caller, target.pid, BASE, eight()),
    0,
    -EIO,
    -ESRCH,
    REMOTE | FOLL_FORCE,
  ),
  PTRACE_POKEDATA: row(
    () => ptracePokeData(caller, target.pid, BASE, eight()),
    0,
    -EIO,
    -ESRCH,
    REMOTE | FOLL_FORCE | FOLL_WRITE,
  ),
  'mem, read': row(() => memFile(false), 4, -EIO, 0, REMOTE | FOLL_FORCE),
  'mem, written': row(() => memFile(true), 4, -EIO, 0, REMOTE | FOLL_FORCE | FOLL_WRITE),
  cmdline: row(() => readProcCmdline(caller, target.pid, 0, eight(), 8), 5, 0, 0, REMOTE | FOLL_ANON),
  environ: row(() => readProcEnviron(caller, target.pid, eight(), 8), 4, 0, -ESRCH, REMOTE | FOLL_ANON),
  get_cmdline: row(() => getCmdline(caller, target, eight()), 5, 0, 0, REMOTE | FOLL_FORCE),
  process_vm_readv: row(() => vector(false), 4, null, -ESRCH, PINS),
  process_vm_writev: row(() => vector(true), 4, null, -ESRCH, PINS | FOLL_WRITE),
  bpf_copy_from_user_task: row(
    () => bpfCopyFromUserTask(caller, eight(), BASE, target, 0n),
    0,
    -EFAULT,
    -EFAULT,
    REMOTE,
  ),
  bpf_copy_from_user_task_str: row(
    () => bpfCopyFromUserTaskStr(caller, eight(), BASE, target, 0n),
    2,
    -EFAULT,
    -EFAULT,
    REMOTE,
  ),
  copy_remote_vm_str: row(
    () => copyRemoteVmStr(caller, target, BASE, eight(), 8, FOLL_FORCE),
    1,
    -EFAULT,
    -EFAULT,
    REMOTE | FOLL_FORCE,
  ),
};
const names = Object.keys(ROWS);
const rowOf = (name: string): Row => ROWS[name] as Row;

describe.each(names)('%s', (name) => {
  const { call, result, killed, gone, flags } = rowOf(name);

  it('asks GUP with its flags, under mmap_lock for reading and no other', () => {
    expect(world.run(caller, call())).toBe(result);
    expect(looks.length).toBeGreaterThan(0);
    for (const one of looks) expect(one).toEqual({ flags, mode: 'read', argLock: false });
    expect(target.mm?.mmapLock.isLocked()).toBe(false);
  });

  it('gives up or waits on, when it is killed before it has mmap_lock', () => {
    const mm = target.mm as MmStruct;
    world.run(target, mmapWriteLock(target, mm));
    director.start(caller, call());
    director.block(caller);
    caller.sendSignal({ signal: SIGKILL, code: SI_KERNEL, address: 0n });
    if (killed === null) expect(director.block(caller)).toMatch(/^down_read/);
    else expect(director.finish(caller)).toBe(killed);
    expect(looks).toEqual([]);
  });

  it('finds nothing when the target has gone', () => {
    const path = call();
    world.run(target, doExit(target, 0));
    expect(world.run(caller, path)).toBe(gone);
    expect(looks).toEqual([]);
  });

  it('keeps the memory of a target that exits meanwhile, and tears it down itself', () => {
    const mm = target.mm as MmStruct;
    director.start(caller, call());
    director.untilPoint(caller, ({ object }) => object === mm.mmapLock);
    world.run(target, doExit(target, 0));
    expect(mm.mmUsers).toBeGreaterThan(0);
    expect(director.finish(caller)).toBe(result);
    expect([mm.mmUsers, mm.mapCount]).toEqual([0, 0]);
  });
});

const flagsOf = (): number[] => looks.map(({ flags }) => flags);
const modes = (): string[] => [...new Set(looks.map(({ mode }) => mode))];

describe('paths of execve and dumps', () => {
  it('strings of execve are written without force, under mmap_lock for reading', () => {
    expect(world.run(target, sysExecve(target, { filename: 'x', argv: ['y'], envp: [] }))).toBe(0);
    expect([...new Set(flagsOf())]).toEqual([REMOTE | FOLL_WRITE]);
    expect(modes()).toEqual(['read']);
  });

  it('tomoyo looks at them by force', () => {
    const dump = new TomoyoPageDump();
    expect(world.run(caller, tomoyoDumpPage(caller, target.mm as MmStruct, BASE, dump))).toBe(true);
    expect(looks).toEqual([{ flags: REMOTE | FOLL_FORCE, mode: 'read', argLock: false }]);
    expect(dump.data[0]).toBe(0x61);
  });

  it('a dump takes pages by force, is no remote access and touches nothing', () => {
    const dump = world.run(target, coreDump(target));
    expect(dump?.pages.length).toBe(1);
    expect([...new Set(flagsOf())]).toEqual([FOLL_FORCE | FOLL_DUMP | FOLL_GET]);
    expect(modes()).toEqual(['read']);
  });

  it('a dump has nothing when it is killed before it has mmap_lock', () => {
    const thread = world.process('writer');
    world.run(thread, mmapWriteLock(thread, target.mm as MmStruct));
    director.start(target, coreDump(target));
    director.block(target);
    target.sendSignal({ signal: SIGKILL, code: SI_KERNEL, address: 0n });
    expect(director.finish(target)).toBe(null);
  });
});

describe('paths of breakpoints', () => {
  it('a breakpoint is set with a write fault and taken away without, under mmap_lock for writing', () => {
    const file = memfdCreate(world.kernel, 'code');
    world.run(caller, fileWrite(caller, file, 0, new Uint8Array(64).fill(7)));
    const at = BASE + 16n * PAGE;
    world.run(target, sysMmap(target, at, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | 0x10, file, 0n));
    const consumer = { handler: () => 0 };
    const uprobe = world.run(caller, uprobeRegister(caller, file.mapping, 0, 0, consumer));
    if (typeof uprobe === 'number') throw new Error(`register gave ${uprobe}`);
    expect([...new Set(flagsOf())]).toEqual([REMOTE | FOLL_FORCE | FOLL_WRITE | FOLL_SPLIT_PMD]);
    expect(modes()).toEqual(['write']);
    looks.length = 0;
    world.run(caller, uprobeUnregister(caller, uprobe, consumer));
    expect(looks).toEqual([{ flags: REMOTE | FOLL_FORCE, mode: 'write', argLock: false }]);
  });

  it('a reference counter is written as the program could', () => {
    const mm = target.mm as MmStruct;
    world.run(caller, mmapReadLock(caller, mm));
    expect(world.run(caller, updateRefCtrAt(caller, mm, BASE + 0x20n, 1))).toBe(0);
    world.run(caller, mmapReadUnlock(caller, mm));
    expect(flagsOf()).toEqual([REMOTE | FOLL_WRITE]);
    expect(world.load(target, BASE + 0x20n, 2)).toEqual([1, 0]);
  });

  it('whose a breakpoint is, is asked without GUP, and by force where that fails', () => {
    const mm = target.mm as MmStruct;
    world.run(target, mmapReadLock(target, mm));
    expect(world.run(target, isTrapAtAddress(target, BASE))).toBe(0);
    expect(looks).toEqual([]);
    world.run(target, mmapReadUnlock(target, mm));
    world.protect(target, BASE, 1, PROT_NONE);
    world.run(target, mmapReadLock(target, mm));
    expect(world.run(target, isTrapAtAddress(target, BASE))).toBe(0);
    world.run(target, mmapReadUnlock(target, mm));
    expect(looks).toEqual([{ flags: FOLL_GET | FOLL_TOUCH | FOLL_FORCE, mode: 'read', argLock: false }]);
  });
});

describe('files of /proc without memory', () => {
  it.each(['mem, read', 'mem, written', 'cmdline', 'environ'])(
    '%s gives ENOMEM, and no reference is left',
    (name) => {
      const path = rowOf(name).call();
      const { frames } = world.kernel;
      const taken: number[] = [];
      while (frames.freeFrames > 0) taken.push(frames.allocate());
      expect(world.run(caller, path)).toBe(-ENOMEM);
      expect([target.mm?.mmUsers, target.mm?.mmapLock.isLocked()]).toEqual([1, false]);
      for (const frame of taken) frames.put(frame);
    },
  );
});

describe('/proc/PID/environ', () => {
  it('gives 0 for a page that cannot be read, even after pages that could', () => {
    world.map(target, 1, 1, RW);
    const strings = { argStart: BASE, argEnd: BASE + 5n, envStart: BASE + 5n, envEnd: BASE + 3n * PAGE };
    world.run(target, sysPrctlSetMmMap(target, strings));
    expect(world.run(caller, readProcEnviron(caller, target.pid, new Uint8Array(9000), 9000))).toBe(0);
    expect(world.run(caller, readProcEnviron(caller, target.pid, new Uint8Array(4096), 4096))).toBe(4096);
    expect(typeof world.run(caller, openProcEnviron(caller, target.pid))).toBe('object');
  });
});
