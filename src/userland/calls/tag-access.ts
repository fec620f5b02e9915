/**
 * What a tag instruction of a program does: made by the CPU with user rights, faults handed to the kernel and the
 * instruction started anew, until it is through or a signal ends it.
 */
import { Access } from '../../arch/access.ts';
import type { FaultKind } from '../../arch/fault.ts';
import type { TagInstructions } from '../../arch/tag-instructions.ts';
import type { Task } from '../../base/task.ts';
import { highHalf, lowHalf } from '../../base/u64.ts';
import type { SignalInfo } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { faultSignal } from './access.ts';

/** An instruction that reaches memory: 0, or the fault. */
export type TagInstruction = (tags: TagInstructions, hi: number, lo: number, access: number) => FaultKind;

/** The tag instructions of the CPU that `task` runs on; null on a machine that has none. */
export function tagInstructionsOf(task: TaskStruct): TagInstructions | null {
  return task.kernel.arch.tagInstructions?.[task.cpu] ?? null;
}

/** @returns null, or the signal that ended it */
export function* userTagAccess(
  task: TaskStruct,
  address: bigint,
  instruction: TagInstruction,
): Task<SignalInfo | null> {
  const tags = tagInstructionsOf(task);
  if (tags === null) throw new Error(`${task.name} runs on a CPU without tag instructions`);
  const at = BigInt.asUintN(64, address);
  while (instruction(tags, highHalf(at), lowHalf(at), Access.User) !== 0) {
    const signal = yield* faultSignal(task, tags);
    if (signal !== null) return signal;
  }
  return null;
}

const TAG_LOW = 56n;

/** The logical tag of a pointer, bits 59:56. */
export const logicalTag = (address: bigint): number => Number((address >> TAG_LOW) & 0xfn);

/** The pointer with another logical tag, as LDG leaves it. */
export const withLogicalTag = (address: bigint, tag: number): bigint =>
  (address & ~(0xfn << TAG_LOW)) | (BigInt(tag) << TAG_LOW);
