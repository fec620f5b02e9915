/** placeholder until memory-failure.ts */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { Unsupported } from '../../unsupported.ts';

// biome-ignore lint/correctness/useYield: next
export function* madviseInjectError(
  _current: TaskStruct,
  _advice: number,
  _address: bigint,
  _length: bigint,
): Task<number> {
  throw new Unsupported('memory failure');
}
