/**
 * PTRACE_GETREGSET and PTRACE_SETREGSET, for the one register set that belongs to memory: the word of
 * prctl(PR_SET_TAGGED_ADDR_CTRL) of another process, on an architecture that has it.
 * Left out: every other register set.
 * @see Linux kernel/ptrace.c, `ptrace_regset`; arch/arm64/kernel/ptrace.c, `tagged_addr_ctrl_get`, `tagged_addr_ctrl_set`
 */
import { atomically, type Task } from '../../base/task.ts';
import { EINVAL, ESRCH } from '../errno.ts';
import { getTaggedAddrCtrl, setTaggedAddrCtrl } from '../process/tagged-address.ts';
import type { TaskStruct } from '../task-struct.ts';
import { stoppedTracee } from './ptrace.ts';

/** Bytes of its one register. */
const WORD_BYTES = 8;

const isControlSet = ({ kernel }: TaskStruct, type: number): boolean =>
  kernel.arch.taggedAddressControl?.registerSet === type;

/**
 * The control word, as 8 bytes little endian, into `buffer`: 0, -ESRCH, or -EINVAL (no such set, or a length that is no
 * multiple of 8). One step: a stopped tracee does not change its own word, and nobody else does.
 */
export function ptraceGetRegset(
  current: TaskStruct,
  pid: number,
  type: number,
  buffer: Uint8Array,
): Task<number> {
  return atomically(() => readControl(current, pid, type, buffer));
}

function readControl(current: TaskStruct, pid: number, type: number, buffer: Uint8Array): number {
  const task = stoppedTracee(current, pid);
  if (task === null) return -ESRCH;
  const control = getTaggedAddrCtrl(task);
  if (!isControlSet(task, type) || control === null || buffer.length % WORD_BYTES !== 0) return -EINVAL;
  if (buffer.length === 0) return 0;
  new DataView(buffer.buffer, buffer.byteOffset).setBigUint64(0, control, true);
  return 0;
}

/** Sets it: 0, -ESRCH, or -EINVAL (no such set, a wrong length, a bit that is unknown). No bytes change nothing. */
export function* ptraceSetRegset(
  current: TaskStruct,
  pid: number,
  type: number,
  buffer: Uint8Array,
): Task<number> {
  const task = stoppedTracee(current, pid);
  if (task === null) return -ESRCH;
  if (!isControlSet(task, type) || buffer.length % WORD_BYTES !== 0) return -EINVAL;
  yield task.ptraceWrite;
  const control =
    buffer.length === 0
      ? getTaggedAddrCtrl(task)
      : new DataView(buffer.buffer, buffer.byteOffset).getBigUint64(0, true);
  return control === null ? -EINVAL : setTaggedAddrCtrl(task, control);
}
