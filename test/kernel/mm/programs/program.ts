/**
 * Random programs: up to four processes on a machine with little memory, three files, and a manager who answers the faults
 * that wait for userfaultfd. Steps run one after the other, or side by side on several CPUs.
 */
import type { Task } from '../../../../src/base/task.ts';
import { describeLockdepReport } from '../../../../src/kernel/lock/lockdep.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { fput, type MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import { memfdCreate } from '../../../../src/kernel/mm/memfd.ts';
import type { UffdMessage, UserfaultfdContext } from '../../../../src/kernel/mm/userfaultfd/context.ts';
import { userfaultfdContinue } from '../../../../src/kernel/mm/userfaultfd/continue.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import { userfaultfdRead } from '../../../../src/kernel/mm/userfaultfd/read.ts';
import {
  UFFD_PAGEFAULT_FLAG_MINOR,
  UFFD_PAGEFAULT_FLAG_WP,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdRelease } from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import { userfaultfdZeropage } from '../../../../src/kernel/mm/userfaultfd/zeropage.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { SIGKILL } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { ProcessWorld, type ProcessWorldOptions } from '../process-world.ts';
import { calls } from './calls.ts';
import { type Call, pick, type Step } from './step.ts';

export interface ProgramOptions extends ProcessWorldOptions {
  /** Of the order in which tasks on several CPUs go on. */
  readonly seed?: number;
}

const PROCESSES = 4;
/** A call that makes more steps goes round in circles. */
const STEPS_OF_A_CALL = 200_000;
/** Answers to one call's faults before its userfaultfds are closed. */
const PATIENCE = 12;

const describeViolation = (violation: object): string =>
  JSON.stringify(violation, (_key, value: unknown) =>
    typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
  );

function callOf([name]: Step): Call {
  const call = calls[name];
  if (call === undefined) throw new Error(`no call ${name}`);
  return call;
}

export class Program {
  readonly world: ProcessWorld;
  readonly cpus: number;
  readonly contexts = new Set<UserfaultfdContext>();
  readonly #tasks: TaskStruct[];
  readonly #files: readonly MappedFile[];
  readonly #manager: TaskStruct;
  /** Steps that were begun. */
  steps = 0;
  /** Set by the calls after which that is so, as `AuditOptions` says. */
  lockedVmMayExceed = false;
  committedMayExceed = false;
  guardFlagMayBeLost = false;
  #children = 0;

  constructor({ seed, ...options }: ProgramOptions = {}) {
    const policy = seed === undefined ? {} : { policy: new RandomPolicy(seed) };
    this.world = new ProcessWorld({
      memoryBytes: 0x200_0000,
      ...policy,
      ...options,
      kernel: { hugepages2M: 4, ...options.kernel },
    });
    this.cpus = options.cpus ?? 1;
    this.#manager = this.world.process('manager', this.cpus - 1);
    this.#tasks = [this.world.process('first', 0)];
    const { kernel } = this.world;
    const huge = hugetlbMemfdCreate(kernel, 'huge', 0);
    if (typeof huge === 'number') throw new Error(`memfd of huge pages gave ${huge}`);
    const small = ['one', 'two'].map((name) => memfdCreate(kernel, name));
    for (const { mapping } of small) mapping.sizeBytes = 8 * 4096;
    huge.mapping.sizeBytes = 3 * 512 * 4096;
    this.#files = [...small, huge];
  }

  get loop() {
    return this.world.system.loop;
  }

  // --- what calls ask for ---

