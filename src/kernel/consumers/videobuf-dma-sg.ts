/**
 * A video device of old captures into, or shows from, memory of the program (V4L2_MEMORY_USERPTR). Nothing is counted.
 * Left out: everything else of videobuf. Linux lost it in 6.8.
 * @see Linux v6.4 drivers/media/v4l2-core/videobuf-dma-sg.c, `videobuf_dma_init_user_locked`, `videobuf_dma_free`
 */
import type { Task } from '../../base/task.ts';
import { EBUSY, EINVAL } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { pinUserPages } from '../gup/get-user-pages.ts';
import { unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { locked, PinningDevice, pageOf, pagesOf } from './pinning-device.ts';

interface VideoBuffer {
  /** Of the first byte, in its page. */
  readonly offset: bigint;
  readonly bytes: bigint;
  readonly pages: readonly number[];
  /** DMA_FROM_DEVICE: it writes. */
  readonly capture: boolean;
}

export class VideoDevice extends PinningDevice {
  buffer: VideoBuffer | null = null;

  /** Bytes of the buffer, from 0. */
  override frameAt(address: bigint, write: boolean): number {
    const { buffer } = this;
    if (buffer === null || address >= buffer.bytes || write !== buffer.capture) return -1;
    return buffer.pages[pageOf(address + buffer.offset)] as number;
  }

  override offsetAt(address: bigint): number {
    return Number((address + (this.buffer?.offset ?? 0n)) & 0xfffn);
  }

  override bytesFrom(address: bigint): bigint {
    return (this.buffer?.bytes ?? 0n) - address;
  }

  override *release(current: TaskStruct): Task<void> {
    yield* videobufFree(current, this);
  }
}

export function videoOpen({ kernel }: TaskStruct): VideoDevice {
  return new VideoDevice(`video ${kernel.nextSerial('video')}`);
}

/** 0, or -errno: -EBUSY (has a buffer), -EINVAL (empty, or only a part can be pinned), -EFAULT. */
export function videobufInitUser(
  current: TaskStruct,
  device: VideoDevice,
  address: bigint,
  bytes: bigint,
  capture: boolean,
): Task<number> {
  return locked(current, device, initUser(current, device, address, bytes, capture));
}

function* initUser(
  current: TaskStruct,
  device: VideoDevice,
  address: bigint,
  bytes: bigint,
  capture: boolean,
): Task<number> {
  const { mm } = current;
  if (device.buffer !== null) return -EBUSY;
  if (bytes === 0n || mm === null) return -EINVAL;
  const count = pagesOf(address, bytes);
  const pages: number[] = [];
  yield* mmapReadLock(current, mm);
  const flags = FOLL_LONGTERM | (capture ? FOLL_WRITE : 0);
  const pinned = yield* pinUserPages(current, pageOf(address), count, flags, pages);
  yield* mmapReadUnlock(current, mm);
  if (pinned !== count) {
    if (pinned > 0) yield* unpinUserPagesDirtyLock(current, pages, pinned, capture);
    return pinned < 0 ? pinned : -EINVAL;
  }
  device.buffer = { offset: address & 0xfffn, bytes, pages, capture };
  return 0;
}

/** 0, or -EINVAL without a buffer. */
export function videobufFree(current: TaskStruct, device: VideoDevice): Task<number> {
  return locked(current, device, free(current, device));
}

function* free(current: TaskStruct, device: VideoDevice): Task<number> {
  const { buffer } = device;
  if (buffer === null) return -EINVAL;
  device.buffer = null;
  yield* unpinUserPagesDirtyLock(current, [...buffer.pages], buffer.pages.length, buffer.capture);
  return 0;
}
