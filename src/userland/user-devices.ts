/** The part of `User` about memory of devices and devices that use memory: mappings of I/O memory, device-exclusive pages, KVM's page faults. */
import type { Task } from '../base/task.ts';
import * as devices from './calls/devices.ts';
import type { ProcessContext } from './calls/process-context.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';
import { PinUser } from './user-pins.ts';

/** Arguments of `User.openDevice`. */
export interface DeviceArguments {
  /** Bytes of memory that the device has, rounded up to pages. */
  readonly bytes: Word;
  /**
   * When its driver fills a mapping. `remap` (default): all of it in mmap (`remap_pfn_range`). `fault`: page by page when it is
   * touched (`vmf_insert_pfn`), of shared mappings only. `mixed`: as `fault`, in a VM_MIXEDMAP mapping, which may be private.
   */
  readonly fill?: 'remap' | 'fault' | 'mixed';
  /** The driver has `vm_ops->access` (`generic_access_phys`), so that debuggers see the memory; default true. */
  readonly access?: boolean;
  /** Mapped as device memory (`pgprot_noncached`); default false: as ordinary memory. */
  readonly noncached?: boolean;
}

/** One memory slot of `User.kvmCreateVm`. All multiples of 4096. */
export interface KvmSlot {
  /** First byte in the guest's physical memory. */
  readonly guest: bigint;
  /** First byte in the process. */
  readonly address: bigint;
  readonly bytes: Word;
  /** KVM_MEM_READONLY; default false. */
  readonly readOnly?: boolean;
}

/** Arguments of `User.kvmCreateVm`. */
export interface KvmArguments {
  readonly slots: readonly KvmSlot[];
  /** The guest can do without a page for a while (default true); else the vCPU waits for it itself. */
  readonly asyncPageFaults?: boolean;
}

/** How pages of a guest were found: see `User.kvmPageFaults`. */
export interface KvmPageFaults {
  readonly fast: number;
  readonly slow: number;
  readonly remapped: number;
  readonly async: number;
}

