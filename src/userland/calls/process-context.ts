/**
 * What stands between a program and the kernel: entering and leaving it, signals on the way back to user mode, the end
 * of the process. One context for each process of a run.
 */
import { InputError } from '../../base/input-error.ts';
import { atomically, PointKind, SchedPoint, StepCost, type Task } from '../../base/task.ts';
import { ERESTARTNOINTR, errnoName } from '../../kernel/errno.ts';
import { doExit } from '../../kernel/process/exit.ts';
import {
  enterSystemCall,
  exitToUserMode,
  signalAddress,
  takeTagFault,
} from '../../kernel/process/user-mode.ts';
import { ptraceStopPoint } from '../../kernel/remote/ptrace.ts';
import { SIGKILL, type SignalInfo } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Failure, formatOutcome, type Outcome, type SignalFailure, success } from '../outcome.ts';
import type { Program } from '../scenario.ts';
import type { System } from '../system.ts';
import { signalCodeName, signalName } from './signal-names.ts';

/** What a process asks of the run it belongs to. */
export interface ProcessRun {
  readonly system: System;
  /** The process whose program runs now. */
  readonly active: ProcessContext | null;
  /** @throws InputError when no process has that name */
  pidOf(name: string): number;
  /** Lets a forked task run a program under a name. */
  adopt(task: TaskStruct, program: Program): void;
  /** The CPU that the scenario places a process of this name on. */
  cpuFor(name: string): number | undefined;
  /** A name for a child that is not taken yet. */
  childName(parent: string, wanted: string | undefined): string;
}

/** A child's program that uses its parent's `u`, say, would let the parent act while it sleeps. */
function notOwn(call: string, { task }: ProcessContext, active: ProcessContext | null): string {
  return `${call} is a call of ${task.name}, and ${active?.task.name ?? 'nobody'} runs: each program has a u of its own`;
}

/** A program found that something does not hold: the run ends as `assertion failed`. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}

/**
 * A call that a program has made. It begins when the program's `yield*` takes it up, which from then on resumes the call
 * itself: a program's calls are resumed at every step of a run, and a generator around each would cost as much as the step.
 */
class Call<T> implements Task<T> {
  readonly name: string;
  begun = false;
  readonly #context: ProcessContext;
  readonly #task: Task<T>;
  /** Every other call that was made must have begun before this one. */
  readonly #isLast: boolean;

  constructor(context: ProcessContext, name: string, task: Task<T>, isLast: boolean) {
    this.#context = context;
    this.name = name;
    this.#task = task;
    this.#isLast = isLast;
  }

  [Symbol.iterator](): Task<T> {
    this.#begin();
    return this.#task;
  }

  next(): IteratorResult<SchedPoint, T> {
    if (!this.begun) this.#begin();
    return this.#task.next();
  }

  return(value: T): IteratorResult<SchedPoint, T> {
    return this.#task.return(value);
  }

  throw(error: unknown): IteratorResult<SchedPoint, T> {
    return this.#task.throw(error);
  }

  get [Symbol.toStringTag](): string {
    return 'Call';
  }

  #begin(): void {
    this.begun = true;
    const { active } = this.#context.run;
    if (active !== this.#context) throw new InputError(notOwn(this.name, this.#context, active));
    if (this.#isLast) this.#context.checkAllRun(`before ${this.name}`);
  }
}

export class ProcessContext {
  readonly task: TaskStruct;
  readonly run: ProcessRun;
  /** Depth of `User.attempt`. */
  attempts = 0;
  /** Signals that come back as values wherever they are raised, and those whose address keeps its tag bits. */
  #returnedSignals: readonly string[] = [];
  #exposedSignals: readonly string[] = [];
  /** The process is gone: its program is not resumed. */
  dead = false;
  /** `dead`, and nothing of it runs any more. */
  ended = false;
  /** Its program has ended, and it still has its memory. */
  lingers = false;
  /** Its program has come to its end, and returned `value`. */
  returned = false;
  value: unknown = undefined;
  /** Inside a call: what is thrown now is not the program's mistake. */
  calls = 0;
  /** execve has succeeded: the program that runs in place of the one that made the call. */
  executes: Program | null = null;
  /** The signal that killed it, for the result. */
  killedBy: SignalFailure | null = null;
  readonly enterPoint: SchedPoint;
  /** Just before an instruction of the program touches memory. */
  readonly accessPoint: SchedPoint;

