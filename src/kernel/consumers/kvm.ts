/**
 * A virtual machine in a process: its guest memory is memory of the process (memory slots), and a guest access to a page is a
 * page fault of KVM, which finds the host's frame through GUP.
 * Left out: page tables of the guest and of KVM (each access finds its page anew, so there is nothing that a notifier would
 * have to take away), huge pages, dirty logging, guest_memfd, instructions.
 * @see Linux virt/kvm/kvm_main.c, `hva_to_pfn`, `hva_to_pfn_fast`, `hva_to_pfn_slow`, `hva_to_pfn_remapped`;
 * arch/x86/kvm/mmu/mmu.c, `kvm_mmu_faultin_pfn`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EFAULT, EHWPOISON, EINTR, EIO } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { fixupUserFault } from '../gup/fixup-user-fault.ts';
import {
  FOLL_HONOR_NUMA_FAULT,
  FOLL_HWPOISON,
  FOLL_INTERRUPTIBLE,
  FOLL_NOWAIT,
  FOLL_WRITE,
} from '../gup/foll-flags.ts';
import { getUserPagesFastOnly } from '../gup/get-user-pages-fast.ts';
import { getUserPagesUnlocked } from '../gup/get-user-pages-unlocked.ts';
import { putUserPage } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { FAULT_FLAG_WRITE } from '../mm/fault/fault-flags.ts';
import { followPfnmapEnd, followPfnmapStart } from '../mm/follow-pfnmap.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_IO, VM_PFNMAP, VM_READ, VM_WRITE } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { ASYNC_PF_PER_VCPU, AsyncPageFault } from './kvm-async-pf.ts';

/** KVM_SET_USER_MEMORY_REGION. Pages. */
export interface MemorySlot {
  readonly guestPage: number;
  readonly pages: number;
  readonly hostPage: number;
  /** KVM_MEM_READONLY. */
  readonly readOnly: boolean;
}

/** How pages of the guest were found. */
export interface KvmCounters {
  /** By gup-fast. */
  fast: number;
  /** By get_user_pages_unlocked. */
  slow: number;
  /** Memory of a device, by its entry. */
  remapped: number;
  /** Work items for the worker. */
  async: number;
}

/** A page of the host that the guest wants. */
interface GuestFault {
  readonly page: number;
  readonly write: boolean;
  /** The slot lets the guest write, so a writable page is wanted also for a read. */
  readonly mapWritable: boolean;
}

/** A frame for the guest. */
interface GuestFrame {
  readonly frame: number;
  /** A reference is held. */
  readonly referenced: boolean;
  /** Got for writing: the guest may write now without another fault, so the page counts as dirty from now on. */
  readonly writable: boolean;
}

/** No frame: the page has to be read first, which FOLL_NOWAIT does not do (KVM_PFN_ERR_NEEDS_IO). */
const NEEDS_IO = 1;
type Found = GuestFrame | number;

/** Runs a work item in a task of its own. */
export type QueueWork = (work: (worker: TaskStruct) => Task<void>) => void;

export class Kvm {
  readonly mm: MmStruct;
  readonly counters: KvmCounters = { fast: 0, slow: 0, remapped: 0, async: 0 };
  readonly #slots: readonly MemorySlot[];
  /** Null: the vCPU waits for its pages itself. */
  readonly #queue: QueueWork | null;
  #underWay = 0;

  constructor(mm: MmStruct, slots: readonly MemorySlot[], queue: QueueWork | null) {
    this.mm = mm;
    this.#slots = slots;
    this.#queue = queue;
  }

