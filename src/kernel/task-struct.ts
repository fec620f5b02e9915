/**
 * A process as the kernel sees it: `task_struct` with the parts of `signal_struct` that a single-threaded process
 * needs. What the CPU runs of it is `SchedTask`.
 * Left out: threads (a process has one), sessions and process groups, timers.
 */
import type { ThreadState } from '../arch/thread-state.ts';
import { PointKind, SchedPoint, SharedObject, StepCost } from '../base/task.ts';
import { SchedTask } from '../sched/task.ts';
import type { Kernel } from './kernel.ts';
import { RwSemaphore } from './lock/rwsem.ts';
import { SpinLock } from './lock/spinlock.ts';
import type { Completion } from './lock/wait-queue.ts';
import type { MmStruct } from './mm/mm.ts';
import { defaultResourceLimits, type ResourceLimits } from './mm/rlimit.ts';
import type { PendingEvent } from './mm/userfaultfd/events.ts';
import type { Credentials } from './process/credentials.ts';
import { DescriptorTable } from './process/descriptors.ts';
import { SIGCHLD, SIGKILL, type SignalInfo } from './signal.ts';

/** `task->exit_state`: running, dead but not waited for, or waited for and out of the pid table. */
export const ExitState = { Running: 0, Zombie: 1, Dead: 2 } as const;
export type ExitState = (typeof ExitState)[keyof typeof ExitState];

/** What a debugger holds over a task; `cred` is the debugger's at the time it attached (`ptracer_cred`). */
export interface PtraceLink {
  readonly tracer: TaskStruct;
  readonly tracerCredentials: Credentials;
}

/** How a task is made; `mm` null makes a kernel thread. */
export interface TaskStructInit {
  readonly kernel: Kernel;
  readonly pid: number;
  readonly name: string;
  /** Index of the CPU it starts on. */
  readonly cpu: number;
  readonly mm: MmStruct | null;
  readonly credentials: Credentials;
  readonly parent: TaskStruct | null;
}

export class TaskStruct extends SchedTask {
  readonly kernel: Kernel;
  readonly pid: number;
  /** As yield points name it: wait queues, signals, who traces it. */
  readonly object: SharedObject;
  /** `task->alloc_lock`, taken by `task_lock`: keeps `mm` while a reference to it is taken. */
  readonly allocLock: SpinLock;
  /** `task->thread`: the architecture's part of it; a new one after exec. */
  thread: ThreadState;
  /** Just before its credentials or its mm's dumpability change. */
  readonly credentialsWrite: SchedPoint;
  /** Just before a signal is queued for it. */
  readonly signalWrite: SchedPoint;
  /** Just before who traces it, or whether it is stopped, changes. */
  readonly ptraceWrite: SchedPoint;
  /** In a tracing stop: until the debugger lets go, or SIGKILL. */
  readonly ptraceResumed: SchedPoint;
  /** Just before it becomes a zombie, is reaped, or gets or loses a child. */
  readonly familyWrite: SchedPoint;
  /** `task->mm`; null for a kernel thread and once `exit_mm` has run. */
  mm: MmStruct | null;
  credentials: Credentials;
  /** `real_parent`: who forked it, or who inherited it. */
  parent: TaskStruct | null;
  get children(): Set<TaskStruct> {
    this.#children ??= new Set();
    return this.#children;
  }
  /** `task->files`: open files by number; fork copies it, exec closes some. */
  files = new DescriptorTable();
  /** Set while a debugger is attached. */
  ptrace: PtraceLink | null = null;
  /** `signal->rlim`: inherited over fork, replaced as a whole by setrlimit. */
  rlimits: ResourceLimits;
  /** A tracing stop asked for (PTRACE_INTERRUPT) and not yet reached. */
  ptraceTrapPending = false;
  /** In a tracing stop: PEEK and POKE are allowed, its own code does not run. */
  ptraceStopped = false;
  /** Tasks this one traces, in the order of attaching. */
  get tracees(): Set<TaskStruct> {
    this.#tracees ??= new Set();
    return this.#tracees;
  }
  /** Faults counted in this thread, also those it causes in another address space by remote access. */
  minFlt = 0;
  majFlt = 0;
  exitState: ExitState = ExitState.Running;
  /** As `wait4` reports it: exit code << 8, or the signal number. */
  exitStatus = 0;
  /** PF_MEMALLOC_PIN: pages it allocates for user space come from where they may be pinned for long. */
  memallocPin = false;
  /** What its call has unmapped and readers of a userfaultfd are to be told of, once mmap_lock is released. */
  readonly userfaultfdUnmaps: PendingEvent[] = [];
  /** Signals sent and not yet delivered, in order; `SIGKILL` among them is fatal at once. */
  readonly pendingSignals: SignalInfo[] = [];
  /** Who waits, after vfork, for this task to let go of the address space. */
  vforkDone: Completion | null = null;
  /** Held for write by execve while credentials and mm change, for read by `mm_access`. */
  readonly execUpdateLock: RwSemaphore;
  #fatalSignal = false;
  /** Made when asked for. */
  #children: Set<TaskStruct> | null = null;
  #tracees: Set<TaskStruct> | null = null;

