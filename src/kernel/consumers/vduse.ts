/**
 * VDUSE: a virtio device that a program implements. Its bounce buffer may be memory of the program, which is pinned then.
 * Left out: everything else of VDUSE; copying between the bounce buffer and the driver's pages.
 * @see Linux drivers/vdpa/vdpa_user/vduse_dev.c, `vduse_dev_reg_umem`, `vduse_dev_dereg_umem`
 */
import type { Task } from '../../base/task.ts';
import { EEXIST, EINVAL, ENOENT, ENOMEM } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { pinUserPages } from '../gup/get-user-pages.ts';
import { unpinUserPages, unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import type { TaskStruct } from '../task-struct.ts';
import { addPinnedVm, memlockPages, subPinnedVm } from './pin-accounting.ts';
import { locked, PinningDevice, pageOf } from './pinning-device.ts';

interface VduseUmem {
  readonly pages: number[];
  readonly mm: MmStruct;
}

export class VduseDevice extends PinningDevice {
  readonly bounceBytes: bigint;
  umem: VduseUmem | null = null;

  constructor(name: string, bounceBytes: bigint) {
    super(name);
    this.bounceBytes = bounceBytes;
  }

  /** Bytes of the bounce buffer, from 0. */
  override frameAt(iova: bigint): number {
    return iova >= this.bounceBytes ? -1 : (this.umem?.pages[pageOf(iova)] ?? -1);
  }

  override *release(current: TaskStruct): Task<void> {
    yield* vduseDeregUmem(current, this, 0n, this.bounceBytes);
  }
}

export function vduseOpen({ kernel }: TaskStruct, bounceBytes: bigint): VduseDevice {
  return new VduseDevice(`vduse ${kernel.nextSerial('vduse')}`, bounceBytes);
}

/**
 * VDUSE_IOTLB_REG_UMEM: 0, or -errno: -EINVAL (not the bounce buffer's range, or not whole pages), -EEXIST, -ENOMEM (above
 * RLIMIT_MEMLOCK, also with CAP_IPC_LOCK; or only a part can be pinned), -EFAULT.
 */
export function vduseRegUmem(
  current: TaskStruct,
  device: VduseDevice,
  iova: bigint,
  address: bigint,
  bytes: bigint,
): Task<number> {
  return locked(current, device, register(current, device, iova, address, bytes));
}

function* register(
  current: TaskStruct,
  device: VduseDevice,
  iova: bigint,
  address: bigint,
  bytes: bigint,
): Task<number> {
  const { mm } = current;
  if (bytes !== device.bounceBytes || iova !== 0n || (address & 0xfffn) !== 0n || mm === null) return -EINVAL;
  if (device.umem !== null) return -EEXIST;
  yield* mmapReadLock(current, mm);
  const result = yield* pin(current, mm, device, address);
  yield* mmapReadUnlock(current, mm);
  return result;
}

function* pin(current: TaskStruct, mm: MmStruct, device: VduseDevice, address: bigint): Task<number> {
  const count = Number(device.bounceBytes >> 12n);
  yield mm.pinnedVmWrite;
  if (count + mm.pinnedVm > memlockPages(current)) return -ENOMEM;
  const pages: number[] = [];
  const pinned = yield* pinUserPages(current, pageOf(address), count, FOLL_LONGTERM | FOLL_WRITE, pages);
  if (pinned !== count) {
    if (pinned > 0) yield* unpinUserPages(current, pages, pinned);
    return pinned < 0 ? pinned : -ENOMEM;
  }
  yield* addPinnedVm(mm, count);
  yield* mmgrab(mm);
  device.umem = { pages, mm };
  return 0;
}

/** VDUSE_IOTLB_DEREG_UMEM: 0, -ENOENT (there is none) or -EINVAL (another range). */
export function vduseDeregUmem(
  current: TaskStruct,
  device: VduseDevice,
  iova: bigint,
  bytes: bigint,
): Task<number> {
  return locked(current, device, deregister(current, device, iova, bytes));
}

function* deregister(current: TaskStruct, device: VduseDevice, iova: bigint, bytes: bigint): Task<number> {
  const { umem } = device;
  if (umem === null) return -ENOENT;
  if (iova !== 0n || bytes !== device.bounceBytes) return -EINVAL;
  device.umem = null;
  yield* unpinUserPagesDirtyLock(current, umem.pages, umem.pages.length, true);
  yield* subPinnedVm(umem.mm, umem.pages.length);
  yield* mmdrop(umem.mm);
  return 0;
}
