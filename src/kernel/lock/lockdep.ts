/**
 * Looks at the order in which tasks take locks and tells of orders that could deadlock, whether or not they did: a lock
 * class taken against the documented order; classes taken in a circle, however many tasks and however much time lie
 * between; a class taken twice; waiting for mmap_lock while holding a VMA's lock; and spinlocks that an interrupt handler
 * takes as well as somebody whom that handler may interrupt; and spinlocks held while waiting for other CPUs to take an
 * interrupt, as a flush of TLBs does, which another CPU may spin for with interrupts disabled. Each is told once, with what both sides held.
 * An attempt that does not wait cannot deadlock, but what is waited for while holding its lock can.
 * Linux's lockdep does not know the last one: it only warns of waiting for other CPUs with interrupts disabled oneself.
 * Left out: read recursion rules of other lock kinds, wait contexts, softirqs, cross-release, deadlocks by completions.
 * @see Linux kernel/locking/lockdep.c, `check_prev_add`, `check_deadlock`, `check_irq_usage`, `mark_lock`; kernel/smp.c, `csd_lock_wait`
 */
import type { SharedObject } from '../../base/task.ts';
import { FrameKind, LockMode, type LockWatcher, type SchedTask } from '../../sched/task.ts';
import { classOf, isRankOnly, MMAP_LOCK_CLASS, rankOf, VMA_LOCK_CLASS } from './lock-classes.ts';
import { type ClassUsage, LockGraph } from './lock-graph.ts';

/** What is wrong with an order. */
export type LockProblem =
  | 'order'
  | 'circle'
  | 'recursion'
  | 'mmap_lock under a VMA lock'
  | 'interrupt'
  | 'call of other CPUs';

/** What one task held when it took, or was about to take, a lock. */
export interface LockStack {
  readonly task: string;
  readonly cpu: number;
  /** Outermost first: operation and lock; the last is the one that was being taken. */
  readonly locks: readonly string[];
}

export interface LockdepReport {
  readonly problem: LockProblem;
  readonly summary: string;
  /** The task that was found out first, then those that took the same locks the other way round. */
  readonly stacks: readonly LockStack[];
}

/** What a lock's name says. */
interface NamedClass {
  readonly lockClass: string;
  readonly number: number;
}

interface HeldLock {
  readonly lock: SharedObject;
  /** Class and subclass. */
  readonly key: string;
  readonly lockClass: string;
  /** Tells class, subclass and mode apart from all others. */
  variant: number;
  rank: number | null;
  mode: LockMode;
  readonly operation: string;
  /** How many interrupt handlers deep: what a handler takes does not nest in what it interrupted. */
  readonly depth: number;
}

/** Subclasses, and modes, that a variant has room for. */
const SUBCLASSES = 8;
const MODES = 4;
const VARIANTS = 2 ** 20;

const keyOf = (lockClass: string, subclass: number): string =>
  subclass === 0 ? lockClass : `${lockClass}/${subclass}`;

/** A CPU, as far as lockdep listens to it. */
export interface WaitingCpu {
  readonly id: number;
  onWaitForOthers: (() => void) | null;
}

export class Lockdep implements LockWatcher {
  reports: LockdepReport[] = [];
  /** Told of each report as it is made. */
  onReport: ((report: LockdepReport) => void) | null = null;
  #held = new Map<SchedTask, HeldLock[]>();
  readonly #graph = new LockGraph<LockStack>();
  readonly #told = new Set<string>();
  /** By the name of a lock. */
  readonly #classes = new Map<string, NamedClass>();
  readonly #numbers = new Map<string, number>();
  /** Pairs of variants, and ways to use one, that have been looked at: what is no news takes no time. */
  readonly #nested = new Set<number>();
  readonly #used = new Set<number>();

  /** @param cpus those that tell of waiting for each other */
  constructor(cpus: readonly WaitingCpu[] = []) {
    this.#listen(cpus);
  }

  /** Forgets all that it has heard: for another run. @param cpus that one's */
  restart(cpus: readonly WaitingCpu[]): void {
    this.reports = [];
    this.#held = new Map();
    this.#graph.clear();
    this.#told.clear();
    this.#nested.clear();
    this.#used.clear();
    this.#listen(cpus);
  }

