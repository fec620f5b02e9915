/**
 * RCU: a reader's section costs nothing and keeps what it can reach; whoever took something out of reach waits for a
 * grace period before it goes. A grace period is over when every section that began before it has ended; sections that
 * begin later do not count. A CPU with interrupts disabled is a reader too. When nobody reads there is nothing to wait
 * for, and a callback runs at once; else it runs in the step that ends the last section: the earliest moment that the
 * rules allow, and so the most dangerous one.
 * Entering and leaving a section is no point of its own: nobody sees it but those who wait for grace periods.
 * Left out: preemption disabled alone is not a section here (the paths that rely on a lock for it take a section, too),
 * callbacks spread over time by softirqs, expedited grace periods, SRCU, stall warnings.
 * @see Linux kernel/rcu/tree.c, `call_rcu`, `synchronize_rcu`; kernel/rcu/tree_plugin.h, `__rcu_read_lock`
 */
import type { Footprint } from '../../base/footprint.ts';
import { type Holder, PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { mightSleep, type SchedTask } from '../../sched/task.ts';

/** A CPU's interrupt gate, as far as grace periods look at it. */
export interface InterruptGate {
  readonly interruptsDisabled: number;
  onInterruptsEnabled: (() => void) | null;
}

/** A task of a kernel that has RCU. */
export interface RcuTask extends SchedTask {
  readonly kernel: { readonly rcu: Rcu };
}

/** From its beginning until the last section that it must outlast has ended. */
class GracePeriod {
  readonly #readers: Set<SchedTask>;
  readonly #cpus: Set<InterruptGate>;
  /** Of sections begun when it began: a later call may share it only while there are no more. */
  readonly sections: number;
  readonly callbacks: (() => void)[] = [];
  over = false;

  constructor(readers: Iterable<SchedTask>, cpus: Iterable<InterruptGate>, sections: number) {
    this.#readers = new Set(readers);
    this.#cpus = new Set(cpus);
    this.sections = sections;
  }

  taskLeft(task: SchedTask): void {
    this.#readers.delete(task);
  }

  cpuLeft(cpu: InterruptGate): void {
    this.#cpus.delete(cpu);
  }

  get waiting(): boolean {
    return this.#readers.size > 0 || this.#cpus.size > 0;
  }
}

/** Of one kernel. */
export class Rcu extends SharedObject {
  readonly #cpus: readonly InterruptGate[];
  /** Tasks inside a section. */
  readonly #readers: SchedTask[] = [];
  /** Sections begun so far. */
  #sections = 0;
  /** Not over yet, oldest first; an older one is over no later than a younger. */
  readonly #pending: GracePeriod[] = [];
  /**
   * A grace period ends when the schedule says so (`endOldest`), not in the step that makes it possible; then there is one
   * also where nobody reads.
   */
  endsByChoice = false;
  /** Grace periods that somebody had to wait for. */
  gracePeriods = 0;
  readonly synchronize: SchedPoint;

  readonly #footprint: Footprint | null;

  constructor(cpus: readonly InterruptGate[], footprint: Footprint | null = null) {
    super('rcu');
    this.#footprint = footprint;
    this.#cpus = cpus;
    this.synchronize = new SchedPoint(PointKind.Write, this, 'synchronize_rcu', StepCost.AtomicUpdate);
  }

  /** Callbacks that have not run. */
  get pendingCallbacks(): number {
    return this.#pending.reduce((sum, { callbacks }) => sum + callbacks.length, 0);
  }

  enter(task: SchedTask): void {
    if (this.#footprint?.enabled === true) this.#footprint.readObject(this);
    this.#readers.push(task);
    this.#sections++;
  }

  leave(task: SchedTask): void {
    if (this.#readers[this.#readers.length - 1] === task) this.#readers.pop();
    else this.#readers.splice(this.#readers.indexOf(task), 1);
    if (this.#footprint?.enabled === true) {
      if (this.#pending.length === 0) this.#footprint.readObject(this);
      else this.#footprint.writeObject(this);
    }
    if (this.#pending.length === 0) return;
    for (const period of this.#pending) period.taskLeft(task);
    this.#endPeriods();
  }

  /** A grace period that begins now, shared with others that began at the same time; null: nobody reads. */
  begin(): GracePeriod | null {
    // Sections that begin and end do not mind each other; here all of them are looked at.
    if (this.#footprint?.enabled === true) this.#footprint.writeObject(this);
    const closed = this.#cpus.filter((cpu) => cpu.interruptsDisabled > 0);
    if (this.#readers.length === 0 && closed.length === 0 && !this.endsByChoice) return null;
    const last = this.#pending.at(-1);
    if (last !== undefined && last.sections === this.#sections && closed.length === 0) return last;
    const period = new GracePeriod(this.#readers, closed, this.#sections);
    for (const cpu of closed) this.#watch(cpu);
    this.#pending.push(period);
    this.gracePeriods++;
    return period;
  }

  /** Has every section that the oldest grace period must outlast come to its end? */
  get canEnd(): boolean {
    return this.#pending[0]?.waiting === false;
  }

  /** The oldest grace period is over. */
  endOldest(): void {
    const period = this.#pending.shift();
    if (period === undefined || period.waiting) throw new Error('no grace period can end');
    period.over = true;
    for (const callback of period.callbacks) callback();
  }

  /** Everybody is gone: what still waits for the schedule's word happens. */
  endAll(): void {
    while (this.canEnd) this.endOldest();
  }

  override holders(): readonly Holder[] {
    return this.#readers.map(({ name }) => ({ name, mode: 'rcu read' }));
  }

  #watch(cpu: InterruptGate): void {
    cpu.onInterruptsEnabled = () => {
      cpu.onInterruptsEnabled = null;
      if (this.#footprint?.enabled === true) this.#footprint.writeObject(this);
      for (const period of this.#pending) period.cpuLeft(cpu);
      this.#endPeriods();
    };
  }

  #endPeriods(): void {
    if (!this.endsByChoice) this.endAll();
  }
}

/** Begins a section; they nest. It must not sleep inside. */
export function rcuReadLock(current: RcuTask): void {
  if (current.rcuReadDepth === 0) current.kernel.rcu.enter(current);
  current.rcuReadDepth++;
}

/** @throws Error when `current` is in no section */
export function rcuReadUnlock(current: RcuTask): void {
  if (current.rcuReadDepth === 0) throw new Error(`${current.name} leaves an RCU section that it is not in`);
  current.rcuReadDepth--;
  if (current.rcuReadDepth === 0) current.kernel.rcu.leave(current);
}

/** Runs `callback` after a grace period, in one step; at once when nobody reads. May be called anywhere. */
export function callRcu({ rcu }: { readonly rcu: Rcu }, callback: () => void): void {
  const period = rcu.begin();
  if (period === null) callback();
  else period.callbacks.push(callback);
}

/**
 * Waits for a grace period.
 * @throws Error inside a section, which would wait for itself, and wherever sleeping is forbidden
 */
export function* synchronizeRcu(current: RcuTask): Task<void> {
  const { rcu } = current.kernel;
  if (current.rcuReadDepth > 0) {
    throw new Error(`deadlock: ${current.name} waits in synchronize_rcu for its own RCU section`);
  }
  mightSleep(current, 'synchronize_rcu', rcu);
  yield rcu.synchronize;
  const period = rcu.begin();
  if (period === null) return;
  yield new SchedPoint(PointKind.Wait, rcu, 'synchronize_rcu', StepCost.ContextSwitch, () => period.over);
}
