/**
 * iommufd: an address space for devices (IOAS) that is filled first and given to a device later. Pages are pinned when a device
 * is attached, from the memory of whoever mapped them: by pin_user_pages_fast if that is the caller, else by
 * pin_user_pages_remote with a lock that GUP may drop. Pages count after they were pinned, and a limit that is exceeded then
 * takes all back.
 * Left out: several devices and hardware page tables, choosing an IOVA, copies of areas, access by the kernel
 * (`iopt_pages_rw_page`), files, dirty tracking, the compatibility mode of VFIO but for its way to count.
 * @see Linux drivers/iommu/iommufd/pages.c `pfn_reader_user_pin`, `iopt_pages_update_pinned`; io_pagetable.c
 * `iopt_map_user_pages`, `iopt_unmap_iova_range`
 */
import type { Task } from '../../base/task.ts';
import { EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, EOVERFLOW } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE, type MmapLocked } from '../gup/foll-flags.ts';
import { pinUserPagesFast } from '../gup/get-user-pages-fast.ts';
import { pinUserPagesRemote } from '../gup/get-user-pages-remote.ts';
import { unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock, mmapWriteLock, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { UserStruct } from '../process/user-struct.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  accountLockedVm,
  accountUserPages,
  addPinnedVm,
  memlockPages,
  subPinnedVm,
  unaccountUserPages,
} from './pin-accounting.ts';
import { locked, PinningDevice, pageOf } from './pinning-device.ts';

const U64 = 1n << 64n;
/** Pages pinned at once: what a page of pointers holds. */
const PAGES_PER_CALL = 4096 / 8;

/** For whom pages count: the user, or the address space as locked memory (as VFIO counts). With CAP_IPC_LOCK nobody. */
export type IommufdAccount = 'user' | 'mm';

/** One mapping (`struct iopt_area` with its `struct iopt_pages`). */
interface IoptArea {
  readonly iova: bigint;
  readonly address: bigint;
  readonly pageCount: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly sourceMm: MmStruct;
  readonly sourceTask: TaskStruct;
  readonly sourceUser: UserStruct;
  readonly account: IommufdAccount | 'none';
  /** Empty while no device is attached. */
  pages: number[];
}

const endOf = ({ iova, pageCount }: IoptArea): bigint => iova + (BigInt(pageCount) << 12n);

export class Ioas extends PinningDevice {
  readonly account: IommufdAccount;
  areas: IoptArea[] = [];
  attached = false;

  constructor(name: string, account: IommufdAccount) {
    super(name);
    this.account = account;
  }

  override frameAt(iova: bigint, write: boolean): number {
    const area = this.areas.find((each) => iova >= each.iova && iova < endOf(each));
    if (area === undefined || !(write ? area.write : area.read)) return -1;
    return area.pages[pageOf(iova) - pageOf(area.iova)] ?? -1;
  }

  override *release(current: TaskStruct): Task<void> {
    for (const area of this.areas) yield* dropArea(current, area);
    this.areas = [];
  }
}

/** An IOAS without a device. */
export function iommufdOpen({ kernel }: TaskStruct, account: IommufdAccount): Ioas {
  return new Ioas(`iommufd ${kernel.nextSerial('iommufd')}`, account);
}

/** IOMMU_IOAS_MAP with IOMMU_IOAS_MAP_FIXED_IOVA. Bytes. */
export interface IoasMapRequest {
  readonly iova: bigint;
  readonly address: bigint;
  readonly bytes: bigint;
  readonly read: boolean;
  readonly write: boolean;
}

/**
 * 0, or -errno with nothing mapped: -EINVAL (empty, not whole pages, neither read nor write), -EOVERFLOW, -EEXIST (overlaps),
 * and with a device attached -ENOMEM (RLIMIT_MEMLOCK, unless CAP_IPC_LOCK) and -EFAULT.
 */
export function ioasMap(current: TaskStruct, ioas: Ioas, request: IoasMapRequest): Task<number> {
  return locked(current, ioas, mapArea(current, ioas, request));
}

function mapError({ areas }: Ioas, { iova, address, bytes, read, write }: IoasMapRequest): number {
  if (!read && !write) return -EINVAL;
  if (bytes === 0n) return -EINVAL;
  if (((bytes | iova | address) & 0xfffn) !== 0n) return -EINVAL;
  if (iova + bytes > U64 || address + bytes > U64) return -EOVERFLOW;
  return areas.some((area) => area.iova < iova + bytes && endOf(area) > iova) ? -EEXIST : 0;
}

function* mapArea(current: TaskStruct, ioas: Ioas, request: IoasMapRequest): Task<number> {
  const invalid = mapError(ioas, request);
  if (invalid !== 0) return invalid;
  const { mm, kernel } = current;
  if (mm === null) return -EINVAL;
  const { iova, address, bytes, read, write } = request;
  const area: IoptArea = {
    iova,
    address,
    pageCount: Number(bytes >> 12n),
    read,
    write,
    sourceMm: mm,
    sourceTask: current,
    sourceUser: kernel.users.of(current.uid),
    account: current.capable(CAP_IPC_LOCK) ? 'none' : ioas.account,
    pages: [],
  };
  const error = ioas.attached ? yield* fillArea(current, area) : 0;
  if (error !== 0) return error;
  yield* mmgrab(mm);
  ioas.areas.push(area);
  return 0;
}

/**
 * A device is attached: the pages of all areas are pinned, also those that other processes have mapped. 0, -EBUSY (there is
 * one), or -errno with nothing pinned: -EFAULT where the process of an area is gone.
 */
export function ioasAttach(current: TaskStruct, ioas: Ioas): Task<number> {
  return locked(current, ioas, attach(current, ioas));
}

