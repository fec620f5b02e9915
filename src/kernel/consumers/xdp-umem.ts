/**
 * The memory that an AF_XDP socket receives packets into and sends them from (UMEM), counted for the user.
 * Where only a part can be pinned, Linux takes no more than that part from the user's count again; so does this.
 * Left out: rings, packets, sharing a UMEM between sockets, transmit metadata.
 * @see Linux net/xdp/xdp_umem.c, `xdp_umem_reg`, `xdp_umem_pin_pages`, `xdp_umem_account_pages`
 */
import type { Task } from '../../base/task.ts';
import { EBUSY, EINVAL, ENOBUFS, ENOMEM } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { pinUserPages } from '../gup/get-user-pages.ts';
import { unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { UserStruct } from '../process/user-struct.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accountUserPages, memlockPages, unaccountUserPages } from './pin-accounting.ts';
import { locked, PinningDevice, pageOf } from './pinning-device.ts';

const XDP_UMEM_MIN_CHUNK_SIZE = 2048;
const XDP_PACKET_HEADROOM = 256;
const PAGE_SIZE = 4096;
const U64 = 1n << 64n;
const U32_MAX = (1n << 32n) - 1n;

interface XdpUmem {
  readonly bytes: bigint;
  readonly pages: number[];
  /** Null for a creator with CAP_IPC_LOCK. */
  readonly user: UserStruct | null;
}

export class XdpSocket extends PinningDevice {
  umem: XdpUmem | null = null;

  /** Addresses are bytes of the UMEM, from 0. */
  override frameAt(address: bigint): number {
    const { umem } = this;
    return umem === null || address >= umem.bytes ? -1 : (umem.pages[pageOf(address)] as number);
  }

  override bytesFrom(address: bigint): bigint {
    return (this.umem?.bytes ?? 0n) - address;
  }

  override *release(current: TaskStruct): Task<void> {
    const { umem } = this;
    if (umem === null) return;
    this.umem = null;
    yield* unpinUserPagesDirtyLock(current, umem.pages, umem.pages.length, true);
    if (umem.user !== null) yield* unaccountUserPages(umem.user, umem.pages.length);
  }
}

export function xdpSocket({ kernel }: TaskStruct): XdpSocket {
  return new XdpSocket(`xdp ${kernel.nextSerial('xdp')}`);
}

/** `struct xdp_umem_reg`. Bytes. */
export interface XdpUmemRequest {
  readonly address: bigint;
  readonly bytes: bigint;
  readonly chunkSize: number;
  readonly headroom: number;
  /** XDP_UMEM_UNALIGNED_CHUNK_FLAG. */
  readonly unalignedChunks: boolean;
}

/**
 * setsockopt XDP_UMEM_REG: 0, or -errno: -EBUSY (has one), -EINVAL (sizes, alignment), -ENOBUFS (above the user's
 * RLIMIT_MEMLOCK, unless CAP_IPC_LOCK), -ENOMEM (only a part can be pinned), -EFAULT.
 */
export function xdpUmemReg(current: TaskStruct, socket: XdpSocket, request: XdpUmemRequest): Task<number> {
  return locked(current, socket, register(current, socket, request));
}

function isInvalid({ address, bytes, chunkSize, headroom, unalignedChunks }: XdpUmemRequest): boolean {
  if (chunkSize < XDP_UMEM_MIN_CHUNK_SIZE || chunkSize > PAGE_SIZE) return true;
  if (!unalignedChunks && (chunkSize & (chunkSize - 1)) !== 0) return true;
  if ((address & 0xfffn) !== 0n || address + bytes >= U64 || (bytes + 0xfffn) >> 12n > U32_MAX) return true;
  const chunks = bytes / BigInt(chunkSize);
  if (chunks === 0n || chunks > U32_MAX) return true;
  if (!unalignedChunks && bytes % BigInt(chunkSize) !== 0n) return true;
  return headroom >= chunkSize - XDP_PACKET_HEADROOM;
}

function* register(current: TaskStruct, socket: XdpSocket, request: XdpUmemRequest): Task<number> {
  if (socket.umem !== null) return -EBUSY;
  const { mm, kernel } = current;
  if (isInvalid(request) || mm === null) return -EINVAL;
  const count = Number((request.bytes + 0xfffn) >> 12n);
  const user = current.capable(CAP_IPC_LOCK) ? null : kernel.users.of(current.uid);
  if (user !== null && (yield* accountUserPages(user, count, memlockPages(current))) !== 0) return -ENOBUFS;
  const pages: number[] = [];
  yield* mmapReadLock(current, mm);
  const flags = FOLL_WRITE | FOLL_LONGTERM;
  const pinned = yield* pinUserPages(current, pageOf(request.address), count, flags, pages);
  yield* mmapReadUnlock(current, mm);
  if (pinned === count) {
    socket.umem = { bytes: request.bytes, pages, user };
    return 0;
  }
  if (pinned > 0) yield* unpinUserPagesDirtyLock(current, pages, pinned, true);
  if (user !== null) yield* unaccountUserPages(user, pinned < 0 ? count : pinned);
  return pinned < 0 ? pinned : -ENOMEM;
}
