/** The part of `User` about memory that drivers pin: io_uring buffers, VFIO, iommufd, RDMA, AF_XDP. */
import type { Task } from '../base/task.ts';
import * as legacy from './calls/legacy-vmas.ts';
import type { ProcessContext } from './calls/process-context.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';
import { GupUser } from './user-gup.ts';

/** Arguments of `User.legacyPinUserPages`. */
export interface LegacyPinArguments {
  /** Whose memory; default the caller's own. */
  readonly pid?: number;
  /** A byte of the first page. */
  readonly address: bigint;
  /** How many pages. */
  readonly pages: Word;
  /** FOLL_WRITE. */
  readonly write?: boolean;
  /** References (`get_user_pages_remote`) in place of pins. */
  readonly get?: boolean;
  /** Pass `locked`: GUP may drop mmap_lock for a fault that has to wait. */
  readonly mayUnlock?: boolean;
  /** `false` leaves out the check that refuses `vmas` to a call that may drop the lock. */
  readonly guard?: boolean;
}

/** What a VMA says of itself. */
export interface VmaContentView {
  /** Of the VMA that the object is; an object that is used again is another VMA. */
  readonly name: string;
  /** The address space, `mm of target`. */
  readonly mm: string;
  /** First byte, and the first byte beyond; null in a VMA that was freed. */
  readonly start: bigint | null;
  readonly end: bigint | null;
  /** VM_* bits 31:0. */
  readonly flags: number;
}

/** One look at `vmas[slot]`. */
export interface VmaUseView {
  readonly slot: number;
  /** First byte of the page for which the slot was filled. */
  readonly address: bigint;
  /** mmap_lock was let go since: a bug, whatever was read. */
  readonly afterUnlock: boolean;
  readonly fate: 'unchanged' | 'changed' | 'freed' | 'another VMA' | 'another mm';
  /** What it said when the slot was filled. */
  readonly was: VmaContentView;
  /** What it said now. */
  readonly reads: VmaContentView;
}

/** What `User.legacyPinUserPages` gives. */
export interface LegacyPinResult {
  /** A descriptor; `close` gives the pages back. */
  readonly fd: number;
  /** Pages got. */
  readonly pages: number;
  /** `vmas` as the driver saw them before it let the lock go; empty where GUP had dropped the lock. */
  readonly vmas: readonly VmaUseView[];
}

/** Arguments of `User.getUserPageVma`. */
export interface PageVmaArguments {
  /** Whose memory; default the caller's own. */
  readonly pid?: number;
  readonly address: bigint;
  /** FOLL_WRITE. */
  readonly write?: boolean;
  /** FOLL_FORCE. */
  readonly force?: boolean;
}

export class PinUser extends GupUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * A driver of before Linux 6.5 gets pages together with their VMAs (`pin_user_pages_remote(…, vmas, locked)`) under mmap_lock
   * and lets the lock go. For demonstrations: what it keeps of the VMAs is no longer good.
   * @errors EFAULT (no page; a fault that would have to wait), ESRCH, EINTR, EINVAL (`get` with `mayUnlock`); pins with
   * `mayUnlock` are refused with 0 pages @see Linux v6.4 mm/gup.c, `pin_user_pages_remote`, `is_valid_gup_args`
   */
  legacyPinUserPages(args: LegacyPinArguments): Task<Outcome<LegacyPinResult>> {
    return this.#context.made('legacyPinUserPages', legacy.legacyPinUserPages(this.#context, args));
  }

  /**
   * That driver looks at `vmas[slot]`, without the lock. Such a use is a warning of the kernel, and what it reads is what the
   * object holds now: another range, nothing, or a VMA of somebody else.
   * @errors EBADF (no such descriptor or slot)
   */
  legacyVma(fd: number, slot: number): Task<Outcome<VmaUseView>> {
    return this.#context.made('legacyVma', legacy.legacyVma(this.#context, fd, slot));
  }

  /**
   * The same driver as it is written today: one page and its VMA by `get_user_page_vma_remote`, what the VMA says copied
   * before the lock is let go.
   * @errors EFAULT, ESRCH. @see Linux include/linux/mm.h, `get_user_page_vma_remote`
   */
  getUserPageVma(args: PageVmaArguments): Task<Outcome<VmaContentView>> {
    return this.#context.made('getUserPageVma', legacy.getUserPageVma(this.#context, args));
  }
}
