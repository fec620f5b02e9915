/**
 * One breakpoint in one mapping: where it may stand, what the instruction there was, setting it and taking it away.
 * Left out: what the architecture thinks of the original instruction (`arch_uprobe_analyze_insn`), but that it is none of
 * the breakpoints themselves.
 * @see Linux kernel/events/uprobes.c, `valid_vma`, `prepare_uprobe`, `copy_insn`, `install_breakpoint`,
 * `remove_breakpoint`
 */
import type { Task } from '../../../base/task.ts';
import { EIO, ENOTSUPP } from '../../errno.ts';
import { folioUnlock } from '../../mm/fault/folio-lock.ts';
import { MMF_HAS_UPROBES, MMF_RECALC_UPROBES } from '../../mm/mm.ts';
import { Sgp, shmemGetFolio } from '../../mm/shmem-get-folio.ts';
import type { VmArea } from '../../mm/vma.ts';
import { VM_HUGETLB, VM_MAYEXEC, VM_MAYSHARE, VM_WRITE } from '../../mm/vma-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { Uprobe, UprobeTree } from './uprobe.ts';
import { uprobeWriteOpcode } from './write-opcode.ts';

const PAGE_SIZE = 4096;

/**
 * A private mapping of a file that may be executed; to set one, also not writable. Removing is not so strict, as the
 * protection may have changed since.
 */
export function isProbeVma({ file, flags }: VmArea, isRegister: boolean): boolean {
  const asked = VM_HUGETLB | VM_MAYEXEC | VM_MAYSHARE | (isRegister ? VM_WRITE : 0);
  return file !== null && (flags & asked) === VM_MAYEXEC;
}

/** Finds the instruction out, once. 0, -EIO (beyond the file), -ENOTSUPP (a breakpoint itself), or no page. */
function* prepareUprobe(current: TaskStruct, uprobe: Uprobe): Task<number> {
  if (uprobe.instruction !== null) return 0;
  yield* uprobe.consumerRwsem.downWrite(current);
  // Another task may have been here meanwhile.
  const error = uprobe.instruction === null ? yield* copyInstruction(current, uprobe) : 0;
  yield* uprobe.consumerRwsem.upWrite(current);
  return error;
}

function* copyInstruction(current: TaskStruct, uprobe: Uprobe): Task<number> {
  const { breakpoint, longestInstruction } = current.kernel.arch.probes;
  const bytes = new Uint8Array(longestInstruction);
  let error = -EIO;
  let at = uprobe.offset;
  for (let left = longestInstruction; left > 0 && at < uprobe.mapping.sizeBytes; ) {
    const part = Math.min(left, PAGE_SIZE - (at % PAGE_SIZE));
    const done = longestInstruction - left;
    error = yield* readFilePage(current, uprobe, at, bytes.subarray(done, done + part));
    if (error !== 0) return error;
    at += part;
    left -= part;
  }
  if (error !== 0) return error;
  if (breakpoint.every((byte, index) => byte === bytes[index])) return -ENOTSUPP;
  uprobe.instruction = bytes;
  return 0;
}

/** The page of the file comes into its cache for it. 0 or a negative errno. @see `__copy_insn` */
function* readFilePage(
  current: TaskStruct,
  { mapping }: Uprobe,
  offset: number,
  target: Uint8Array,
): Task<number> {
  const { frames, machine } = current.kernel;
  const frame = yield* shmemGetFolio(current, mapping, Math.floor(offset / PAGE_SIZE), Sgp.Cache);
  if (frame < 0) return frame;
  yield* folioUnlock(current, frame);
  machine.memory.readBytes(frame, offset % PAGE_SIZE, target);
  yield frames.refPoint(frame);
  frames.put(frame);
  return 0;
}

/** Sets the breakpoint at a byte address; mmap_lock is held for writing. 0 or a negative errno. */
export function* installBreakpoint(
  current: TaskStruct,
  tree: UprobeTree,
  uprobe: Uprobe,
  vma: VmArea,
  address: bigint,
): Task<number> {
  const unprepared = yield* prepareUprobe(current, uprobe);
  if (unprepared !== 0) return unprepared;
  const { mm } = vma;
  // Before it is there: a thread may run into it at once.
  const first = (mm.flagBits & MMF_HAS_UPROBES) === 0;
  mm.flagBits |= MMF_HAS_UPROBES;
  const { breakpoint } = current.kernel.arch.probes;
  const error = yield* uprobeWriteOpcode(current, tree, uprobe, vma, address, breakpoint, true);
  if (error === 0) mm.flagBits &= ~MMF_RECALC_UPROBES;
  else if (first) mm.flagBits &= ~MMF_HAS_UPROBES;
  return error;
}

/** Puts the original instruction back. */
export function removeBreakpoint(
  current: TaskStruct,
  tree: UprobeTree,
  uprobe: Uprobe,
  vma: VmArea,
  address: bigint,
): Task<number> {
  const { breakpoint } = current.kernel.arch.probes;
  // One that was never found out was never set, and verification sees that there is nothing to do.
  const original = (uprobe.instruction ?? new Uint8Array(breakpoint.length)).subarray(0, breakpoint.length);
  vma.mm.flagBits |= MMF_RECALC_UPROBES;
  return uprobeWriteOpcode(current, tree, uprobe, vma, address, original, false);
}