export class DeviceUser extends PinUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * Puts a new device with memory of its own, all zeros and outside RAM, on the board and opens it: gives a descriptor for
   * `mmap`, `fork` and `close`. It can not be read, written or truncated (EINVAL).
   * @throws InputError for no bytes, or more than 1 GiB
   * @see Linux drivers/char/mem.c, `mmap_mem`; mm/memory.c, `remap_pfn_range`, `vmf_insert_pfn`, `generic_access_phys`
   */
  openDevice(args: DeviceArguments): Task<Outcome<number>> {
    return this.#context.made('openDevice', devices.openDevice(this.#context, args));
  }

  /**
   * What the device itself finds in its memory: so many bytes from byte `offset` on, past all page tables.
   * @errors EBADF (no device), EINVAL (beyond its end)
   */
  deviceRead(fd: number, bytes: Word, offset: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('deviceRead', devices.deviceRead(this.#context, fd, bytes, offset));
  }

  /** The device itself writes into its memory, from byte `offset` on. @errors EBADF (no device), EINVAL (beyond its end) */
  deviceWrite(fd: number, data: Uint8Array, offset: Word): Task<Outcome<void>> {
    return this.#context.made('deviceWrite', devices.deviceWrite(this.#context, fd, data, offset));
  }

  /**
   * Makes an object of a graphics driver: so many bytes of RAM, zeros, rounded up to pages, for shared mappings (private ones
   * are EINVAL), which the driver may take back. Gives a descriptor for `mmap`, `gemPurge`, `fork` and `close`.
   * @errors ENOMEM. @throws InputError for no bytes, or more than 1 GiB
   * @see Linux drivers/gpu/drm/drm_gem_shmem_helper.c
   */
  gemCreate(bytes: Word): Task<Outcome<number>> {
    return this.#context.made('gemCreate', devices.gemCreate(this.#context, bytes));
  }

  /**
   * The driver takes the object's pages out of every mapping and gives them to whoever needs memory; an access is a SIGBUS from
   * then on. @errors EBADF. @see Linux drivers/gpu/drm/drm_gem_shmem_helper.c, `drm_gem_shmem_purge_locked`
   */
  gemPurge(fd: number): Task<Outcome<void>> {
    return this.#context.made('gemPurge', devices.gemPurge(this.#context, fd));
  }

  /**
   * Opens a device that works in the memory of process `pid` (default: the caller's own) and can have pages of it for itself:
   * gives a descriptor. While it is open, notifiers tell it what changes there.
   * @errors ESRCH (no such process, or without memory). @see Linux lib/test_hmm.c, `dmirror_fops_open`
   */
  openMirrorDevice(pid?: number): Task<Outcome<number>> {
    return this.#context.made('openMirrorDevice', devices.openMirrorDevice(this.#context, pid));
  }

  /**
   * Makes the pages that the range touches the device's own: no CPU reaches them, until one tries. After an error the pages
   * before it are the device's.
   * @errors EBADF, EINVAL (0 bytes; no memory any more), EFAULT (not mapped, not writable, memory of a device), EOPNOTSUPP (of
   * a file, or a huge page of a pool), EINTR
   * @see Linux mm/rmap.c, `make_device_exclusive`; lib/test_hmm.c, `dmirror_exclusive`
   */
  makeDeviceExclusive(fd: number, address: bigint, bytes: Word = 4096): Task<Outcome<void>> {
    const call = devices.makeExclusive(this.#context, fd, address, bytes);
    return this.#context.made('makeDeviceExclusive', call);
  }

  /**
   * The device adds to 8 aligned bytes of a page that it has for itself, atomically, and gives what they held before.
   * @errors EBADF, ENOENT (it does not have the page, or no longer), EFAULT (not aligned)
   */
  deviceFetchAdd(fd: number, address: bigint, value: Word): Task<Outcome<bigint>> {
    return this.#context.made('deviceFetchAdd', devices.deviceFetchAdd(this.#context, fd, address, value));
  }

  /** First bytes of the pages that the device has for itself now, ascending. @errors EBADF */
  deviceExclusivePages(fd: number): Task<Outcome<readonly bigint[]>> {
    return this.#context.made('deviceExclusivePages', devices.deviceExclusivePages(this.#context, fd));
  }

  /**
   * Makes a virtual machine whose memory is memory of this process, and gives a descriptor.
   * @throws InputError for a slot that is not made of whole pages
   * @see Linux virt/kvm/kvm_main.c, `kvm_set_memory_region`
   */
  kvmCreateVm(args: KvmArguments): Task<Outcome<number>> {
    return this.#context.made('kvmCreateVm', devices.kvmCreateVm(this.#context, args));
  }

  /**
   * The guest reads so many bytes of its physical memory, page by page, this program being its vCPU. A page that must be waited
   * for (userfaultfd, a page being written to swap) is faulted in by a worker of the kernel, with the design's lock.
   * @errors EBADF, EIO (the VM was made in another address space: a child after fork, or the program before execve), EFAULT (no
   * slot, no memory), EHWPOISON (broken memory), EINTR
   * @see Linux virt/kvm/kvm_main.c, `kvm_vcpu_ioctl`, `hva_to_pfn`; virt/kvm/async_pf.c, `async_pf_execute`
   */
  kvmRead(fd: number, guest: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('kvmRead', devices.kvmRead(this.#context, fd, guest, bytes));
  }

  /** As `kvmRead`: the guest writes. @errors also EFAULT (a slot or memory that is read-only) */
  kvmWrite(fd: number, guest: bigint, data: Uint8Array): Task<Outcome<void>> {
    return this.#context.made('kvmWrite', devices.kvmWrite(this.#context, fd, guest, data));
  }

  /**
   * How often pages of the guest were found until now: `fast` by gup-fast, `slow` by get_user_pages_unlocked, `remapped` in a
   * mapping of device memory; and how many were left to the worker (`async`), each found by one of the others afterwards.
   * @errors EBADF
   */
  kvmPageFaults(fd: number): Task<Outcome<KvmPageFaults>> {
    return this.#context.made('kvmPageFaults', devices.kvmPageFaults(this.#context, fd));
  }
}