  constructor(task: TaskStruct, run: ProcessRun) {
    this.task = task;
    this.run = run;
    this.enterPoint = new SchedPoint(PointKind.Read, task.object, 'syscall', StepCost.KernelEntry);
    this.accessPoint = new SchedPoint(PointKind.Write, task.object, 'user access', StepCost.None);
  }

  /** Calls that the program has made since all that were made had begun. */
  readonly #made: Call<unknown>[] = [];

  pidOf(name: string): number {
    return this.run.pidOf(name);
  }

  /** exec: no signal comes back as a value any more. */
  forgetHandlers(): void {
    this.attempts = 0;
    this.#returnedSignals = [];
    this.#exposedSignals = [];
  }

  /** Another program begins in this process; what the one before was about to do is forgotten. */
  begin(): void {
    this.forgetHandlers();
    this.executes = null;
    this.calls = 0;
    this.#made.length = 0;
  }

  /** A call of the program: when it begins, every other one that was made must have begun. */
  made<T>(name: string, call: Task<T>): Task<T> {
    return this.#tracked(name, call, true);
  }

  /** A call around another one, which begins after it. */
  madeAround<T>(name: string, call: Task<T>): Task<T> {
    return this.#tracked(name, call, false);
  }

  #tracked<T>(name: string, call: Task<T>, isLast: boolean): Task<T> {
    const made = new Call(this, name, call, isLast);
    this.#made.push(made);
    return made;
  }

  /** @throws InputError for a call that was made and not run: a generator does nothing by itself */
  checkAllRun(when: string): void {
    for (let at = 0; at < this.#made.length; at++) {
      const { begun, name } = this.#made[at] as Call<unknown>;
      if (!begun) throw new InputError(`${name} was made and not run ${when}: is its yield* missing?`);
    }
    this.#made.length = 0;
  }

  /** A task like every call, though it never gets to a point. */
  fail(text: string): Task<never> {
    return atomically(() => {
      throw new AssertionFailure(text);
    });
  }

  /** `User.sigaction`. */
  handleSignal(name: string, returned: boolean, exposed: boolean): void {
    this.#returnedSignals = withOrWithout(this.#returnedSignals, name, returned);
    this.#exposedSignals = withOrWithout(this.#exposedSignals, name, exposed);
  }

  /** Does a signal come back as a value instead of killing the process? */
  returnsSignal(name: string): boolean {
    return this.attempts > 0 || this.#returnedSignals.includes(name);
  }

  exposesTagBits(name: string): boolean {
    return this.#exposedSignals.includes(name);
  }
}

function withOrWithout(names: readonly string[], name: string, has: boolean): readonly string[] {
  const others = names.filter((other) => other !== name);
  return has ? [...others, name] : others;
}

/**
 * A system call: the way in, the call, what it gives as an outcome, the way out. It is not made where a signal comes
 * first: of a tag check that had failed before. What handles that signal jumps out, so it is not restarted either.
 * @param toOutcome turns the kernel's answer into an outcome
 */
export function* systemCall<Raw, T>(
  context: ProcessContext,
  name: string,
  args: readonly string[],
  body: Task<Raw>,
  toOutcome: (raw: Raw) => Outcome<T>,
): Task<Outcome<T>> {
  const { task } = context;
  context.calls++;
  yield context.enterPoint;
  const first = takeTagFault(task);
  let outcome: Outcome<T>;
  if (first !== null) outcome = yield* raise(context, first);
  else {
    emitEnter(context, name, args);
    const fault = enterSystemCall(task);
    outcome = fault === null ? toOutcome(yield* body) : errnoFailure(-ERESTARTNOINTR);
    emitExit(context, name, outcome);
    exitToUserMode(task);
    if (fault !== null) outcome = yield* raise(context, fault);
  }
  if (task.fatalSignalPending() || task.ptraceTrapPending) yield* returnToUser(context);
  if (!context.dead) context.calls--;
  else yield task.startPoint;
  return outcome;
}

