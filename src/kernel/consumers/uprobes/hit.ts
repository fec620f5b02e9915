/**
 * A task that runs into a breakpoint: whose is it, who is told, and what becomes of the instruction that is not there. The
 * uprobe is looked for without a lock first, and with mmap_lock where that fails; where there is none, the memory says
 * whether the breakpoint is the program's own.
 * Left out: stepping the original instruction out of line (the program is past it at once), return probes.
 * @see Linux kernel/events/uprobes.c, `handle_swbp`, `find_active_uprobe_rcu`, `is_trap_at_addr`, `handler_chain`
 */
import type { Task } from '../../../base/task.ts';
import { EFAULT, EINVAL } from '../../errno.ts';
import { FOLL_FORCE } from '../../gup/foll-flags.ts';
import { getUserPages } from '../../gup/get-user-pages.ts';
import { putUserPage } from '../../gup/pin.ts';
import {
  mmapLockSpeculateRetry,
  mmapLockSpeculateTryBegin,
  mmapReadLock,
  mmapReadUnlock,
  mmapWriteLock,
  mmapWriteUnlock,
} from '../../lock/mmap-lock.ts';
import { MMF_RECALC_UPROBES, type MmStruct } from '../../mm/mm.ts';
import { copyFromUserInatomic } from '../../mm/user-access.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { isProbeVma, removeBreakpoint } from './install.ts';
import { type Uprobes, uprobesOf } from './mappings.ts';
import { addressToOffset, offsetToAddress, UPROBE_HANDLER_REMOVE, type Uprobe } from './uprobe.ts';

/** What becomes of the task. */
export const BreakpointOutcome = {
  /** The instruction is to be fetched again: the breakpoint is gone, or the memory. */
  Restart: 0,
  /** Somebody was told, and the original instruction is through. */
  Stepped: 1,
  /** The breakpoint is the program's own: SIGTRAP. */
  Trap: 2,
} as const;
export type BreakpointOutcome = (typeof BreakpointOutcome)[keyof typeof BreakpointOutcome];

/**
 * 1 when a breakpoint is at a byte address of the caller's memory, 0 when not, or a negative errno. mmap_lock is held:
 * no fault may be taken for the direct look, and GUP must do.
 */
export function* isTrapAtAddress(current: TaskStruct, address: bigint): Task<number> {
  const { arch, machine, copyPoints } = current.kernel;
  const { breakpoint } = arch.probes;
  if (address % BigInt(breakpoint.length) !== 0n) {
    current.kernel.warnings.once(current, 'is_trap_at_addr', 'the address is not aligned');
    return -EINVAL;
  }
  const opcode = new Uint8Array(breakpoint.length);
  if (copyFromUserInatomic(current, opcode, address) !== 0) {
    const pages = [-1];
    const got = yield* getUserPages(current, Number(address >> 12n), 1, FOLL_FORCE, pages);
    if (got < 0) return got;
    const [frame = -1] = pages;
    yield copyPoints.of(frame, opcode.length, false);
    machine.memory.readBytes(frame, Number(address & 0xfffn), opcode);
    yield* putUserPage(current, frame);
  }
  return breakpoint.every((byte, at) => byte === opcode[at]) ? 1 : 0;
}

/** Without a lock: what was found counts if no writer held mmap_lock meanwhile. @see `find_active_uprobe_speculative` */
function* findSpeculatively(mm: MmStruct, uprobes: Uprobes, address: bigint): Task<Uprobe | null> {
  yield mm.treeLoad;
  const sequence = mmapLockSpeculateTryBegin(mm);
  if (sequence === null) return null;
  const vma = mm.vmas.lookup(Number(address >> 12n));
  if (vma === null || vma.file === null) return null;
  const { mapping } = vma.file;
  const offset = addressToOffset(vma, address);
  yield uprobes.tree.look;
  const uprobe = uprobes.tree.find(mapping, offset);
  if (uprobe === null) return null;
  yield mm.treeLoad;
  return mmapLockSpeculateRetry(mm, sequence) ? null : uprobe;
}

/** The uprobe, or what `isTrapAtAddress` says. */
function* findActive(
  current: TaskStruct,
  mm: MmStruct,
  uprobes: Uprobes,
  address: bigint,
): Task<Uprobe | number> {
  const speculated = yield* findSpeculatively(mm, uprobes, address);
  if (speculated !== null) return speculated;
  yield* mmapReadLock(current, mm);
  const vma = mm.vmas.lookup(Number(address >> 12n));
  let found: Uprobe | number | null = vma === null ? -EFAULT : null;
  if (vma !== null && vma.file !== null) {
    yield uprobes.tree.look;
    found = uprobes.tree.find(vma.file.mapping, addressToOffset(vma, address));
  }
  found ??= yield* isTrapAtAddress(current, address);
  if (typeof found === 'number' && (mm.flagBits & MMF_RECALC_UPROBES) !== 0) {
    mm.flagBits &= ~MMF_RECALC_UPROBES;
    uprobes.recalc(mm);
  }
  yield* mmapReadUnlock(current, mm);
  return found;
}

/** Takes the breakpoint out of the caller's mappings. @see `unapply_uprobe` */
function* unapply(current: TaskStruct, mm: MmStruct, uprobes: Uprobes, uprobe: Uprobe): Task<void> {
  const index = Math.floor(uprobe.offset / 4096);
  yield* mmapWriteLock(current, mm);
  for (const vma of mm.vmas.snapshot()) {
    if (!isProbeVma(vma, false) || vma.file?.mapping !== uprobe.mapping) continue;
    if (index < vma.pgoff || index >= vma.pgoff + vma.pages) continue;
    yield* removeBreakpoint(current, uprobes.tree, uprobe, vma, offsetToAddress(vma, uprobe.offset));
  }
  yield* mmapWriteUnlock(current, mm);
}

/** Tells everybody; if all of them want it gone here, it goes. @see `handler_chain` */
function* handlerChain(current: TaskStruct, mm: MmStruct, uprobes: Uprobes, uprobe: Uprobe): Task<void> {
  yield uprobes.tree.look;
  const answers = uprobe.consumers.map((consumer) => consumer.handler(current, uprobe));
  if (answers.length === 0 || answers.some((answer) => answer !== UPROBE_HANDLER_REMOVE)) return;
  yield* uprobe.registerRwsem.downRead(current);
  if (!(yield* uprobe.filterChain(current, mm))) yield* unapply(current, mm, uprobes, uprobe);
  yield* uprobe.registerRwsem.upRead(current);
}

/** The caller has run into a breakpoint at a byte address. @see `handle_swbp` */
export function* handleBreakpoint(current: TaskStruct, address: bigint): Task<BreakpointOutcome> {
  const { mm, kernel } = current;
  if (mm === null) return BreakpointOutcome.Trap;
  const uprobes = uprobesOf(kernel);
  const found = yield* findActive(current, mm, uprobes, address);
  if (typeof found === 'number') return found > 0 ? BreakpointOutcome.Trap : BreakpointOutcome.Restart;
  // Registered anew meanwhile, and not looked at yet.
  if (found.instruction === null) return BreakpointOutcome.Restart;
  yield* handlerChain(current, mm, uprobes, found);
  return BreakpointOutcome.Stepped;
}
