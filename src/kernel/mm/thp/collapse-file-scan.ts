/**
 * Would the cached pages of a file make a huge page? A first look at the page cache, without a lock; what it says may no
 * longer hold when the collapse begins.
 * Left out: NUMA nodes.
 * @see Linux mm/khugepaged.c, `hpage_collapse_scan_file`
 */
import type { Task } from '../../../base/task.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { NO_SLOT } from '../../frame/swap-area.ts';
import { mmapReadUnlock } from '../../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../../lock/rcu.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { fput, getFile } from '../mapped-file.ts';
import type { MmStruct } from '../mm.ts';
import { hugePages } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import type { CollapseControl, ScanResult } from './collapse-control.ts';
import { collapseFile } from './collapse-file.ts';
import { HPAGE_PMD_ORDER } from './policy.ts';
import { cacheReferences } from './split-parts.ts';

/**
 * Of the huge page that a VMA of a file has at `start`: holds the file, lets mmap_lock go, which is held for reading, and
 * looks whether the file's pages make a huge page. Answers as `collapseScanFile`.
 */
export function* collapseFileOf(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  control: CollapseControl,
): Task<ScanResult> {
  const { mm, file } = vma;
  if (file === null) throw new Error(`${vma.name} has no file`);
  const index = vma.indexOf(start);
  yield file.countWrite;
  getFile(file);
  yield* mmapReadUnlock(current, mm);
  const result = yield* collapseScanFile(current, mm, start, file.mapping, index, control);
  yield* fput(current.kernel.frames, file);
  return result;
}

/**
 * Looks at the object's pages from `index` on, a multiple of a huge page, and makes a huge page of them if they are
 * worth it. No lock is held but a reference of the file. 'pte-mapped-hugepage': the page cache has one (now), and `mm` is
 * to be looked at.
 * @param start the first page at which `mm`, for which it is done, maps them
 */
function* collapseScanFile(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  mapping: AddressSpace,
  index: number,
  control: CollapseControl,
): Task<ScanResult> {
  const pages = hugePages(current.kernel.pageTables);
  control.restart();
  let present = 0;
  let result: ScanResult | 'present' | 'absent' = 'absent';
  rcuReadLock(current);
  for (let at = index; at < index + pages; at++) {
    result = yield* scanEntry(current, mapping, at, control);
    if (result === 'present') present++;
    else if (result !== 'absent') break;
  }
  rcuReadUnlock(current);
  if (result !== 'present' && result !== 'absent') return result;
  const { limits } = control;
  if (limits !== null && present < pages - limits.none) return 'exceed-none-pte';
  return yield* collapseFile(current, mm, start, mapping, index, control);
}

function* scanEntry(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  control: CollapseControl,
): Task<ScanResult | 'present' | 'absent'> {
  const { frames } = current.kernel;
  for (;;) {
    const frame = mapping.frameAt(index);
    if (frame === -1) {
      if (mapping.swapSlotAt(index) === NO_SLOT) return 'absent';
      return control.addSwap() ?? 'absent';
    }
    yield frames.refPoint(frame);
    if (mapping.frameAt(index) !== frame) continue;
    frames.get(frame);
    const result = judgeFolio(current, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
    return result;
  }
}

/** With a reference of ours. */
function judgeFolio({ kernel: { frames } }: TaskStruct, frame: number): ScanResult | 'present' {
  if (frames.order(frame) === HPAGE_PMD_ORDER) return 'pte-mapped-hugepage';
  if (!frames.hasFlag(frame, FrameFlag.Lru)) return 'page-lru';
  const expected = frames.folioMapcount(frame) + cacheReferences(frames, frame);
  return frames.refcount(frame) === expected + 1 ? 'present' : 'page-count';
}
