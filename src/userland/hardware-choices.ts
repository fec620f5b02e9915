/**
 * What the schedule may let happen beside the steps of tasks, on a system: translations that CPUs forget, grace periods of
 * RCU that end later than they could, allocations that fail, SIGKILL to whoever waits in a way that it ends. (Translations
 * that CPUs fill are `page-table-speculation.ts`.)
 */
import type { Tlb } from '../hardware/tlb.ts';
import type { FrameTable } from '../kernel/frame/frame-table.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SIGKILL } from '../kernel/signal.ts';
import { ExitState, TaskStruct } from '../kernel/task-struct.ts';
import type {
  AllocationFailures,
  Evictions,
  GracePeriods,
  HardwareChoices,
  Kills,
} from '../sched/hardware-choices.ts';
import type { SchedTask } from '../sched/task.ts';

/** Each is off by default. */
export interface HardwareSettings {
  /** CPUs may forget a translation or an upper entry at any time. With adversarial retention only then. */
  readonly evictions?: boolean;
  /** A grace period ends when the schedule says so, not as soon as it can. */
  readonly gracePeriods?: boolean;
  /** So many allocations of memory may fail. */
  readonly failAllocations?: number;
  /** A task that waits in a way that a fatal signal ends may get SIGKILL. */
  readonly kills?: boolean;
}

/** Gives a run loop what these settings ask for. @param tlbs of each CPU: everything that it may forget an entry of */
export function offerChoices(
  hardware: HardwareChoices,
  settings: HardwareSettings,
  kernel: Kernel,
  tlbs: readonly (readonly Tlb[])[],
): void {
  if (settings.evictions === true) hardware.evictions = new TlbEvictions(tlbs);
  if (settings.gracePeriods === true) {
    kernel.rcu.endsByChoice = true;
    hardware.gracePeriods = new RcuGracePeriods(kernel);
  }
  const { failAllocations = 0 } = settings;
  if (failAllocations > 0) {
    hardware.allocationFailures = new FailingAllocations(kernel.frames, failAllocations);
  }
  if (settings.kills === true) hardware.kills = new FatalSignals();
}

class TlbEvictions implements Evictions {
  readonly #tlbs: readonly (readonly Tlb[])[];

  constructor(tlbs: readonly (readonly Tlb[])[]) {
    this.#tlbs = tlbs;
  }

  count(cpu: number): number {
    let count = 0;
    for (const tlb of this.#of(cpu)) if (tlb.used) count += tlb.count();
    return count;
  }

  evict(cpu: number, index: number): void {
    let left = index;
    for (const tlb of this.#of(cpu)) {
      const held = tlb.used ? tlb.count() : 0;
      if (left < held) {
        tlb.evict(left);
        return;
      }
      left -= held;
    }
    throw new Error(`cpu ${cpu} has no translation ${index} to forget`);
  }

  #of(cpu: number): readonly Tlb[] {
    return this.#tlbs[cpu] as readonly Tlb[];
  }
}

class RcuGracePeriods implements GracePeriods {
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  canEnd(): boolean {
    return this.#kernel.rcu.canEnd;
  }

  end(): void {
    this.#kernel.rcu.endOldest();
  }
}

class FailingAllocations implements AllocationFailures {
  readonly #frames: FrameTable;
  #left: number;

  constructor(frames: FrameTable, most: number) {
    this.#frames = frames;
    this.#left = most;
    frames.scarce = true;
  }

  canFail(): boolean {
    return this.#left > 0 && !this.#frames.failsNext;
  }

  failNext(): void {
    this.#left--;
    this.#frames.failsNext = true;
  }
}

class FatalSignals implements Kills {
  canKill(task: SchedTask): boolean {
    if (!(task instanceof TaskStruct) || task.mm === null || task.exitState !== ExitState.Running)
      return false;
    const ready = task.pendingPoint()?.ready ?? null;
    return ready !== null && task.endedByKill(ready);
  }

  /** As from the kernel itself: nobody's rights are asked for. */
  kill(task: SchedTask): void {
    (task as TaskStruct).sendSignal({ signal: SIGKILL, code: SI_KERNEL, address: 0n });
  }
}

/** si_code of a signal that the kernel sends. @see Linux include/uapi/asm-generic/siginfo.h */
const SI_KERNEL = 0x80;
