/**
 * A page for the kernel's own use while a call lasts, such as the one through which a file of /proc copies. What stands in
 * it nobody else can see, so the caller keeps that in a buffer; the page counts as memory in use.
 * @see Linux include/linux/gfp.h, `__get_free_page` with GFP_KERNEL
 */
import type { Task } from '../../base/task.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';

/** The frame, or NO_FRAME when there is no memory and nothing could go. May sleep. */
export function* getFreePage(current: TaskStruct): Task<number> {
  const { frames, directReclaim } = current.kernel;
  for (;;) {
    const frame = frames.allocate();
    if (frame !== NO_FRAME || directReclaim === null) return frame;
    const { reclaimed } = yield* directReclaim(current, 1);
    if (reclaimed === 0) return frames.allocate();
  }
}

/** No point: nobody else knows the page. */
export function freePage({ frames }: Kernel, frame: number): void {
  frames.put(frame);
}
