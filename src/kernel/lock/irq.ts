/**
 * Closing and opening the interrupt gate of the current CPU, and preemption. Both are depths, so that pairs nest.
 * They touch nothing another CPU can see, so they are no points: the next point is where an interrupt may come in.
 * Left out: softirqs, NMIs (they come in anyhow, but nothing here uses them).
 */
import type { SchedTask } from '../../sched/task.ts';

/** @see Linux `local_irq_save` */
export function localIrqSave(current: SchedTask): void {
  if (current.processor === null) throw new Error(`${current.name} is on no cpu`);
  current.processor.disableInterrupts();
}

/** @throws Error when interrupts are not disabled @see Linux `local_irq_restore` */
export function localIrqRestore(current: SchedTask): void {
  const cpu = current.processor;
  if (cpu === null || cpu.interruptsDisabled === 0) {
    throw new Error(`${current.name} restores interrupts that are not disabled`);
  }
  cpu.enableInterrupts();
}

/** @see Linux `preempt_disable` */
export function preemptDisable(current: SchedTask): void {
  current.preemptDisabled++;
}

/** @throws Error when preemption is not disabled @see Linux `preempt_enable` */
export function preemptEnable(current: SchedTask): void {
  if (current.preemptDisabled === 0)
    throw new Error(`${current.name} enables preemption that is not disabled`);
  current.preemptDisabled--;
}
