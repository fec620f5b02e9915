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
}
