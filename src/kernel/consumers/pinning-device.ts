/**
 * A device that reads and writes memory by itself, through pages that its driver has pinned: what a program sees of pins
 * that outlive its mappings. The device has addresses of its own (IOVA), which an IOMMU or the device looks up; no page table
 * of a process has a say.
 * Left out: IOMMU faults as events, caches that are not coherent, bounce buffers for devices with short addresses.
 * @see Linux Documentation/core-api/pin_user_pages.rst, "CASE 2: RDMA"
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { EFAULT } from '../errno.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_SIZE = 4096;

export abstract class PinningDevice extends SharedObject {
  /** The driver's own mutex: one call at a time. */
  readonly mutex: RwSemaphore;
  readonly #read: SchedPoint;
  readonly #write: SchedPoint;

  constructor(name: string) {
    super(name);
    this.mutex = new RwSemaphore(`${name.split(' ')[0]}_mutex ${name}`);
    this.#read = new SchedPoint(PointKind.Read, this, 'dma_read', StepCost.SharedLoad);
    this.#write = new SchedPoint(PointKind.Write, this, 'dma_write', StepCost.SharedLoad);
  }

  /** The frame that the device has at a byte address of its own and may read, or write; -1: none. */
  abstract frameAt(address: bigint, write: boolean): number;

  /** Byte within that frame. Other than the lowest 12 bits where a buffer's address does not begin with its page. */
  offsetAt(address: bigint): number {
    return Number(address & 0xfffn);
  }

  /** Bytes from there to the end of what the device was given, where that is not the end of a page. */
  bytesFrom(_address: bigint, _write: boolean): bigint {
    return 4096n;
  }

  /** The last descriptor is closed: gives everything back. */
  abstract release(current: TaskStruct): Task<void>;

  /**
   * The device reads `buffer.length` bytes, page by page: how many it got before the first page that it has not, or -EFAULT
   * when it got none.
   */
  dmaRead(current: TaskStruct, address: bigint, buffer: Uint8Array): Task<number> {
    return this.#transfer(current, address, buffer, false);
  }

  /** The device writes: as `dmaRead`. The page tables of whoever maps the pages do not become dirty. */
  dmaWrite(current: TaskStruct, address: bigint, data: Uint8Array): Task<number> {
    return this.#transfer(current, address, data, true);
  }

  *#transfer(current: TaskStruct, address: bigint, bytes: Uint8Array, write: boolean): Task<number> {
    const { memory } = current.kernel.machine;
    let done = 0;
    while (done < bytes.length) {
      const at = address + BigInt(done);
      yield write ? this.#write : this.#read;
      const frame = this.frameAt(at, write);
      if (frame === -1) break;
      const offset = this.offsetAt(at);
      const left = this.bytesFrom(at, write);
      const length = Math.min(
        PAGE_SIZE - offset,
        bytes.length - done,
        left < 4096n ? Number(left) : PAGE_SIZE,
      );
      const part = bytes.subarray(done, done + length);
      if (write) memory.writeBytes(frame, offset, part);
      else memory.readBytes(frame, offset, part);
      done += part.length;
    }
    return done === 0 && bytes.length > 0 ? -EFAULT : done;
  }
}

/** Runs `call` with the driver's mutex held. */
export function* locked<T>(current: TaskStruct, device: PinningDevice, call: Task<T>): Task<T> {
  yield* device.mutex.downWrite(current);
  const result = yield* call;
  yield* device.mutex.upWrite(current);
  return result;
}

/** Pages that a range of bytes touches. */
export function pagesOf(address: bigint, bytes: bigint): number {
  return Number(((address & 0xfffn) + bytes + 0xfffn) >> 12n);
}

/** Page number of a byte address. */
export const pageOf = (address: bigint): number => Number(address >> 12n);
