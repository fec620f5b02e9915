/**
 * A semaphore that readers take without touching a line that others write, and writers hardly ever: each CPU counts its
 * own readers, and a writer sums the counts up. So a reader has no point of its own unless a writer is about.
 * Left out: the fairness of the readers' wait, the grace period a writer waits for before it sums.
 * @see Linux kernel/locking/percpu-rwsem.c
 */
import { type Holder, PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { LockMode, type SchedTask } from '../../sched/task.ts';

export class PercpuRwSemaphore extends SharedObject {
  readonly #readers: SchedTask[] = [];
  #writer: SchedTask | null = null;
  readonly #downWrite: SchedPoint;
  readonly #upWrite: SchedPoint;
  readonly #upRead: SchedPoint;
  readonly #writerGone: SchedPoint;
  readonly #readersGone: SchedPoint;

  constructor(name: string) {
    super(name);
    const write = (operation: string) =>
      new SchedPoint(PointKind.Write, this, operation, StepCost.AtomicUpdate);
    const wait = (operation: string, ready: () => boolean) =>
      new SchedPoint(PointKind.Wait, this, operation, StepCost.ContextSwitch, ready);
    this.#downWrite = write('percpu_down_write');
    this.#upWrite = write('percpu_up_write');
    this.#upRead = write('percpu_up_read');
    this.#writerGone = wait('percpu_down_read', () => this.#writer === null);
    this.#readersGone = wait('percpu_down_write', () => this.#readers.length === 0);
  }

  override holders(): readonly Holder[] {
    const readers = this.#readers.map(({ name }) => ({ name, mode: 'read' }));
    return this.#writer === null ? readers : [{ name: this.#writer.name, mode: 'write' }, ...readers];
  }

  *downRead(current: SchedTask): Task<void> {
    current.lockWatcher?.acquire(current, this, LockMode.Read, 0, 'percpu_down_read');
    while (this.#writer !== null) yield this.#writerGone;
    this.#readers.push(current);
  }

  *upRead(current: SchedTask): Task<void> {
    const at = this.#readers.indexOf(current);
    if (at < 0) throw new Error(`percpu_up_read: ${current.name} does not hold ${this.name}`);
    if (this.#writer !== null) yield this.#upRead;
    this.#readers.splice(at, 1);
    current.lockWatcher?.release(current, this);
  }

  *downWrite(current: SchedTask): Task<void> {
    current.lockWatcher?.acquire(current, this, LockMode.Write, 0, 'percpu_down_write');
    yield this.#downWrite;
    while (this.#writer !== null) yield this.#writerGone;
    // New readers are kept out from here on; those inside are waited for.
    this.#writer = current;
    while (this.#readers.length > 0) yield this.#readersGone;
  }

  /** @throws Error when `current` does not hold it for writing */
  *upWrite(current: SchedTask): Task<void> {
    yield this.#upWrite;
    if (this.#writer !== current) {
      throw new Error(`percpu_up_write: ${current.name} does not hold ${this.name} for writing`);
    }
    this.#writer = null;
    current.lockWatcher?.release(current, this);
  }
}
