/**
 * What Linux tells its log of and goes on after: WARN_ON_ONCE and its like. Each place tells of itself once in the life of
 * a kernel, however often it is reached. A warning changes nothing else: a kernel that panics on one (panic_on_warn) is left
 * out.
 * @see Linux include/asm-generic/bug.h, `WARN_ON_ONCE`
 */
import type { TaskStruct } from './task-struct.ts';

/** A place that has warned. */
export interface KernelWarning {
  /** Linux's function that warns. */
  readonly place: string;
  /** What is wrong, in words. */
  readonly text: string;
  /** Name of the task that came by first. */
  readonly task: string;
}

/** `Kernel.warnings`: in the order in which they came. */
export class KernelWarnings {
  readonly list: KernelWarning[] = [];
  #told: Set<string> | null = null;

  /** WARN_ON_ONCE of the place, for what is wrong there. No point: a log is nobody's to wait for. */
  once(current: TaskStruct, place: string, text: string): void {
    const key = `${place}: ${text}`;
    this.#told ??= new Set();
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.list.push({ place, text, task: current.name });
    const { events, cpus } = current.kernel.machine;
    if (!events.enabled) return;
    const time = cpus[current.cpu]?.time ?? 0;
    events.emit({ kind: 'warning', time, cpu: current.cpu, task: current.name, place, text });
  }
}
