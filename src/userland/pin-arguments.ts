/** Arguments of the calls of `User` for drivers that pin memory. Addresses and lengths are bytes. */
import type { Word } from './units.ts';

/** A driver to open. */
export type DriverName =
  | 'io_uring'
  | 'vfio'
  | 'iommufd'
  | 'rdma'
  | 'xdp'
  | 'vhost-vdpa'
  | 'vduse'
  | 'videobuf';

/** What a driver is opened with; each belongs to the driver that it names. */
export interface DriverOptions {
  /**
   * `io_uring`: how buffers are checked. `today` (default) looks at no VMA; `v4` refuses files other than of huge pages, as the
   * patch that removed `vmas` proposed; `6.4` allows shared memory too.
   */
  readonly form?: 'today' | 'v4' | '6.4';
  /** `iommufd`: for whom pages count, the `user` (default) or the address space as locked memory, `mm`. */
  readonly account?: 'user' | 'mm';
  /** `iommufd`: `false` leaves it without a device until `iommufdAttach`. Default true. */
  readonly attached?: boolean;
  /** `rdma`: whose way to pin: `core` (`ib_umem_get`, default), `siw`, `usnic`, `qib`. */
  readonly adapter?: 'core' | 'siw' | 'usnic' | 'qib';
  /** `vduse`: bytes of the bounce buffer, whole pages. Default 65536. */
  readonly bounceBytes?: Word;
}

/** One request with a registered buffer. */
export interface FixedRequestArguments {
  /** Descriptor of the file. */
  readonly file: number;
  /** Byte of the file; default 0. */
  readonly offset?: Word;
  /** Number of the buffer, from 0; default 0. */
  readonly buffer?: number;
  /** As registered: where in the buffer. */
  readonly address: bigint;
  readonly bytes: Word;
}

/** A range of memory for a device, under an address of the device's. */
export interface DmaMapArguments {
  readonly iova: bigint;
  readonly address: bigint;
  readonly bytes: Word;
  /** The device may read; default true. */
  readonly read?: boolean;
  /** The device may write; default true. */
  readonly write?: boolean;
}

/** A range of IOVAs, or all there are. */
export interface DmaUnmapArguments {
  readonly iova?: bigint;
  readonly bytes?: Word;
  readonly all?: boolean;
}

/** A region of RDMA. */
export interface MemoryRegionArguments {
  readonly address: bigint;
  readonly bytes: Word;
  /** The adapter may write; default true. */
  readonly write?: boolean;
  /** IB_ACCESS_ON_DEMAND, which is refused. */
  readonly onDemand?: boolean;
}

export interface XdpUmemArguments {
  readonly address: bigint;
  readonly bytes: Word;
  /** Bytes, 2048 to 4096, a power of two without `unalignedChunks`; default 4096. */
  readonly chunkSize?: number;
  /** Bytes; default 0. */
  readonly headroom?: number;
  readonly unalignedChunks?: boolean;
}

/** Memory for a vhost device. */
export interface VhostMapArguments {
  readonly iova: bigint;
  readonly address: bigint;
  readonly bytes: Word;
  /** What the device may do; default `rw`. */
  readonly access?: 'ro' | 'wo' | 'rw';
}

/** The bounce buffer of VDUSE. */
export interface VduseUmemArguments {
  /** Default 0, the only one there is. */
  readonly iova?: bigint;
  readonly address: bigint;
  readonly bytes: Word;
}
