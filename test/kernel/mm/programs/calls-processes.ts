/** Calls about processes, and about the memory of others. */
import type { Task } from '../../../../src/base/task.ts';
import { MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysExecve } from '../../../../src/kernel/process/exec.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import { sysVfork } from '../../../../src/kernel/process/vfork.ts';
import {
  closeProcMem,
  openProcMem,
  readProcMem,
  writeProcMem,
} from '../../../../src/kernel/remote/proc-pid-mem.ts';
import { sysProcessMadvise } from '../../../../src/kernel/remote/process-madvise.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../../src/kernel/remote/process-vm.ts';
import {
  ptraceDetach,
  ptraceInterrupt,
  ptracePeekData,
  ptracePokeData,
  ptraceSeize,
} from '../../../../src/kernel/remote/ptrace.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { userStore } from '../../../../src/userland/calls/access.ts';
import { addressOf } from '../process-world.ts';
import type { Program } from './program.ts';
import { type Call, pick } from './step.ts';

const PROGRAM = { filename: '/bin/program', argv: ['program', 'x'], envp: ['A=1'] };

function* fork(world: Program, task: TaskStruct, cpu: number): Task<unknown> {
  if (!world.hasRoom) return null;
  const child = yield* sysFork(task, world.childName(), cpu);
  if (typeof child !== 'number') world.add(child);
  return child;
}

/** The child stores in the memory that is its parent's, and then has its own or goes. */
function* childOfVfork(world: Program, child: TaskStruct, page: number, exec: boolean): Task<void> {
  yield* userStore(child, addressOf(page), Uint8Array.of(1));
  if (exec && (yield* sysExecve(child, PROGRAM)) === 0) world.add(child);
  else yield* doExit(child, 0);
}

function* vfork(world: Program, task: TaskStruct, page: number, choice: number): Task<unknown> {
  if (!world.hasRoom) return null;
  const start = (child: TaskStruct): void =>
    world.loop.start(child, childOfVfork(world, child, page, choice % 2 === 0));
  return yield* sysVfork(task, world.childName(), start, choice % world.cpus);
}

function* procMem(task: TaskStruct, pid: number, page: number, write: boolean): Task<unknown> {
  const file = yield* openProcMem(task, pid);
  if (typeof file === 'number') return file;
  const move = write ? writeProcMem : readProcMem;
  const moved = yield* move(task, file, addressOf(page, 4000), new Uint8Array(300), 300n);
  yield* closeProcMem(file);
  return moved;
}

/** Of a process that does not run just now. */
function* trace(task: TaskStruct, { pid }: TaskStruct, page: number, write: boolean): Task<unknown> {
  if ((yield* ptraceSeize(task, pid)) !== 0) return null;
  yield* ptraceInterrupt(task, pid);
  const at = addressOf(page, 8);
  if (write) yield* ptracePokeData(task, pid, at, new Uint8Array(8).fill(3));
  else yield* ptracePeekData(task, pid, at, new Uint8Array(8));
  return yield* ptraceDetach(task, pid);
}

export const processCalls = {
  fork: (world, task, [, , , , , choice]) => fork(world, task, choice % world.cpus),
  vfork: (world, task, [, , page, , , choice]) => vfork(world, task, page, choice),
  *exec(_world, task) {
    return yield* sysExecve(task, PROGRAM);
  },
  *exit(world, task) {
    if (world.remove(task)) yield* doExit(task, 0);
  },
  processVm(world, task, [, , page, pages, other, choice]) {
    const { pid } = world.another(task, other);
    const length = BigInt(Math.min(pages, 3) * 4096 + 7);
    const transfer = {
      pid,
      local: [{ base: new Uint8Array(Number(length)), length }],
      localCount: 1,
      remote: [{ base: addressOf(page, 50), length }],
      remoteCount: 1,
      flags: 0,
    };
    return choice % 2 === 0 ? sysProcessVmReadv(task, transfer) : sysProcessVmWritev(task, transfer);
  },
  processMadvise(world, task, [, , page, pages, other, choice]) {
    const { pid } = world.another(task, other);
    const range = { base: addressOf(page), length: BigInt(pages) << 12n };
    const advice = pick([MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED], choice);
    return sysProcessMadvise(task, pid, [range], 1, advice, 0);
  },
  procMem: (world, task, [, , page, , other, choice]) =>
    procMem(task, world.another(task, other).pid, page, choice % 2 === 1),
  ptrace: (world, task, [, , page, , other, choice]) =>
    trace(task, world.another(task, other), page, choice % 2 === 1),
} satisfies Record<string, Call>;
