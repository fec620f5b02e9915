/**
 * The emulated machine that a trace is replayed on: one CPU, the processes 1…8 of the trace, and the supervisor that
 * is process 0. Around the arena lies what the recorder put there: nothing below it, and above it private anonymous
 * memory without access, which takes every place that mmap without an address could choose.
 */

import { InputError } from '../../base/input-error.ts';
import type { Task } from '../../base/task.ts';
import type { EventSink } from '../../hardware/event-sink.ts';
import type { MappedFile } from '../../kernel/mm/mapped-file.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE } from '../../kernel/mm/mman.ts';
import { sysMmap } from '../../kernel/mm/mmap.ts';
import type { UserfaultfdContext } from '../../kernel/mm/userfaultfd/context.ts';
import { CAP_SYS_RESOURCE, rootCredentials } from '../../kernel/process/credentials.ts';
import { enterFromUserMode, exitToUserMode } from '../../kernel/process/user-mode.ts';
import type { DesignName } from '../../kernel/remote/design-names.ts';
import type { ProcMemFile } from '../../kernel/remote/proc-pid-mem.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { createSystem, type System, type SystemArchitecture } from '../../userland/system.ts';
import { kernelOfTrace, processorOfTrace } from './architecture.ts';
import { explainAccess } from './explain.ts';
import type { OperationResult } from './ops/operation.ts';
import { PendingCalls } from './pending-calls.ts';
import { processState } from './state.ts';
import type { ProcessState, Step, StepResult, Trace } from './trace.ts';

export interface ReplayOptions {
  readonly architecture: SystemArchitecture;
  /** What a TLB may keep. A correct kernel gives the same results whatever it is; default `profile`. */
  readonly retention?: 'profile' | 'adversarial' | 'none';
  /** How remote accesses lock; default `v0`, today's code. */
  readonly design?: DesignName;
  /** Takes what the machine does: faults, walks, TLB fills and flushes. Default: nobody does. */
  readonly events?: EventSink;
  /** Told after each step that came out as recorded, and before the comparison of one that did not. */
  readonly onStep?: (step: Step, result: StepResult) => void;
}

const SUPERVISOR = 0;
/** A stack of 8 MiB and a guard gap stay free at the top, as in the recorder's processes. */
const STACK_PAGES = 0x1000;
const MEMORY_BYTES = 0x4000_0000;

export class ReplayWorld {
  readonly system: System;
  /** /proc/PID/mem as `sup_memopen` opened it, by the process it belongs to. */
  readonly handles = new Map<number, ProcMemFile>();
  /** Open files by the process of the trace and the name that the trace gives the descriptor. */
  readonly files = new Map<number, Map<string, MappedFile>>();
  /** The userfaultfd that each process opened, by its number. */
  readonly userfaultfds = new Map<number, UserfaultfdContext>();
  /** Calls that wait for user space. */
  readonly calls: PendingCalls;
  readonly #trace: Trace;
  readonly #tasks = new Map<number, TaskStruct>();
  readonly #firstPage: number;
  readonly #endPage: number;

  constructor(trace: Trace, options: ReplayOptions) {
    this.#trace = trace;
    this.#firstPage = Number(trace.arena >> 12n);
    this.#endPage = Number((trace.arena + trace.arenaSize) >> 12n);
    const { architecture, retention, design, events } = options;
    this.system = createSystem({
      architecture,
      ...processorOfTrace(trace),
      cpus: 1,
      memoryBytes: MEMORY_BYTES,
      kernel: kernelOfTrace(trace),
      ...(retention === undefined ? {} : { retention }),
      ...(design === undefined ? {} : { design }),
      ...(events === undefined ? {} : { events }),
    });
    this.calls = new PendingCalls(this.system.loop);
    const credentials = rootCredentials(trace.arch === 'x86_64' ? [CAP_SYS_RESOURCE] : []);
    const supervisor = this.system.createProcess('supervisor', 0, credentials);
    this.#tasks.set(SUPERVISOR, supervisor);
    const first = this.system.createProcess('process 1', 0, credentials);
    first.parent = supervisor;
    supervisor.children.add(first);
    this.#tasks.set(1, first);
    this.#fillAbove(first);
    setArguments(first);
  }

