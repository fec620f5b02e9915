/**
 * Both locks of a VMA's rmap, for whoever moves ptes between places that a walk might visit in the wrong order: it would
 * miss a page at its new place because it came too early, and at its old one because it came too late.
 * @see Linux mm/mremap.c, `take_rmap_locks`, `drop_rmap_locks`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { VmArea } from './vma.ts';

/** The file's mappings first, then the anon_vmas, both for writing. */
export function* takeRmapLocks(current: TaskStruct, { file, anonVma }: VmArea): Task<void> {
  if (file !== null) yield* file.mapping.iMmapRwsem.downWrite(current);
  if (anonVma !== null) yield* anonVma.rwsem.downWrite(current);
}

export function* dropRmapLocks(current: TaskStruct, { file, anonVma }: VmArea): Task<void> {
  if (anonVma !== null) yield* anonVma.rwsem.upWrite(current);
  if (file !== null) yield* file.mapping.iMmapRwsem.upWrite(current);
}
