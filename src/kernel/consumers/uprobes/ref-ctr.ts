/**
 * The counter in a program's data that says whether anybody listens to a probe, so that the program can skip preparing
 * what it would tell: 16 bits, in a private writable mapping of the file, one up for each breakpoint and one down.
 * @see Linux kernel/events/uprobes.c, `__update_ref_ctr`, `update_ref_ctr`, `delayed_ref_ctr_inc`
 */
import type { Task } from '../../../base/task.ts';
import { EBUSY, EINVAL } from '../../errno.ts';
import { FOLL_WRITE } from '../../gup/foll-flags.ts';
import { getUserPagesRemote } from '../../gup/get-user-pages-remote.ts';
import { putUserPage } from '../../gup/pin.ts';
import type { MmStruct } from '../../mm/mm.ts';
import type { VmArea } from '../../mm/vma.ts';
import { VM_SHARED, VM_WRITE } from '../../mm/vma-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { offsetToAddress, type Uprobe, type UprobeTree } from './uprobe.ts';

/** @see `valid_ref_ctr_vma` */
function isRefCtrVma({ mapping, refCtrOffset }: Uprobe, vma: VmArea): boolean {
  if (refCtrOffset === 0 || vma.file?.mapping !== mapping) return false;
  if ((vma.flags & (VM_WRITE | VM_SHARED)) !== VM_WRITE) return false;
  const page = Math.floor(refCtrOffset / 4096);
  return page >= vma.pgoff && page < vma.pgoff + vma.pages;
}

/**
 * Adds `delta` to the counter at a byte address; mmap_lock is held. Without FOLL_FORCE: the program itself must be able to
 * write there. 0, -EBUSY (no page), -EINVAL (it would be negative, or there is no address), or GUP's errno.
 */
export function* updateRefCtrAt(
  current: TaskStruct,
  mm: MmStruct,
  address: bigint,
  delta: number,
): Task<number> {
  if (address === 0n || delta === 0) return -EINVAL;
  const pages = [-1];
  const got = yield* getUserPagesRemote(current, mm, Number(address >> 12n), 1, FOLL_WRITE, pages, null);
  if (got <= 0) return got === 0 ? -EBUSY : got;
  const [frame = -1] = pages;
  const counted = yield* addToShort(current, frame, Number(address & 0xfffn), delta);
  yield* putUserPage(current, frame);
  return counted ? 0 : -EINVAL;
}

/** False, and nothing written, where the sum is negative. No atomic addition: the program may write in between. */
function* addToShort({ kernel }: TaskStruct, frame: number, offset: number, delta: number): Task<boolean> {
  const bytes = new Uint8Array(2);
  const view = new DataView(bytes.buffer);
  const { memory } = kernel.machine;
  yield kernel.copyPoints.of(frame, bytes.length, false);
  memory.readBytes(frame, offset, bytes);
  const sum = view.getInt16(0, true) + delta;
  if (sum < 0) return false;
  view.setInt16(0, sum, true);
  yield kernel.copyPoints.of(frame, bytes.length, true);
  memory.writeBytes(frame, offset, bytes);
  return true;
}

/**
 * One up (1) or down (-1). Where the program does not map its counter yet, one up waits until it does, and counts as done.
 * 0 or a negative errno.
 */
export function* updateRefCtr(
  current: TaskStruct,
  tree: UprobeTree,
  uprobe: Uprobe,
  mm: MmStruct,
  delta: 1 | -1,
): Task<number> {
  const vma = [...mm.vmas].find((candidate) => isRefCtrVma(uprobe, candidate));
  let result = 0;
  if (vma !== undefined) {
    result = yield* updateRefCtrAt(current, mm, offsetToAddress(vma, uprobe.refCtrOffset), delta);
    if (delta > 0) return result;
  }
  if (delta < 0) yield* tree.forgetDelayed(current, (one) => one.uprobe === uprobe && one.mm === mm);
  else yield* putOff(current, tree, uprobe, mm);
  return result;
}

function* putOff(current: TaskStruct, tree: UprobeTree, uprobe: Uprobe, mm: MmStruct): Task<void> {
  yield* tree.delayedMutex.downWrite(current);
  const known = tree.delayed.some((one) => one.uprobe === uprobe && one.mm === mm);
  if (!known) tree.delayed.unshift({ uprobe, mm });
  yield* tree.delayedMutex.upWrite(current);
}

/** The program has mapped a file writably: counters in it that waited for that go up. Errors are ignored by mmap. */
export function* delayedRefCtrInc(current: TaskStruct, tree: UprobeTree, vma: VmArea): Task<void> {
  yield* tree.delayedMutex.downWrite(current);
  for (const delayed of [...tree.delayed]) {
    if (delayed.mm !== vma.mm || !isRefCtrVma(delayed.uprobe, vma)) continue;
    yield* updateRefCtrAt(current, vma.mm, offsetToAddress(vma, delayed.uprobe.refCtrOffset), 1);
    tree.delayed.splice(tree.delayed.indexOf(delayed), 1);
  }
  yield* tree.delayedMutex.upWrite(current);
}
