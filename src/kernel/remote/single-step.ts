/**
 * What a debugger's single step looks at first, on an architecture whose trace flag a program can set itself: is the next
 * instruction one that does so? Then the flag that the program sees afterwards is its own. The bytes are read by
 * FOLL_FORCE, as code need not be readable; what cannot be read is no such instruction.
 * Left out: segments other than flat ones, block steps, the step itself.
 * @see Linux arch/x86/kernel/step.c, `is_setting_trap_flag`
 */
import type { Task } from '../../base/task.ts';
import { FOLL_FORCE } from '../gup/foll-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accessProcessVm } from './access-remote-vm.ts';

/**
 * Does the instruction at `address` of `task` set the trace flag? False on an architecture where none does, without a
 * look at memory.
 * @param address a byte address: where the instruction pointer is
 */
export function* isSettingTrapFlag(current: TaskStruct, task: TaskStruct, address: bigint): Task<boolean> {
  const { trapFlagInstructions } = current.kernel.arch.probes;
  if (trapFlagInstructions === null) return false;
  const bytes = new Uint8Array(trapFlagInstructions.longest);
  const copied = yield* accessProcessVm(current, task, address, bytes, bytes.length, FOLL_FORCE);
  return trapFlagInstructions.sets(bytes.subarray(0, copied));
}