  /**
   * The guest reads or writes bytes within one page; `current` is the vCPU, a thread of the process. 0, or how KVM_RUN ends:
   * -EIO (the caller's address space is not the one that the VM was made in, as for a child after fork, or after execve),
   * -EFAULT (no memory slot, no such memory, not to be written), -EHWPOISON (broken memory: the thread gets SIGBUS), -EINTR.
   * @see Linux virt/kvm/kvm_main.c, `kvm_vcpu_ioctl`
   */
  *access(
    current: TaskStruct,
    guestPage: number,
    offset: number,
    bytes: Uint8Array,
    write: boolean,
  ): Task<number> {
    // GUP would look into the caller's memory, everything else into that of the VM.
    if (current.mm !== this.mm) return -EIO;
    const slot = this.#slots.find(
      ({ guestPage: first, pages }) => guestPage >= first && guestPage < first + pages,
    );
    if (slot === undefined || (write && slot.readOnly)) return -EFAULT;
    const fault: GuestFault = {
      page: slot.hostPage + guestPage - slot.guestPage,
      write,
      mapWritable: !slot.readOnly,
    };
    const found = yield* this.#faultinPfn(current, fault);
    if (typeof found === 'number') return found;
    const { memory } = current.kernel.machine;
    yield current.kernel.copyPoints.of(found.frame, bytes.length, write);
    if (write) memory.writeBytes(found.frame, offset, bytes);
    else memory.readBytes(found.frame, offset, bytes);
    if (found.writable && found.referenced) current.kernel.frames.setFlags(found.frame, FrameFlag.Dirty);
    if (found.referenced) yield* putUserPage(current, found.frame);
    return 0;
  }

  /** First without waiting; then by a worker, after which the guest faults again; or the vCPU waits itself. */
  *#faultinPfn(current: TaskStruct, fault: GuestFault): Task<Found> {
    const flags = fault.write ? FOLL_WRITE : 0;
    for (;;) {
      const found = yield* this.#hvaToPfn(current, fault, flags | FOLL_NOWAIT);
      if (found !== NEEDS_IO) return found;
      if (this.#queue === null || this.#underWay >= ASYNC_PF_PER_VCPU) break;
      yield* this.#asyncPageFault(current, fault.page, this.#queue);
      if (current.fatalSignalPending()) return -EINTR;
    }
    return yield* this.#hvaToPfn(current, fault, flags | FOLL_INTERRUPTIBLE);
  }

  *#asyncPageFault(current: TaskStruct, page: number, queue: QueueWork): Task<void> {
    this.counters.async++;
    this.#underWay++;
    const work = new AsyncPageFault(this.mm, page);
    queue((worker) => work.execute(worker));
    yield* work.halt(current);
    this.#underWay--;
  }

  /** @see `hva_to_pfn` */
  *#hvaToPfn(current: TaskStruct, { page, write, mapWritable }: GuestFault, flags: number): Task<Found> {
    const pages = [0];
    // Only a writable page: the guest may be about to write what it reads.
    if ((write || mapWritable) && (yield* getUserPagesFastOnly(current, page, 1, FOLL_WRITE, pages)) === 1) {
      this.counters.fast++;
      return { frame: pages[0] as number, referenced: true, writable: true };
    }
    // The guest's access is one like any other, which NUMA balancing wants to know of.
    const slow = flags | FOLL_HWPOISON | FOLL_HONOR_NUMA_FAULT;
    const got = yield* getUserPagesUnlocked(current, page, 1, pages, slow);
    if (got === 1) {
      this.counters.slow++;
      const frame = pages[0] as number;
      if (write || !mapWritable) return { frame, referenced: true, writable: write };
      return yield* this.#asWritable(current, page, frame);
    }
    if (got === -EINTR || got === -EAGAIN) return -EINTR;
    if (got === -EHWPOISON) return -EHWPOISON;
    return yield* this.#withoutPage(current, page, flags);
  }

  /** The page may be a writable one by now, and one fault less to come. @see `hva_to_pfn_slow` */
  *#asWritable(current: TaskStruct, page: number, frame: number): Task<GuestFrame> {
    const pages = [0];
    const got = yield* getUserPagesFastOnly(current, page, 1, FOLL_WRITE, pages);
    if (got !== 1) return { frame, referenced: true, writable: false };
    yield* putUserPage(current, frame);
    return { frame: pages[0] as number, referenced: true, writable: true };
  }

  /** GUP gave nothing: memory of a device, a page that must be waited for, or no memory. */
  *#withoutPage(current: TaskStruct, page: number, flags: number): Task<Found> {
    const { mm } = this;
    yield* mmapReadLock(current, mm);
    let found: Found = -EAGAIN;
    while (found === -EAGAIN) {
      const vma = mm.vmas.lookup(page);
      if (vma === null) found = -EFAULT;
      else if ((vma.flags & (VM_IO | VM_PFNMAP)) !== 0)
        found = yield* this.#remapped(current, vma, page, flags);
      else found = (flags & FOLL_NOWAIT) !== 0 && isVmaValid(vma, flags) ? NEEDS_IO : -EFAULT;
    }
    yield* mmapReadUnlock(current, mm);
    return found;
  }

  /** @see `hva_to_pfn_remapped` */
  *#remapped(current: TaskStruct, vma: VmArea, page: number, flags: number): Task<Found> {
    const write = (flags & FOLL_WRITE) !== 0;
    let entry = yield* followPfnmapStart(current, vma, page);
    if (entry === null) {
      // GUP does not call the fault handler of such a mapping.
      const unlocked = { happened: false };
      const error = yield* fixupUserFault(current, this.mm, page, write ? FAULT_FLAG_WRITE : 0, unlocked);
      if (unlocked.happened) return -EAGAIN;
      if (error !== 0) return -EFAULT;
      entry = yield* followPfnmapStart(current, vma, page);
      if (entry === null) return -EFAULT;
    }
    const { frame, writable } = entry;
    yield* followPfnmapEnd(current, entry);
    if (write && !writable) return -EFAULT;
    this.counters.remapped++;
    return { frame, referenced: false, writable };
  }
}

/** @see `vma_is_valid` */
function isVmaValid({ flags }: VmArea, gupFlags: number): boolean {
  if ((flags & VM_READ) === 0) return false;
  return (gupFlags & FOLL_WRITE) === 0 || (flags & VM_WRITE) !== 0;
}
