/**
 * Finds copies, by the kernel for somebody else, of frames that were given back meanwhile: what is read, or written over, is
 * nobody's, or somebody else's. A frame that a task has got is followed until the task goes back to its program.
 */
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'foreign-data';

export const foreignData: CheckDefinition = {
  name: NAME,
  rule: 'Bytes are copied from and to the frame that was looked up, with a reference that keeps it what it is.',
  source: 'Linux mm/memory.c, `__access_remote_vm`; mm/process_vm_access.c, `process_vm_rw_pages`',
  attach(watch) {
    const lookups = new Lookups(watch);
    watch.onRun(() => lookups.forget());
    watch.onKernel({
      grabbed: (current, _mm, _vma, _page, frame) => lookups.grabbed(current, frame),
      left: (current) => lookups.left(current),
      copied: (current, frame, _offset, _bytes, write) => lookups.copied(current, frame, write),
    });
    watch.onFrames({ freed: (frame, order) => lookups.freed(frame, order) });
  },
};

class Lookups {
  readonly #watch: Watch;
  /** By task, the frames that it got, and whether each was freed since. */
  #frames = new Map<TaskStruct, Map<number, boolean>>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#frames = new Map();
  }

  grabbed(task: TaskStruct, frame: number): void {
    const frames = this.#frames.get(task);
    if (frames === undefined) this.#frames.set(task, new Map([[frame, false]]));
    else frames.set(frame, false);
  }

  left(task: TaskStruct): void {
    if (this.#frames.size > 0) this.#frames.delete(task);
  }

  freed(head: number, order: number): void {
    if (this.#frames.size === 0) return;
    for (const frames of this.#frames.values()) {
      for (const frame of frames.keys()) {
        if (frame >= head && frame < head + 2 ** order) frames.set(frame, true);
      }
    }
  }

  copied(task: TaskStruct, frame: number, write: boolean): void {
    const { frames } = this.#watch.kernel;
    if (!frames.owns(frame) || frames.isZeroFrame(frame)) return;
    const freed = this.#frames.get(task)?.get(frame) === true;
    if (!freed && frames.refcount(frame) !== 0) return;
    const name = `frame 0x${frame.toString(16)}`;
    const verb = write ? 'writes to' : 'reads';
    this.#watch.report(NAME, `${task.name} ${verb} ${name}, which was freed after it was looked up`, [name]);
  }
}
