/**
 * The descriptors of a process: small numbers that refer to open files. What a file is, its owner knows; here is who has
 * it open, and that its last descriptor releases it.
 * Left out: RLIMIT_NOFILE, file positions, sharing a table (CLONE_FILES), flags but close-on-exec.
 * @see Linux fs/file.c, `alloc_fd`, `dup_fd`, `exit_files`, `do_close_on_exec`; fs/file_table.c, `__fput`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { EBADF } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';

/** What descriptors of one process, or of several after fork, refer to. */
export class OpenFile<Value = unknown> extends SharedObject {
  readonly value: Value;
  /** Descriptors that refer to it. */
  count = 0;
  /** Runs when the last descriptor goes. */
  readonly release: (current: TaskStruct) => Task<void>;
  readonly change: SchedPoint;

  constructor(name: string, value: Value, release: (current: TaskStruct) => Task<void>) {
    super(name);
    this.value = value;
    this.release = release;
    this.change = new SchedPoint(PointKind.Write, this, 'f_count', StepCost.AtomicUpdate);
  }
}

interface Descriptor {
  readonly file: OpenFile;
  readonly closeOnExec: boolean;
}

/** 0, 1 and 2 are a program's standard streams, which nothing here uses. */
const FIRST_DESCRIPTOR = 3;

export class DescriptorTable {
  /** Made with the first descriptor: most processes have none. */
  #entries: Map<number, Descriptor> | null = null;

  /** The lowest free number refers to the file from now on. */
  install(file: OpenFile, closeOnExec = false): number {
    this.#entries ??= new Map();
    let number = FIRST_DESCRIPTOR;
    while (this.#entries.has(number)) number++;
    this.#entries.set(number, { file, closeOnExec });
    file.count++;
    return number;
  }

  get(number: number): OpenFile | undefined {
    return this.#entries?.get(number)?.file;
  }

  /** fork: the same files under the same numbers. One step. */
  duplicate(): DescriptorTable {
    const copy = new DescriptorTable();
    if (this.#entries === null) return copy;
    copy.#entries = new Map(this.#entries);
    for (const { file } of this.#entries.values()) file.count++;
    return copy;
  }

  /** 0 or -EBADF. */
  *close(current: TaskStruct, number: number): Task<number> {
    const entry = this.#entries?.get(number);
    if (entry === undefined) return -EBADF;
    this.#entries?.delete(number);
    const { file } = entry;
    yield file.change;
    file.count--;
    if (file.count === 0) yield* file.release(current);
    return 0;
  }

  *closeAll(current: TaskStruct): Task<void> {
    for (const number of [...(this.#entries?.keys() ?? [])]) yield* this.close(current, number);
  }

  *closeOnExec(current: TaskStruct): Task<void> {
    for (const [number, { closeOnExec }] of [...(this.#entries ?? [])]) {
      if (closeOnExec) yield* this.close(current, number);
    }
  }
}
