/**
 * Calls of a trace's processes that wait for user space (userfaultfd). A call is blocked when nothing can happen any more
 * and it is not at its end; the recorder waited 60 ms for that. Its process makes no other step until a later `collect` has
 * returned the result, whether or not the call has ended meanwhile.
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { RunLoop } from '../../sched/run-loop.ts';
import { TaskState } from '../../sched/task.ts';
import { type OperationResult, values } from './ops/operation.ts';
import type { Step } from './trace.ts';

interface PendingCall {
  readonly op: string;
  /** What the call gave, once it is at its end. */
  readonly answer: () => OperationResult;
}

export class PendingCalls {
  readonly #loop: RunLoop;
  readonly #calls = new Map<TaskStruct, PendingCall>();

  constructor(loop: RunLoop) {
    this.#loop = loop;
  }

  /**
   * Runs a path of `task` until it ends or waits for user space.
   * @param answer the step's result, from what the path returned and the minor faults that it counted
   */
  run<T>(
    op: string,
    task: TaskStruct,
    body: Task<T>,
    answer: (result: T, minflt: number) => OperationResult,
  ): OperationResult {
    const before = task.minFlt;
    this.#loop.start(task, body);
    this.#loop.run({ until: task });
    const ended = (): OperationResult => answer(task.result as T, task.minFlt - before);
    if (task.state === TaskState.Idle) return ended();
    this.#calls.set(task, { op, answer: ended });
    return values({ blocked: true });
  }

  /** Lets calls that were woken go on until they end or wait again. */
  settle(): void {
    if (this.#calls.size > 0) this.#loop.run();
  }

  isBusy(task: TaskStruct): boolean {
    return this.#calls.has(task);
  }

  /** The result of the call that the process is busy with. */
  collect(task: TaskStruct): OperationResult {
    const call = this.#calls.get(task);
    if (call === undefined) return values({ notbusy: true });
    if (task.state !== TaskState.Idle) return values({ blocked: true });
    this.#calls.delete(task);
    const { values: result, ...more } = call.answer();
    return { values: { ...result, of: call.op }, ...more };
  }
}

/** Calls by another process than the one they are about; without `by` the supervisor makes them. */
const REMOTE: ReadonlySet<string> = new Set([
  'pvm_readv',
  'pvm_writev',
  'mem_read',
  'mem_write',
  'cmdline',
  'environ',
]);

/** The process that makes a step; 0: the supervisor, who is never kept waiting. */
export function callerOf({ op, pid, by }: Step): number {
  if (op === 'collect' || /^(uffd|pt|sup)_/.test(op)) return 0;
  return by ?? (REMOTE.has(op) ? 0 : pid);
}