  /** The process with this number in the trace, 0 for the supervisor. @throws InputError when it never existed */
  actor(number: number): TaskStruct {
    const task = this.#tasks.get(number);
    if (task !== undefined) return task;
    throw new InputError(`process ${number} does not exist`, {
      file: this.#trace.file,
      line: this.#trace.line,
    });
  }

  /** The kernel's pid of a process of the trace. */
  pidOf(number: number): number {
    return this.actor(number).pid;
  }

  /** A fork of `parent` made a process that the trace calls `number`; it has the parent's descriptors. */
  adopt(number: number, task: TaskStruct, parent: number): void {
    this.#tasks.set(number, task);
    this.files.set(number, new Map(this.files.get(parent)));
  }

  /**
   * A system call of a process that may have to wait for user space (userfaultfd): its result, or that it is blocked, the
   * result being for a later `collect`.
   * @param answer the step's result, from what the call returned and the minor faults that it counted
   */
  call<T>(
    step: Step,
    task: TaskStruct,
    body: Task<T>,
    answer: (result: T, minflt: number) => OperationResult,
  ): OperationResult {
    return this.calls.run(step.op, task, systemCall(task, body), answer);
  }

  /** Runs a system call of a process to its end. */
  run<T>(task: TaskStruct, body: Task<T>): T {
    return this.system.loop.complete(task, systemCall(task, body));
  }

  /** The same, with the minor faults that it counted for the process. */
  counted<T>(task: TaskStruct, body: Task<T>): { readonly result: T; readonly minflt: number } {
    return this.countedInUserMode(task, systemCall(task, body));
  }

  /** The same of instructions of the process' own. */
  countedInUserMode<T>(task: TaskStruct, body: Task<T>): { readonly result: T; readonly minflt: number } {
    const before = task.minFlt;
    const result = this.system.loop.complete(task, body);
    return { result, minflt: task.minFlt - before };
  }

  /** An address as the trace writes it: where exactly outside the arena it lies depends on what else is mapped. */
  place(address: bigint): string {
    const { arena, arenaSize } = this.#trace;
    return address >= arena && address < arena + arenaSize ? `0x${address.toString(16)}` : 'outside';
  }

  /** What a trace tells of a process; `null` when it is dead or there never was one. */
  stateOf(number: number): ProcessState {
    const task = this.#tasks.get(number);
    return task === undefined ? null : processState(task, this.#firstPage, this.#endPage);
  }

  inputError(step: Step, message: string): InputError {
    const { file, line } = this.#trace;
    return new InputError(`step ${step.index}: ${step.op}: ${message}`, { file, line });
  }

  /** The walk that the access of a step makes now, as notes. */
  explainAccess(task: TaskStruct, step: Step): readonly string[] {
    if (task.mm === null) return [];
    const kind = step.op === 'exec' ? 'fetch' : step.op === 'write' ? 'write' : 'read';
    return explainAccess(this.system, task, step.args.word('addr'), kind);
  }

  #fillAbove(task: TaskStruct): void {
    const { mm } = task;
    if (mm === null) throw new Error('a process of a replay has an address space');
    const start = BigInt(this.#endPage) << 12n;
    const length = (BigInt(windowPages(mm) - STACK_PAGES) << 12n) - start;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    const result = this.run(task, sysMmap(task, start, length, PROT_NONE, flags, null, 0n));
    if (result !== start) throw new Error(`the memory above the arena could not be mapped: ${result}`);
    mm.mmapBasePage = this.#endPage;
  }
}

/** Where the stack and everything that asks for no address lie: below this page. */
const windowPages = (mm: MmStruct): number => Math.min(mm.taskSizePages, mm.kernel.arch.mapWindowPages);

/** Where execve puts the argument and environment strings: at the top of the stack, outside the arena. */
function setArguments({ mm }: TaskStruct): void {
  if (mm === null) return;
  const top = BigInt(windowPages(mm)) << 12n;
  mm.startStack = top - 0x2000n;
  mm.argStart = top - 0x1000n;
  mm.argEnd = top - 0xf00n;
  mm.envStart = mm.argEnd;
  mm.envEnd = top - 0x100n;
}

function* systemCall<T>(task: TaskStruct, body: Task<T>): Task<T> {
  enterFromUserMode(task);
  const result = yield* body;
  // Every access of a trace is followed by a system call of the recorder's, which takes a late fault: none is left.
  exitToUserMode(task);
  return result;
}
