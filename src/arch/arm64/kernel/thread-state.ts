/**
 * What Linux keeps of a task for tagged addresses and tag checks, and the word that user space gives it.
 * @see Linux arch/arm64/include/asm/processor.h, `struct thread_struct` (`mte_ctrl`, `sctlr_user`);
 * arch/arm64/include/asm/thread_info.h, `TIF_TAGGED_ADDR`, `TIF_MTE_ASYNC_FAULT`; include/uapi/linux/prctl.h
 */
import { type TagCheckMode, ThreadState } from '../../thread-state.ts';
import {
  PR_MTE_TAG_SHIFT,
  PR_MTE_TCF_ASYNC,
  PR_MTE_TCF_SYNC,
  PR_TAGGED_ADDR_ENABLE,
} from '../../user-abi.ts';

const ALL_TAGS = 0xffff;
const PR_MTE_TAG_MASK = ALL_TAGS << PR_MTE_TAG_SHIFT;

/** SCTLR_EL1.TCF0: what happens when a tag check of EL0 fails. */
export const TagCheckFault = { Ignored: 0, Synchronous: 1, Asynchronous: 2, Asymmetric: 3 } as const;
export type TagCheckFault = (typeof TagCheckFault)[keyof typeof TagCheckFault];

export class Arm64ThreadState extends ThreadState {
  /** TIF_TAGGED_ADDR: system calls take tagged pointers to data. */
  taggedAddresses = false;
  /** The modes it accepts (MTE_CTRL_TCF_*). */
  sync = false;
  async = false;
  asymm = false;
  /** GCR_EL1.Exclude: tags that IRG does not give. A program begins with all of them excluded. */
  exclude = ALL_TAGS;
  /** It is in the kernel: what its own instructions left behind was looked at when it came in. */
  inKernel = false;
  /** TIF_MTE_ASYNC_FAULT. */
  asynchronousFault = false;
  /** PSTATE.TCO of its own code, while it does not run. */
  tco = false;

  /** `arch_dup_task_struct`: a fault that waits is the parent's alone. */
  static copyOf(name: string, parent: Arm64ThreadState): Arm64ThreadState {
    const copy = new Arm64ThreadState(name);
    const { taggedAddresses, sync, async, asymm, exclude, tco } = parent;
    return Object.assign(copy, { taggedAddresses, sync, async, asymm, exclude, tco });
  }
}

/** What the processor has. */
export interface TagFeatures {
  /** FEAT_MTE2: memory with tags. */
  readonly mte: boolean;
  /** FEAT_MTE_ASYM_FAULT. */
  readonly asymm: boolean;
}

/**
 * Puts a control word into the task: false, and nothing changed, for a bit that is not known.
 * @see Linux arch/arm64/kernel/process.c `set_tagged_addr_ctrl`, arch/arm64/kernel/mte.c `set_mte_ctrl`
 */
export function setControl(thread: Arm64ThreadState, control: bigint, { mte, asymm }: TagFeatures): boolean {
  const tagging = mte ? PR_MTE_TCF_SYNC | PR_MTE_TCF_ASYNC | PR_MTE_TAG_MASK : 0;
  if ((control & ~BigInt(PR_TAGGED_ADDR_ENABLE | tagging)) !== 0n) return false;
  const word = Number(control);
  thread.taggedAddresses = (word & PR_TAGGED_ADDR_ENABLE) !== 0;
  if (!mte) return true;
  thread.sync = (word & PR_MTE_TCF_SYNC) !== 0;
  thread.async = (word & PR_MTE_TCF_ASYNC) !== 0;
  // Whoever takes both takes a mixture of both.
  thread.asymm = asymm && thread.sync && thread.async;
  thread.exclude = ~(word >> PR_MTE_TAG_SHIFT) & ALL_TAGS;
  return true;
}

/** @see Linux arch/arm64/kernel/process.c `get_tagged_addr_ctrl`, arch/arm64/kernel/mte.c `get_mte_ctrl` */
export function getControl(thread: Arm64ThreadState, { mte }: TagFeatures): bigint {
  let word = thread.taggedAddresses ? PR_TAGGED_ADDR_ENABLE : 0;
  if (mte) {
    if (thread.sync) word |= PR_MTE_TCF_SYNC;
    if (thread.async) word |= PR_MTE_TCF_ASYNC;
    word |= (~thread.exclude & ALL_TAGS) << PR_MTE_TAG_SHIFT;
  }
  return BigInt(word);
}

/**
 * What the CPU does for the task: what the CPU prefers where the task accepts it, else what was asked for.
 * @see Linux arch/arm64/kernel/mte.c, `mte_update_sctlr_user`
 */
export function tagCheckFault(thread: Arm64ThreadState, preferred: TagCheckMode): TagCheckFault {
  const chosen = thread[preferred] ? { sync: false, async: false, asymm: false, [preferred]: true } : thread;
  if (chosen.asymm) return TagCheckFault.Asymmetric;
  if (chosen.async) return TagCheckFault.Asynchronous;
  return chosen.sync ? TagCheckFault.Synchronous : TagCheckFault.Ignored;
}
