/**
 * What a sleepable BPF program reads of another task: memory, or a string. Neither has FOLL_FORCE, so that what the task
 * itself may not read the program does not get either; and no read is partial.
 * Left out: the verifier, which decides who may call them; the forms for dynptrs.
 * @see Linux kernel/bpf/helpers.c, `bpf_copy_from_user_task`, `bpf_copy_from_user_task_str`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINVAL } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accessProcessVm } from './access-remote-vm.ts';
import { copyRemoteVmStr } from './copy-remote-vm-str.ts';

/** What lies behind the string is zeroed, and on failure everything. @see include/uapi/linux/bpf.h */
const BPF_F_PAD_ZEROS = 1;

/**
 * All of `destination` from `address` of `task`: 0, -EINVAL (any flag), or -EFAULT with the whole destination zeroed.
 * @param address a byte address
 */
export function* bpfCopyFromUserTask(
  current: TaskStruct,
  destination: Uint8Array,
  address: bigint,
  task: TaskStruct,
  flags: bigint,
): Task<number> {
  if (flags !== 0n) return -EINVAL;
  const { length } = destination;
  if (length === 0) return 0;
  const moved = yield* accessProcessVm(current, task, address, destination, length, 0);
  if (moved === length) return 0;
  destination.fill(0);
  return -EFAULT;
}

/**
 * The string at `address` of `task`, with a NUL at its end or in the last place of `destination`: bytes with the NUL,
 * 0 for no room, -EINVAL (a flag other than BPF_F_PAD_ZEROS) or -EFAULT.
 */
export function* bpfCopyFromUserTaskStr(
  current: TaskStruct,
  destination: Uint8Array,
  address: bigint,
  task: TaskStruct,
  flags: bigint,
): Task<number> {
  if (flags !== 0n && flags !== BigInt(BPF_F_PAD_ZEROS)) return -EINVAL;
  const { length } = destination;
  if (length === 0) return 0;
  const copied = yield* copyRemoteVmStr(current, task, address, destination, length, 0);
  if (flags !== 0n) destination.fill(0, copied < 0 ? 0 : copied);
  return copied < 0 ? copied : copied + 1;
}