  #listen(cpus: readonly WaitingCpu[]): void {
    for (const cpu of cpus) cpu.onWaitForOthers = () => this.waitsForOthers(cpu.id);
  }

  /** The locks that a task holds or waits for, outermost first, by name. */
  heldBy(task: SchedTask): readonly string[] {
    return (this.#held.get(task) ?? []).map(({ lock }) => lock.name);
  }

  /** The task that runs on this CPU sent others an interrupt, and is about to wait until they have taken it. */
  waitsForOthers(cpu: number): void {
    for (const [task, held] of this.#held) {
      // Who holds a spinlock is not preempted: of the tasks of a CPU, that is the one that runs.
      if (task.cpu !== cpu || !held.some(({ mode }) => mode === LockMode.Spin)) continue;
      const { locks, ...at } = this.#stack(task, held);
      const stack = { ...at, locks: [...locks, 'csd_lock_wait for other CPUs'] };
      for (const { key, mode } of held) {
        if (mode === LockMode.Spin) this.#graph.noteCall(key, stack);
      }
      this.#checkInterrupts(task);
    }
  }

  acquire(task: SchedTask, lock: SharedObject, mode: LockMode, subclass: number, operation: string): void {
    const taken = this.#entry(task, lock, mode, subclass, operation);
    const held = this.#heldOf(task);
    held.push(taken);
    this.#noteUsage(task, taken, held, true);
    for (const outer of held) {
      if (outer === taken || outer.depth !== taken.depth) continue;
      const pair = outer.variant * VARIANTS + taken.variant;
      if (this.#nested.has(pair)) continue;
      this.#nested.add(pair);
      this.#nest(task, outer, taken, this.#stack(task, held));
    }
    this.#checkInterrupts(task);
  }

  acquired(task: SchedTask, lock: SharedObject, mode: LockMode, operation: string): void {
    const taken = this.#entry(task, lock, mode, 0, operation);
    const held = this.#heldOf(task);
    held.push(taken);
    this.#noteUsage(task, taken, held, false);
    this.#checkInterrupts(task);
  }

  release(task: SchedTask, lock: SharedObject): void {
    const held = this.#heldOf(task);
    let at = held.length - 1;
    while (at >= 0 && held[at]?.lock !== lock) at--;
    if (at === held.length - 1) held.pop();
    else if (at >= 0) held.splice(at, 1);
  }

  downgrade(task: SchedTask, lock: SharedObject): void {
    const entry = this.#heldOf(task).findLast((one) => one.lock === lock);
    if (entry === undefined) return;
    entry.variant += LockMode.Read - entry.mode;
    entry.mode = LockMode.Read;
  }

  #heldOf(task: SchedTask): HeldLock[] {
    let held = this.#held.get(task);
    if (held === undefined) {
      held = [];
      this.#held.set(task, held);
    }
    return held;
  }

  #entry(task: SchedTask, lock: SharedObject, mode: LockMode, subclass: number, operation: string): HeldLock {
    const { lockClass, number } = this.#classOf(lock.name);
    let depth = 0;
    for (const { kind } of task.frames) if (kind === FrameKind.Interrupt) depth++;
    const rank = rankOf(lockClass, mode === LockMode.Write);
    const variant = (number * SUBCLASSES + subclass) * MODES + mode;
    return { lock, key: keyOf(lockClass, subclass), lockClass, variant, rank, mode, operation, depth };
  }

  #classOf(name: string): NamedClass {
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const lockClass = classOf(name);
    const number = this.#numbers.get(lockClass) ?? this.#numbers.size;
    this.#numbers.set(lockClass, number);
    const named = { lockClass, number };
    this.#classes.set(name, named);
    return named;
  }

  /** `taken` is waited for while `outer` is held. */
  #nest(task: SchedTask, outer: HeldLock, taken: HeldLock, stack: LockStack): void {
    if (isRankOnly(taken.lockClass) || isRankOnly(outer.lockClass)) {
      this.#checkRank(task, outer, taken, [stack]);
      return;
    }
    if (outer.key === taken.key) {
      const summary = `${task.name} takes ${taken.lock.name} while it holds ${outer.lock.name}, of the same class`;
      this.#tell(task, 'recursion', taken.key, summary, [stack]);
      return;
    }
    const other = this.#graph.path(taken.key, outer.key);
    if (outer.lockClass === VMA_LOCK_CLASS && outer.mode === LockMode.Read) {
      if (taken.lockClass === MMAP_LOCK_CLASS) {
        const summary = `${task.name} waits for ${taken.lock.name} while it holds the lock of ${outer.lock.name}: a writer of mmap_lock may wait for that`;
        this.#tell(task, 'mmap_lock under a VMA lock', '', summary, [stack, ...other]);
      }
    } else if (!this.#checkRank(task, outer, taken, [stack, ...other]) && other.length > 0) {
      const summary = `${task.name} takes ${taken.lock.name} inside ${outer.lock.name}; elsewhere ${outer.key} is taken inside ${taken.key}`;
      this.#tell(task, 'circle', `${outer.key} ${taken.key}`, summary, [stack, ...other]);
    }
    this.#graph.addEdge(outer.key, taken.key, stack);
  }

  /** Tells of a lock that is waited for inside one which belongs inside it; true if so. */
  #checkRank(task: SchedTask, outer: HeldLock, taken: HeldLock, stacks: readonly LockStack[]): boolean {
    if (outer.rank === null || taken.rank === null || taken.rank >= outer.rank) return false;
    const summary = `${task.name} takes ${taken.lock.name} inside ${outer.lock.name}; ${taken.key} belongs outside ${outer.key}`;
    this.#tell(task, 'order', `${outer.key} ${taken.key}`, summary, stacks);
    return true;
  }

  /** @param waits not just tried */
  #noteUsage(task: SchedTask, taken: HeldLock, held: readonly HeldLock[], waits: boolean): void {
    if (taken.mode !== LockMode.Spin) return;
    const enabled = (task.processor?.interruptsDisabled ?? 0) === 0;
    const inHandler = taken.depth > 0;
    const disabled = waits && !enabled;
    const use = taken.variant * 8 + (enabled ? 4 : 0) + (inHandler ? 2 : 0) + (disabled ? 1 : 0);
    if (this.#used.has(use)) return;
    this.#used.add(use);
    this.#graph.noteUsage(taken.key, inHandler, enabled, disabled, this.#stack(task, held));
  }

  /** A handler may spin for ever on a lock whose holder it has interrupted, or on one that such a holder waits for. */
  #checkInterrupts(task: SchedTask): void {
    if (!this.#graph.changed()) return;
    for (const { safe, unsafe } of this.#graph.interruptInversions()) {
      const summary = interruptSummary(safe, unsafe);
      const stacks = [safe.inHandler, unsafe.enabled].filter((stack) => stack !== null);
      this.#tell(task, 'interrupt', `${safe.key} ${unsafe.key}`, summary, stacks);
    }
    for (const { spinner, caller } of this.#graph.callInversions()) {
      const stacks = [spinner.disabled, caller.overCall].filter((stack) => stack !== null);
      this.#tell(
        task,
        'call of other CPUs',
        `${spinner.key} ${caller.key}`,
        callSummary(spinner, caller),
        stacks,
      );
    }
  }

  #stack(task: SchedTask, held: readonly HeldLock[]): LockStack {
    const locks = held.map(({ operation, lock }) => `${operation} ${lock.name}`);
    return { task: task.name, cpu: task.cpu, locks };
  }

  #tell(
    task: SchedTask,
    problem: LockProblem,
    what: string,
    summary: string,
    stacks: readonly LockStack[],
  ): void {
    const told = `${problem} ${what}`;
    if (this.#told.has(told)) return;
    this.#told.add(told);
    const report = { problem, summary, stacks };
    this.reports.push(report);
    this.onReport?.(report);
    const events = task.machine?.events;
    if (events === undefined || !events.enabled) return;
    const time = task.processor?.time ?? 0;
    const text = describeLockdepReport(report);
    events.emit({ kind: 'lockdep', time, cpu: task.cpu, task: task.name, text });
  }
}

function interruptSummary(safe: ClassUsage<LockStack>, unsafe: ClassUsage<LockStack>): string {
  if (safe.key === unsafe.key) {
    return `${safe.key} is taken in an interrupt handler, and elsewhere with interrupts enabled`;
  }
  return `${safe.key}, which an interrupt handler takes, is held while waiting for ${unsafe.key}, which is taken with interrupts enabled`;
}

function callSummary(spinner: ClassUsage<LockStack>, caller: ClassUsage<LockStack>): string {
  const held = `${caller.key} is held while waiting for other CPUs to take an interrupt`;
  if (spinner.key === caller.key) return `${held}, and elsewhere is waited for with interrupts disabled`;
  return `${held}; ${spinner.key}, which is held while waiting for it, is waited for with interrupts disabled`;
}

/** Several lines for people. */
export function describeLockdepReport({ problem, summary, stacks }: LockdepReport): string {
  const lines = [`possible deadlock (${problem}): ${summary}`];
  for (const { task, cpu, locks } of stacks) {
    lines.push(`  ${task} on cpu ${cpu}:`);
    for (const [index, lock] of locks.entries()) lines.push(`    ${'  '.repeat(index)}${lock}`);
  }
  return lines.join('\n');
}