  /** Files count from 1; 0 is none. */
  file(number: number): MappedFile | null {
    return number === 0 ? null : (this.#files[number - 1] as MappedFile);
  }

  descriptor(choice: number): MappedFile {
    return pick(this.#files, choice);
  }

  get mayRunOut(): boolean {
    return this.world.kernel.config.frameLimit > 0;
  }

  get hasRoom(): boolean {
    return this.#tasks.length < PROCESSES;
  }

  childName(): string {
    this.#children++;
    return `child ${this.#children}`;
  }

  add(task: TaskStruct): void {
    this.#tasks.push(task);
  }

  /** False: it is the last one, and stays. */
  remove(task: TaskStruct): boolean {
    const at = this.#tasks.indexOf(task);
    if (at === -1 || this.#tasks.length === 1) return false;
    this.#tasks.splice(at, 1);
    return true;
  }

  /** A process that is not `task`, where there is one. */
  another(task: TaskStruct, choice: number): TaskStruct {
    const others = this.#tasks.filter((each) => each !== task);
    return others.length === 0 ? task : pick(others, choice);
  }

  uffdOf(task: TaskStruct): UserfaultfdContext | null {
    for (const context of this.contexts) if (context.mm === task.mm) return context;
    return null;
  }

  *release(task: TaskStruct, context: UserfaultfdContext): Task<void> {
    if (!this.contexts.delete(context)) return;
    yield* userfaultfdRelease(task, context);
  }

  // --- running ---

  /** One step to its end. */
  perform(step: Step): void {
    const task = pick(this.#tasks, step[1]);
    this.steps++;
    this.loop.start(task, callOf(step)(this, task, step));
    this.#settle(task);
    this.#bury();
  }

  /** Scripts of tasks of two address spaces, side by side. */
  performTogether(scripts: readonly (readonly Step[])[]): void {
    this.guardFlagMayBeLost = true;
    while (this.#tasks.length < scripts.length) this.#addThread();
    const tasks = [...this.#tasks];
    for (const [at, script] of scripts.entries()) {
      const task = tasks[at] as TaskStruct;
      this.steps += script.length;
      this.loop.start(task, this.#script(task, script));
    }
    this.#settle(null);
    this.#bury();
  }

  #addThread(): void {
    const at = this.#tasks.length;
    this.add(this.world.thread(pick(this.#tasks, at), `thread ${at}`, at % this.cpus));
  }

  *#script(task: TaskStruct, script: readonly Step[]): Task<void> {
    for (const step of script) {
      if (task.mm === null || task.fatalSignalPending()) return;
      yield* callOf(step)(this, task, step);
    }
  }

  /** Runs until the task (or all) is at its end; whoever waits for user space is answered, or given up after a while. */
  #settle(until: TaskStruct | null): void {
    for (let round = 0; ; round++) {
      const result = this.loop.run({ maxSteps: STEPS_OF_A_CALL, ...(until === null ? {} : { until }) });
      if (result.kind === 'finished') return;
      if (result.kind !== 'deadlock' || this.contexts.size === 0) {
        throw new Error(`${result.kind}: ${JSON.stringify(result, null, 1)}`);
      }
      for (const context of [...this.contexts]) {
        if (round < PATIENCE) this.#answer(context, round);
        else this.#byManager(this.release(this.#manager, context));
      }
    }
  }

  /** A manager of its own each time: the one before may be waiting. */
  #byManager<T>(body: Task<T>): T {
    return this.loop.complete(this.#manager, body);
  }

  #answer(context: UserfaultfdContext, round: number): void {
    const { messages } = this.#byManager(userfaultfdRead(this.#manager, context, 32 * 4));
    for (const message of messages) {
      if (message.event === 'pagefault') this.#byManager(this.#resolve(context, message, round));
      else if (message.event === 'fork') this.contexts.add(message.child);
    }
  }

  *#resolve(
    context: UserfaultfdContext,
    { flags, address }: UffdMessage & { readonly event: 'pagefault' },
    round: number,
  ): Task<unknown> {
    const manager = this.#manager;
    const vma = context.mm.vmas.lookup(Number(address >> 12n));
    const huge = vma?.file?.mapping.huge?.pages ?? 1;
    const start = address & ~((BigInt(huge) << 12n) - 1n);
    const length = BigInt(huge) << 12n;
    if ((flags & UFFD_PAGEFAULT_FLAG_WP) !== 0) {
      return yield* userfaultfdWriteprotect(manager, context, start, length, 0n);
    }
    if ((flags & UFFD_PAGEFAULT_FLAG_MINOR) !== 0) {
      return yield* userfaultfdContinue(manager, context, start, length, 0n);
    }
    if (round % 2 === 1) return yield* userfaultfdZeropage(manager, context, start, length, 0n);
    return yield* userfaultfdCopy(manager, context, start, new Uint8Array(Number(length)), length, 0n);
  }

  /** Who was killed exits; the dead are gone. A process of no memory left is replaced, so that there is always one. */
  #bury(): void {
    for (const task of [...this.#tasks]) {
      if (!task.fatalSignalPending()) {
        // Nobody handles them here, and they would interrupt every wait from now on.
        task.pendingSignals.splice(0);
        continue;
      }
      this.#tasks.splice(this.#tasks.indexOf(task), 1);
      if (task.mm === null) continue;
      this.loop.start(task, doExit(task, SIGKILL));
      this.#settle(task);
    }
    if (this.#tasks.length === 0) this.add(this.world.process('next', 0));
  }

  // --- afterwards ---

  audit(): readonly string[] {
    const { kernel } = this.world;
    const mms = [...this.contexts].map(({ mm }) => mm);
    const files = this.#files.map(({ mapping }) => mapping);
    const { lockedVmMayExceed, committedMayExceed, guardFlagMayBeLost } = this;
    const wrong = this.world.inconsistencies({
      mms,
      files,
      lockedVmMayExceed,
      committedMayExceed,
      guardFlagMayBeLost,
    });
    const reports = kernel.lockdep?.reports ?? [];
    const violations = this.world.system.breakBeforeMake?.violations ?? [];
    return [...wrong, ...reports.map(describeLockdepReport), ...violations.map(describeViolation)];
  }

  /** Everybody goes, and then nothing may be left but what is broken. */
  end(): readonly string[] {
    for (const context of [...this.contexts]) this.#byManager(this.release(this.#manager, context));
    while (this.#tasks.length > 0) {
      const task = this.#tasks.pop() as TaskStruct;
      if (task.mm === null) continue;
      this.loop.start(task, doExit(task, 0));
      this.#settle(task);
    }
    for (const file of this.#files) this.#byManager(fput(this.world.kernel.frames, file));
    return this.audit();
  }
}