function* attach(current: TaskStruct, ioas: Ioas): Task<number> {
  if (ioas.attached) return -EBUSY;
  for (const area of ioas.areas) {
    const error = yield* fillArea(current, area);
    if (error === 0) continue;
    for (const filled of ioas.areas) yield* emptyArea(current, filled);
    return error;
  }
  ioas.attached = true;
  return 0;
}

/** Pins the pages of an area and counts them. 0, or -errno with nothing pinned. */
function* fillArea(current: TaskStruct, area: IoptArea): Task<number> {
  const { sourceMm, pages } = area;
  const remote = sourceMm !== current.mm;
  if (remote && !(yield* mmgetNotZero(sourceMm))) return -EFAULT;
  let error = remote ? yield* pinRemote(current, area) : yield* pinOwn(current, area);
  if (error === 0) error = yield* countPages(current, area, area.pageCount);
  if (remote) yield* mmput(current, sourceMm);
  if (error === 0) return 0;
  yield* unpinUserPagesDirtyLock(current, pages, pages.length, false);
  area.pages = [];
  return error;
}

const flagsOf = ({ write }: IoptArea): number => FOLL_LONGTERM | (write ? FOLL_WRITE : 0);

function* pinOwn(current: TaskStruct, area: IoptArea): Task<number> {
  const { address, pages, pageCount } = area;
  while (pages.length < pageCount) {
    const wanted = Math.min(pageCount - pages.length, PAGES_PER_CALL);
    const part: number[] = [];
    const got = yield* pinUserPagesFast(current, pageOf(address) + pages.length, wanted, flagsOf(area), part);
    if (got <= 0) return got === 0 ? -EFAULT : got;
    pages.push(...part.slice(0, got));
  }
  return 0;
}

/** With the other process' mmap_lock, which is kept from call to call unless GUP drops it. */
function* pinRemote(current: TaskStruct, area: IoptArea): Task<number> {
  const { address, pages, pageCount, sourceMm } = area;
  const lock: MmapLocked = { held: false };
  let error = 0;
  while (pages.length < pageCount && error === 0) {
    if (!lock.held) yield* mmapReadLock(current, sourceMm);
    lock.held = true;
    const wanted = Math.min(pageCount - pages.length, PAGES_PER_CALL);
    const first = pageOf(address) + pages.length;
    const part: number[] = [];
    const got = yield* pinUserPagesRemote(current, sourceMm, first, wanted, flagsOf(area), part, lock);
    if (got <= 0) error = got === 0 ? -EFAULT : got;
    else pages.push(...part.slice(0, got));
  }
  if (lock.held) yield* mmapReadUnlock(current, sourceMm);
  return error;
}

/** `iopt_pages_update_pinned`, for more pages: 0 or -ENOMEM. */
function* countPages(current: TaskStruct, area: IoptArea, pages: number): Task<number> {
  const { account, sourceMm, sourceTask, sourceUser } = area;
  const limit = memlockPages(sourceTask);
  let error = 0;
  if (account === 'user') error = yield* accountUserPages(sourceUser, pages, limit);
  else if (account === 'mm') error = yield* lockedVmBy(current, sourceMm, pages, limit);
  if (error === 0) yield* addPinnedVm(sourceMm, pages);
  return error;
}

function* lockedVmBy(current: TaskStruct, mm: MmStruct, pages: number, limit: number): Task<number> {
  yield* mmapWriteLock(current, mm);
  const error = accountLockedVm(current, mm, pages, limit);
  yield* mmapWriteUnlock(current, mm);
  return error;
}

/** Unpins what was pinned; the pages that the device could write are dirty. */
function* emptyArea(current: TaskStruct, area: IoptArea): Task<void> {
  const { pages, write, account, sourceMm, sourceUser } = area;
  if (pages.length === 0) return;
  area.pages = [];
  yield* unpinUserPagesDirtyLock(current, pages, pages.length, write);
  if (account === 'user') yield* unaccountUserPages(sourceUser, pages.length);
  if (account === 'mm' && (yield* mmgetNotZero(sourceMm))) {
    yield* lockedVmBy(current, sourceMm, -pages.length, Number.POSITIVE_INFINITY);
    yield* mmput(current, sourceMm);
  }
  yield* subPinnedVm(sourceMm, pages.length);
}

function* dropArea(current: TaskStruct, area: IoptArea): Task<void> {
  yield* emptyArea(current, area);
  yield* mmdrop(area.sourceMm);
}

/**
 * IOMMU_IOAS_UNMAP: bytes unmapped, or -ENOENT: nothing there, or an area that is not wholly inside.
 * @param all the whole space (iova 0, length U64_MAX), which may be empty
 */
export function ioasUnmap(
  current: TaskStruct,
  ioas: Ioas,
  iova: bigint,
  bytes: bigint,
  all: boolean,
): Task<number> {
  return locked(current, ioas, unmapAreas(current, ioas, iova, all ? U64 : iova + bytes, all));
}

function* unmapAreas(current: TaskStruct, ioas: Ioas, iova: bigint, end: bigint, all: boolean): Task<number> {
  if (!all && end <= iova) return -EINVAL;
  if (end > U64) return -EOVERFLOW;
  let unmapped = 0;
  const touched = ioas.areas.filter((area) => area.iova < end && endOf(area) > iova);
  for (const area of touched.sort((a, b) => (a.iova < b.iova ? -1 : 1))) {
    // What lies before it is unmapped by now.
    if (area.iova < iova || endOf(area) > end) return -ENOENT;
    ioas.areas = ioas.areas.filter((other) => other !== area);
    yield* dropArea(current, area);
    unmapped += area.pageCount * 4096;
  }
  return unmapped === 0 && !all ? -ENOENT : unmapped;
}
