/**
 * What an architecture keeps for each task beside its address space (`struct thread_struct`, and the `TIF_` flags that
 * belong to it): loaded into the CPU when the task is switched to. Generic kernel code hands it around and never looks
 * inside.
 */

/** Each architecture extends it. */
export class ThreadState {
  /** Name of the task, for messages. */
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/**
 * The tagged-address ABI of an architecture that has one, with the word that prctl(PR_SET_TAGGED_ADDR_CTRL) and the
 * regset NT_ARM_TAGGED_ADDR_CTRL share. What the bits mean is the architecture's.
 * @see Linux Documentation/arch/arm64/tagged-address-abi.rst; arch/arm64/kernel/process.c, `set_tagged_addr_ctrl`
 */
export interface TaggedAddressControl {
  /** The number of that regset. */
  readonly registerSet: number;
  /** False (EINVAL): a bit that is unknown or not supported; nothing changes then. A running task's CPU follows at once. */
  set(thread: ThreadState, control: bigint): boolean;
  get(thread: ThreadState): bigint;
}

/** When a failed tag check is reported. */
export type TagCheckMode = 'async' | 'sync' | 'asymm';

/**
 * Memory that has tags: arm64 MTE. Frames are numbers, granules count `granuleBytes` from the frame's first byte.
 * Which pages hold valid tags is the kernel's to keep (`FrameFlag.Tagged`).
 * @see Linux arch/arm64/kernel/mte.c, arch/arm64/include/asm/mte.h
 */
export interface MemoryTags {
  /** Bytes that one tag is for: 16. */
  readonly granuleBytes: number;
  /** Highest tag + 1: 16. */
  readonly tagLimit: number;
  /** VM_MTE, in the high half of a VMA's flag word. */
  readonly vmFlagHigh: number;
  /**
   * Would a leaf with these `EntryFlag` bits let user space reach the tags of its page? Then they must be valid before
   * it is set. @see Linux arch/arm64/include/asm/pgtable.h, `__sync_cache_and_tags`
   */
  exposesTags(entryFlags: number): boolean;
  /** `mte_clear_page_tags`: every tag of the frame is 0. */
  clearFrame(frame: number): void;
  /** `mte_copy_page_tags`. */
  copyFrame(from: number, to: number): void;
  readTag(frame: number, granule: number): number;
  writeTag(frame: number, granule: number, tag: number): void;
  /**
   * `/sys/devices/system/cpu/cpuN/mte_tcf_preferred`: what a CPU does for tasks that accept more than one mode. It
   * counts from the next switch to a task on. False (EINVAL): the CPU has no such mode.
   */
  setPreferredMode(cpu: number, mode: TagCheckMode): boolean;
  preferredMode(cpu: number): TagCheckMode;
  /** PSTATE.TCO of the task that `cpu` runs: its own loads and stores are not checked while it is set. */
  setTagCheckOverride(cpu: number, on: boolean): void;
  /**
   * On the way back to user mode: was a tag check of the task's own instructions found to have failed, asynchronously,
   * when it came into the kernel (TIF_MTE_ASYNC_FAULT)? Asking takes it back.
   */
  takeAsynchronousFault(thread: ThreadState): boolean;
}
