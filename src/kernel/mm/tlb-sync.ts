/**
 * Waiting until no CPU is in a lockless walk of page tables: an interrupt to every other CPU, which each takes only with
 * interrupts on. That is no RCU grace period: a reader that has interrupts on is not waited for.
 * Whoever walks another process' tables need not be among the CPUs that a TLB flush of it reaches, so the flush alone does
 * not do.
 * @see Linux mm/mmu_gather.c, `tlb_remove_table_sync_one`; kernel/smp.c, `smp_call_function`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { preemptDisable, preemptEnable } from '../lock/irq.ts';
import type { TaskStruct } from '../task-struct.ts';

/** Answers that are still missing. */
class SyncCall extends SharedObject {
  outstanding = 0;
  readonly send: SchedPoint;
  readonly answer: SchedPoint;
  readonly wait: SchedPoint;

  constructor() {
    super('call function data');
    this.send = new SchedPoint(PointKind.Write, this, 'send_call_function_ipi', StepCost.InterruptSend);
    this.answer = new SchedPoint(PointKind.Write, this, 'tlb_remove_table_smp_sync', StepCost.AtomicUpdate);
    const answered = () => this.outstanding === 0;
    this.wait = new SchedPoint(PointKind.Wait, this, 'csd_lock_wait', StepCost.SharedLoad, answered);
  }

  *handler(): Task<void> {
    yield this.answer;
    this.outstanding--;
  }
}

/** Spins, so that it may be called under a spinlock; with interrupts off it could wait for ever. */
export function* tlbRemoveTableSyncOne(current: TaskStruct): Task<void> {
  const { machine } = current.kernel;
  if (current.processor !== null && current.processor.interruptsDisabled > 0) {
    throw new Error(`${current.name} waits for other CPUs with interrupts off`);
  }
  preemptDisable(current);
  const call = new SyncCall();
  const others = machine.cpus.filter(({ id }) => id !== current.cpu);
  call.outstanding = others.length;
  for (const { id } of others) {
    yield call.send;
    machine.interconnect.sendInterrupt(current.cpu, id, () => call.handler(), 'tlb_remove_table_sync_one');
  }
  if (others.length > 0) {
    current.processor?.onWaitForOthers?.();
    yield call.wait;
  }
  preemptEnable(current);
}