  constructor(init: TaskStructInit) {
    super(init.pid, init.name, init.cpu);
    this.kernel = init.kernel;
    this.lockWatcher = init.kernel.lockWatcher;
    this.thread = init.kernel.arch.createThread(init.name, init.parent?.thread ?? null);
    this.pid = init.pid;
    const object = new SharedObject(`process ${init.pid}`);
    this.object = object;
    this.allocLock = new SpinLock(`alloc_lock ${init.pid}`);
    this.credentialsWrite = new SchedPoint(PointKind.Write, object, 'commit_creds', StepCost.AtomicUpdate);
    this.signalWrite = new SchedPoint(PointKind.Write, object, 'send_signal', StepCost.AtomicUpdate);
    this.ptraceWrite = new SchedPoint(PointKind.Write, object, 'ptrace', StepCost.AtomicUpdate);
    this.familyWrite = new SchedPoint(PointKind.Write, object, 'tasklist_lock', StepCost.AtomicUpdate);
    // Not the link: the next debugger may be there before this task has run on.
    const resumed = (): boolean => !this.ptraceStopped || this.fatalSignalPending();
    this.ptraceResumed = new SchedPoint(PointKind.Wait, object, 'ptrace_stop', StepCost.None, resumed);
    this.mm = init.mm;
    this.credentials = init.credentials;
    this.parent = init.parent;
    this.rlimits = init.parent?.rlimits ?? defaultResourceLimits;
    this.execUpdateLock = new RwSemaphore(`exec_update_lock ${init.pid}`);
  }

  /** Real, effective user id: shorthand for what reports print. */
  get uid(): number {
    return this.credentials.uid;
  }
  get euid(): number {
    return this.credentials.euid;
  }

  /** `capable`: is the capability in the effective set? */
  capable(capability: number): boolean {
    return this.credentials.capEffective.has(capability);
  }

  /**
   * Queues a signal. SIGKILL makes every killable wait end and every retry loop stop.
   * @see Linux kernel/signal.c, `send_signal_locked` and `complete_signal`
   */
  sendSignal(info: SignalInfo): void {
    const { footprint } = this.kernel.machine;
    if (footprint.enabled) footprint.writeObject(this.object);
    // Ignored by default, and a signal that is ignored is not queued (`sig_ignored`); whoever waits sees the child.
    if (info.signal === SIGCHLD) return;
    this.pendingSignals.push(info);
    if (info.signal === SIGKILL) this.#fatalSignal = true;
  }

  /** @see Linux include/linux/sched/signal.h, `fatal_signal_pending` */
  override fatalSignalPending(): boolean {
    this.#lookedAt();
    return this.#fatalSignal;
  }

  /** Any signal pending, fatal or not. */
  override signalPending(): boolean {
    this.#lookedAt();
    return this.pendingSignals.length > 0;
  }

  /** Would SIGKILL end this wait, which is not over? */
  endedByKill(ready: () => boolean): boolean {
    if (this.#fatalSignal || ready()) return false;
    this.#fatalSignal = true;
    const ends = ready();
    this.#fatalSignal = false;
    return ends;
  }

  /** A wait that a signal ends depends on it. */
  #lookedAt(): void {
    const { footprint } = this.kernel.machine;
    if (footprint.enabled) footprint.readObject(this.object);
  }

  /** Takes the signal that has been pending longest, to deliver it; null when there is none. */
  dequeueSignal(): SignalInfo | null {
    const { footprint } = this.kernel.machine;
    if (footprint.enabled) footprint.writeObject(this.object);
    return this.pendingSignals.shift() ?? null;
  }
}