/** A signal that an interrupt has left for the program, before its next instruction: null when there is none. */
export function* raiseTagFault(context: ProcessContext): Task<SignalFailure | null> {
  const fault = takeTagFault(context.task);
  return fault === null ? null : yield* raise(context, fault);
}

/**
 * exit(2), from the program's side.
 * @param status as wait4 reports it
 * @returns null when the process has ended, by itself or by a signal that came before the call; else that signal, which
 *   the program handles: the call is not made
 */
export function* exitCall(context: ProcessContext, status: number): Task<SignalFailure | null> {
  const { task } = context;
  const fault = takeTagFault(task) ?? enterSystemCall(task);
  if (fault === null) yield* die(context, status);
  if (fault === null) return null;
  exitToUserMode(task);
  const failure = yield* raise(context, fault);
  return context.dead ? null : failure;
}

/** Outcome of a call that returns 0 or more, or -errno. */
export function countOrErrno(result: number): Outcome<number> {
  return result < 0 ? errnoFailure(result) : success(result);
}

/** Outcome of a call that returns 0 or -errno. */
export function doneOrErrno(result: number): Outcome<void> {
  return result < 0 ? errnoFailure(result) : success(undefined);
}

/** Outcome of a call that returns an address or -errno. */
export function addressOrErrno(result: bigint): Outcome<bigint> {
  return result < 0n ? errnoFailure(Number(result)) : success(result);
}

export function errnoFailure(result: number): Failure {
  return { ok: false, errno: errnoName(result), number: Math.abs(result) };
}

/**
 * The way back to user mode: a fatal signal ends the process, a debugger's stop holds it here.
 * @see Linux kernel/entry/common.c, `exit_to_user_mode_loop`
 */
export function* returnToUser(context: ProcessContext): Task<void> {
  const { task } = context;
  while (!context.dead && (task.fatalSignalPending() || task.ptraceTrapPending)) {
    if (task.fatalSignalPending()) yield* die(context, SIGKILL);
    else yield* ptraceStopPoint(task);
  }
}

/** Ends the process. The caller's next `yield` is its last: nothing resumes it. @param status as wait4 reports it */
function* die(context: ProcessContext, status: number): Task<void> {
  yield* doExit(context.task, status);
  context.dead = true;
}

/**
 * A signal that an access raised: a value where the program wants it so, else the end of the process. Where it dies,
 * the value never arrives.
 */
export function* raise(context: ProcessContext, info: SignalInfo): Task<SignalFailure> {
  const { task } = context;
  const failure: SignalFailure = {
    ok: false,
    signal: signalName(info.signal),
    code: signalCodeName(info.signal, info.code),
    address: signalAddress(task, info, context.exposesTagBits(signalName(info.signal))),
  };
  const { events } = context.run.system.machine;
  if (events.enabled) {
    const { signal, code, address } = failure;
    events.emit({ kind: 'signal', ...placeOf(context), task: task.name, signal, code, address });
  }
  if (context.returnsSignal(failure.signal)) return failure;
  context.killedBy = failure;
  yield* die(context, info.signal);
  return failure;
}

/** Time and CPU of an event that this process causes. */
export function placeOf({ task, run }: ProcessContext): { readonly time: number; readonly cpu: number } {
  return { time: run.system.machine.cpu(task.cpu).time, cpu: task.cpu };
}

function emitEnter(context: ProcessContext, name: string, args: readonly string[]): void {
  const { events } = context.run.system.machine;
  if (events.enabled) {
    events.emit({ kind: 'syscall-enter', ...placeOf(context), task: context.task.name, name, args });
  }
}

function emitExit(context: ProcessContext, name: string, outcome: Outcome<unknown>): void {
  const { events } = context.run.system.machine;
  if (!events.enabled) return;
  const result = formatOutcome(outcome);
  events.emit({ kind: 'syscall-exit', ...placeOf(context), task: context.task.name, name, result });
}
