/** The part of `User` about memory that drivers pin: io_uring buffers, VFIO, iommufd, RDMA, AF_XDP. */
import type { Task } from '../base/task.ts';
import * as legacy from './calls/legacy-vmas.ts';
import * as pins from './calls/pins.ts';
import type { ProcessContext } from './calls/process-context.ts';
import type { Outcome } from './outcome.ts';
import type {
  DmaMapArguments,
  DmaUnmapArguments,
  DriverName,
  DriverOptions,
  FixedRequestArguments,
  MemoryRegionArguments,
  VduseUmemArguments,
  VhostMapArguments,
  XdpUmemArguments,
} from './pin-arguments.ts';
import type { MemoryRange } from './ranges.ts';
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
   * That driver takes mmap_lock of the caller's memory again and says what the VMA of its `slot`-th page is now: it looks it up.
   * @errors EBADF (no such descriptor or slot), EFAULT (the page is not mapped any more)
   */
  legacyVmaAgain(fd: number, slot: number): Task<Outcome<VmaContentView>> {
    return this.#context.made('legacyVmaAgain', legacy.legacyVmaAgain(this.#context, fd, slot));
  }

  /**
   * The same driver as it is written today: one page and its VMA by `get_user_page_vma_remote`, what the VMA says copied
   * before the lock is let go.
   * @errors EFAULT, ESRCH. @see Linux include/linux/mm.h, `get_user_page_vma_remote`
   */
  getUserPageVma(args: PageVmaArguments): Task<Outcome<VmaContentView>> {
    return this.#context.made('getUserPageVma', legacy.getUserPageVma(this.#context, args));
  }

  /**
   * Opens a driver that pins memory: a descriptor, whose last `close`, or exit, gives back all that is pinned by it. fork
   * shares it, execve keeps it. No permission is asked for.
   */
  openDriver(name: DriverName, options: DriverOptions = {}): Task<Outcome<number>> {
    return this.#context.made('openDriver', pins.openDriver(this.#context, name, options));
  }

  /**
   * Pages that drivers keep: of this address space as pinned (`pinned_vm`) and as locked (`locked_vm`, with mlock), and of this
   * user (`user->locked_vm`). RLIMIT_MEMLOCK holds for each by itself.
   */
  pinnedPages(): { readonly pinned: number; readonly locked: number; readonly user: number } {
    return pins.pinnedPages(this.#context);
  }

  /**
   * The device that a driver stands for reads memory by itself, at an address of its own: an IOVA; for `io_uring` and `rdma` the
   * address that was registered; for `xdp`, `vduse` and `videobuf` a byte of the buffer. Gives what it read before the first
   * page that it has not.
   * @errors EFAULT (nothing: not mapped for the device, or not for reading), EBADF
   */
  dmaRead(fd: number, address: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('dmaRead', pins.dmaRead(this.#context, fd, address, bytes));
  }

  /** As `dmaRead`: the device writes; how many bytes it wrote. @errors EFAULT, EBADF */
  dmaWrite(fd: number, address: bigint, data: Uint8Array): Task<Outcome<number>> {
    return this.#context.made('dmaWrite', pins.dmaWrite(this.#context, fd, address, data));
  }

  /**
   * IORING_REGISTER_BUFFERS: pins the ranges, of at most 1 GiB each, for long and for writing. An empty range at 0 is a slot
   * without a buffer. All or none.
   * @errors EBUSY (there are some), EINVAL (none, above 16384; with a form, VMAs of different files), EFAULT, EOVERFLOW, ENOMEM
   * (the user's RLIMIT_MEMLOCK, unless the ring's maker had CAP_IPC_LOCK), EOPNOTSUPP (with a form, a file of the wrong kind)
   * @see io_uring_register(2); Linux io_uring/rsrc.c, `io_sqe_buffers_register`
   */
  ioUringRegisterBuffers(fd: number, ranges: readonly MemoryRange[]): Task<Outcome<void>> {
    const call = pins.ioUringRegisterBuffers(this.#context, fd, ranges);
    return this.#context.made('ioUringRegisterBuffers', call);
  }

  /** IORING_UNREGISTER_BUFFERS. @errors ENXIO (there are none), EBADF. @see io_uring_register(2) */
  ioUringUnregisterBuffers(fd: number): Task<Outcome<void>> {
    const call = pins.ioUringUnregisterBuffers(this.#context, fd);
    return this.#context.made('ioUringUnregisterBuffers', call);
  }

  /**
   * IORING_OP_READ_FIXED: from a file into the pages of a buffer, whatever is mapped at its address now. How many bytes.
   * @errors EFAULT (no such buffer, or not inside it), EBADF, and those of `pread`. @see Linux io_uring/rsrc.c, `io_import_fixed`
   */
  ioUringReadFixed(fd: number, request: FixedRequestArguments): Task<Outcome<number>> {
    const call = pins.ioUringFixed(this.#context, 'ioUringReadFixed', fd, request);
    return this.#context.made('ioUringReadFixed', call);
  }

  /** IORING_OP_WRITE_FIXED: from the pages of a buffer to a file. @errors as `ioUringReadFixed`, and those of `pwrite` */
  ioUringWriteFixed(fd: number, request: FixedRequestArguments): Task<Outcome<number>> {
    const call = pins.ioUringFixed(this.#context, 'ioUringWriteFixed', fd, request);
    return this.#context.made('ioUringWriteFixed', call);
  }

  /**
   * VFIO_IOMMU_MAP_DMA: whole pages, pinned and counted as locked memory; frames of a device (VM_PFNMAP) are mapped without.
   * @errors EINVAL, EOVERFLOW, EEXIST, ENOSPC, ENOMEM (RLIMIT_MEMLOCK, unless CAP_IPC_LOCK), EFAULT, EINTR
   * @see Linux drivers/vfio/vfio_iommu_type1.c, `vfio_dma_do_map`
   */
  vfioMapDma(fd: number, map: DmaMapArguments): Task<Outcome<void>> {
    return this.#context.made('vfioMapDma', pins.vfioMap(this.#context, fd, map));
  }

  /** VFIO_IOMMU_UNMAP_DMA: bytes unmapped, maybe 0. @errors EINVAL (not whole pages, a part of a mapping), EOVERFLOW */
  vfioUnmapDma(fd: number, unmap: DmaUnmapArguments): Task<Outcome<number>> {
    return this.#context.made('vfioUnmapDma', pins.vfioUnmap(this.#context, fd, unmap));
  }

  /**
   * IOMMU_IOAS_MAP at a given IOVA: whole pages; pinned now if a device is attached, else by `iommufdAttach`.
   * @errors EINVAL, EOVERFLOW, EEXIST, ENOMEM (RLIMIT_MEMLOCK), EFAULT. @see Linux drivers/iommu/iommufd/pages.c
   */
  iommufdMap(fd: number, map: DmaMapArguments): Task<Outcome<void>> {
    return this.#context.made('iommufdMap', pins.iommufdMap(this.#context, fd, map));
  }

  /** IOMMU_IOAS_UNMAP: bytes unmapped. @errors ENOENT (nothing there, or a part of a mapping), EINVAL, EOVERFLOW */
  iommufdUnmap(fd: number, unmap: DmaUnmapArguments): Task<Outcome<number>> {
    return this.#context.made('iommufdUnmap', pins.iommufdUnmap(this.#context, fd, unmap));
  }

  /**
   * Attaches a device: pins everything that is mapped, also by other processes that share the descriptor.
   * @errors EBUSY (there is one), ENOMEM, EFAULT (no page; or the process that mapped it is gone)
   */
  iommufdAttach(fd: number): Task<Outcome<void>> {
    return this.#context.made('iommufdAttach', pins.iommufdAttach(this.#context, fd));
  }

  /**
   * `ibv_reg_mr`: pins a range for an RDMA adapter, and gives its key.
   * @errors EINVAL, EPERM (RLIMIT_MEMLOCK is 0), ENOMEM (above it), EOPNOTSUPP (on demand), EFAULT
   * @see Linux drivers/infiniband/core/umem.c, `ib_umem_get`
   */
  ibRegMr(fd: number, region: MemoryRegionArguments): Task<Outcome<number>> {
    return this.#context.made('ibRegMr', pins.regMr(this.#context, fd, region));
  }

  /** `ibv_dereg_mr`. @errors EINVAL (no such key) */
  ibDeregMr(fd: number, key: number): Task<Outcome<void>> {
    return this.#context.made('ibDeregMr', pins.deregMr(this.#context, fd, key));
  }

  /**
   * XDP_UMEM_REG of an AF_XDP socket.
   * @errors EBUSY (has one), EINVAL, ENOBUFS (the user's RLIMIT_MEMLOCK, unless CAP_IPC_LOCK), ENOMEM (only a part), EFAULT
   * @see Linux net/xdp/xdp_umem.c, `xdp_umem_reg`
   */
  xdpUmemReg(fd: number, umem: XdpUmemArguments): Task<Outcome<void>> {
    return this.#context.made('xdpUmemReg', pins.xdpUmem(this.#context, fd, umem));
  }

  /**
   * VHOST_IOTLB_UPDATE of vhost-vdpa.
   * @errors EPERM (not the process that opened it), EINVAL, EEXIST, ENOMEM (RLIMIT_MEMLOCK, also with CAP_IPC_LOCK), EFAULT
   * @see Linux drivers/vhost/vdpa.c, `vhost_vdpa_pa_map`
   */
  vhostVdpaMap(fd: number, map: VhostMapArguments): Task<Outcome<void>> {
    return this.#context.made('vhostVdpaMap', pins.vhostMap(this.#context, fd, map));
  }

  /** VHOST_IOTLB_INVALIDATE: runs of frames that the range touches go as a whole. @errors EPERM */
  vhostVdpaUnmap(fd: number, unmap: DmaUnmapArguments): Task<Outcome<void>> {
    return this.#context.made('vhostVdpaUnmap', pins.vhostUnmap(this.#context, fd, unmap));
  }

  /**
   * VDUSE_IOTLB_REG_UMEM: memory of this process as the whole bounce buffer.
   * @errors EINVAL, EEXIST, ENOMEM (RLIMIT_MEMLOCK, also with CAP_IPC_LOCK; only a part), EFAULT
   * @see Linux drivers/vdpa/vdpa_user/vduse_dev.c, `vduse_dev_reg_umem`
   */
  vduseRegUmem(fd: number, umem: VduseUmemArguments): Task<Outcome<void>> {
    return this.#context.made('vduseRegUmem', pins.vduseReg(this.#context, fd, umem));
  }

  /** VDUSE_IOTLB_DEREG_UMEM. @errors ENOENT (there is none), EINVAL (another size) */
  vduseDeregUmem(fd: number, bytes: Word): Task<Outcome<void>> {
    return this.#context.made('vduseDeregUmem', pins.vduseDereg(this.#context, fd, bytes));
  }

  /**
   * A video buffer of the program's own: `capture` for one that the device writes, else it reads. Counts nowhere.
   * @errors EBUSY (has one), EINVAL (empty, or only a part), EFAULT. @see Linux v6.4 drivers/media/v4l2-core/videobuf-dma-sg.c
   */
  videobufMap(fd: number, address: bigint, bytes: Word, capture: boolean): Task<Outcome<void>> {
    return this.#context.made('videobufMap', pins.videobufMap(this.#context, fd, address, bytes, capture));
  }

  /** Gives the video buffer back. @errors EINVAL (there is none) */
  videobufUnmap(fd: number): Task<Outcome<void>> {
    return this.#context.made('videobufUnmap', pins.videobufUnmap(this.#context, fd));
  }
}
