/** What a run loop is made with, and what one call of it is asked for. */
import type { Task } from '../base/task.ts';
import type { Cpu } from '../hardware/cpu.ts';
import type { Policy } from './policy/policy.ts';
import type { SchedTask } from './task.ts';

/** Work of a context switch (the kernel's switch_mm); it runs on `cpu` with interrupts disabled, before `next` does. */
export type SwitchHook = (cpu: Cpu, previous: SchedTask | null, next: SchedTask) => Task<void> | null;

export interface RunLoopOptions {
  /** Default: `VirtualTimePolicy`. */
  readonly policy?: Policy | undefined;
  /** A pending interrupt is the only thing that can happen on its CPU: fewer interleavings, late delivery unseen. */
  readonly promptInterrupts?: boolean;
}

export interface RunOptions {
  /** Bound on steps of this call; default none. */
  readonly maxSteps?: number;
  /** End as soon as this task is at its end, whatever the others do. */
  readonly until?: SchedTask;
  /** Asked where nothing can happen any more: is that the end, and no deadlock? */
  readonly mayRest?: () => boolean;
  /** Looks at the state after every step; false stops the run. A run with it is slower. */
  readonly afterStep?: () => boolean;
}
