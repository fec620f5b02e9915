/**
 * The tagged-address ABI and tag checking of a process: prctl and sysfs. On an architecture without, every call is
 * EINVAL.
 * Left out: `sysctl abi.tagged_addr_disabled`, PR_SET_TAGGED_ADDR_CTRL of 32-bit processes.
 * @see Linux kernel/sys.c, `prctl`; arch/arm64/kernel/process.c, `set_tagged_addr_ctrl`; arch/arm64/kernel/mte.c,
 * `set_mte_ctrl`, `mte_tcf_preferred_store`; Documentation/arch/arm64/memory-tagging-extension.rst
 */

import type { TagCheckMode } from '../../arch/thread-state.ts';
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';

export const PR_SET_TAGGED_ADDR_CTRL = 55;
export const PR_GET_TAGGED_ADDR_CTRL = 56;

/**
 * prctl(PR_SET_TAGGED_ADDR_CTRL, control, 0, 0, 0): 0, or -EINVAL (a bit that is unknown, a further argument that is
 * not 0).
 * @param rest the third to fifth argument
 */
export function* sysPrctlSetTaggedAddrCtrl(
  current: TaskStruct,
  control: bigint,
  rest: readonly bigint[] = [],
): Task<number> {
  if (rest.some((argument) => argument !== 0n)) return -EINVAL;
  yield current.credentialsWrite;
  return setTaggedAddrCtrl(current, control);
}

/**
 * prctl(PR_GET_TAGGED_ADDR_CTRL, 0, 0, 0, 0): the control word or -EINVAL.
 * @param rest the second to fifth argument
 */
export function sysPrctlGetTaggedAddrCtrl(current: TaskStruct, rest: readonly bigint[] = []): number {
  if (rest.some((argument) => argument !== 0n)) return -EINVAL;
  const control = getTaggedAddrCtrl(current);
  return control === null ? -EINVAL : Number(control);
}

/** `set_tagged_addr_ctrl`, also of a task that does not run: 0 or -EINVAL. */
export function setTaggedAddrCtrl(task: TaskStruct, control: bigint): number {
  return task.kernel.arch.taggedAddressControl?.set(task.thread, control) === true ? 0 : -EINVAL;
}

/** `get_tagged_addr_ctrl`; null where there is no such ABI. */
export function getTaggedAddrCtrl(task: TaskStruct): bigint | null {
  return task.kernel.arch.taggedAddressControl?.get(task.thread) ?? null;
}

const MODES: readonly TagCheckMode[] = ['async', 'sync', 'asymm'];

/**
 * Writes `/sys/devices/system/cpu/cpuN/mte_tcf_preferred`: the length of the text, or -EINVAL for a word that is none of
 * `async`, `sync` and `asymm` (a line end after it is fine). It counts from the CPU's next task switch on.
 */
export function writeTcfPreferred(kernel: Kernel, cpu: number, text: string): number {
  const mode = MODES.find((name) => name === text.replace(/\n$/, ''));
  const { memoryTags } = kernel.arch;
  if (mode === undefined || memoryTags === null) return -EINVAL;
  return memoryTags.setPreferredMode(cpu, mode) ? text.length : -EINVAL;
}
