/**
 * Memory regions of RDMA: a program registers some of its memory with an adapter, which reads and writes it for as long.
 * Four drivers pin in ways of their own; three of them stand in the list of callers that passed `vmas`:
 * - `core`: `ib_umem_get`, what nearly all use (siw too since Linux 6.8): pin_user_pages_fast, counted as pinned memory, with
 *   CAP_IPC_LOCK without a limit.
 * - `siw` as in Linux 6.4: pin_user_pages under one hold of mmap_lock, and CAP_IPC_LOCK does not lift the limit.
 * - `usnic`: always for writing. Where it fails half-way it takes back only what it has not pinned yet from the count, so the
 *   count stays too high by what it had.
 * - `qib` as in Linux 6.4: always for writing, and a process without any RLIMIT_MEMLOCK is not refused as such (-EPERM).
 * Left out: on-demand paging (refused), dma-buf, keys of more than one adapter, siw's look at locked memory as well.
 * @see Linux drivers/infiniband/core/umem.c `ib_umem_get`; v6.4 drivers/infiniband/sw/siw/siw_mem.c `siw_umem_get`,
 * hw/usnic/usnic_uiom.c `usnic_uiom_get_pages`, hw/qib/qib_user_pages.c `qib_get_user_pages`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL, ENOMEM, EOPNOTSUPP, EPERM } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { pinUserPages } from '../gup/get-user-pages.ts';
import { pinUserPagesFast } from '../gup/get-user-pages-fast.ts';
import { unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { canDoMlock } from '../mm/limits.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';
import { addPinnedVm, memlockPages, subPinnedVm } from './pin-accounting.ts';
import { locked, PinningDevice, pageOf, pagesOf } from './pinning-device.ts';

export type RdmaDriver = 'core' | 'siw' | 'usnic' | 'qib';

/** Pages pinned at once: what a page of pointers holds. */
const PAGES_PER_CALL = 4096 / 8;
const U64 = 1n << 64n;
const U32_MAX = 2 ** 32 - 1;

/** What a driver does in its own way. */
interface RdmaRules {
  /** can_do_mlock: no limit at all and no CAP_IPC_LOCK is -EPERM. */
  readonly mayMlock: boolean;
  /** CAP_IPC_LOCK lifts the limit. */
  readonly capable: boolean;
  /** FOLL_WRITE also where the adapter only reads. */
  readonly alwaysWrite: boolean;
  /** pin_user_pages_fast, without mmap_lock. */
  readonly fast: boolean;
  /** After a failure the count keeps what had been pinned. */
  readonly keepsCount: boolean;
}

const RULES: Readonly<Record<RdmaDriver, RdmaRules>> = {
  core: { mayMlock: true, capable: true, alwaysWrite: false, fast: true, keepsCount: false },
  siw: { mayMlock: true, capable: false, alwaysWrite: false, fast: false, keepsCount: false },
  usnic: { mayMlock: true, capable: true, alwaysWrite: true, fast: false, keepsCount: true },
  qib: { mayMlock: false, capable: true, alwaysWrite: true, fast: false, keepsCount: false },
};

/** A registered region (`struct ib_umem`). Bytes. */
interface IbUmem {
  readonly address: bigint;
  readonly bytes: bigint;
  readonly write: boolean;
  readonly owningMm: MmStruct;
  readonly pages: number[];
}

/** An adapter, and the regions of those who have it open. */
export class RdmaDevice extends PinningDevice {
  readonly driver: RdmaDriver;
  readonly regions = new Map<number, IbUmem>();
  #keys = 0;

  constructor(name: string, driver: RdmaDriver) {
    super(name);
    this.driver = driver;
  }

  nextKey(): number {
    this.#keys++;
    return this.#keys;
  }

  /** By the address that the program registered, in the region that was registered first. */
  override frameAt(address: bigint, write: boolean): number {
    const region = this.#find(address, write);
    return region?.pages[pageOf(address) - pageOf(region.address)] ?? -1;
  }

  override bytesFrom(address: bigint, write: boolean): bigint {
    const region = this.#find(address, write);
    return region === undefined ? 0n : region.address + region.bytes - address;
  }

  #find(at: bigint, write: boolean): IbUmem | undefined {
    for (const region of this.regions.values()) {
      if (at >= region.address && at < region.address + region.bytes && (!write || region.write))
        return region;
    }
    return undefined;
  }

  override *release(current: TaskStruct): Task<void> {
    for (const key of [...this.regions.keys()]) yield* ibDeregMr(current, this, key);
  }
}

export function rdmaOpen({ kernel }: TaskStruct, driver: RdmaDriver): RdmaDevice {
  return new RdmaDevice(`rdma ${kernel.nextSerial('rdma')}`, driver);
}

export interface IbRegion {
  readonly address: bigint;
  readonly bytes: bigint;
  /** The adapter may write (IB_ACCESS_LOCAL_WRITE and its like). */
  readonly write: boolean;
  /** IB_ACCESS_ON_DEMAND. */
  readonly onDemand: boolean;
}

/**
 * `ib_reg_user_mr`: the key of the region, or -errno with nothing pinned: -EINVAL (empty, or it wraps), -EPERM (RLIMIT_MEMLOCK is 0
 * and no CAP_IPC_LOCK), -ENOMEM (above RLIMIT_MEMLOCK), -EOPNOTSUPP (on demand), -EFAULT and what else GUP gives.
 */
export function ibRegMr(current: TaskStruct, device: RdmaDevice, region: IbRegion): Task<number> {
  return locked(current, device, registerRegion(current, device, region));
}

function regionError(current: TaskStruct, rules: RdmaRules, { address, bytes, onDemand }: IbRegion): number {
  // PAGE_ALIGN(address + bytes) wraps as well.
  if (address + bytes > U64 - 0xfffn) return -EINVAL;
  if (rules.mayMlock && !canDoMlock(current)) return -EPERM;
  if (onDemand) return -EOPNOTSUPP;
  const pages = pagesOf(address, bytes);
  return bytes === 0n || pages > U32_MAX ? -EINVAL : 0;
}

function* registerRegion(current: TaskStruct, device: RdmaDevice, region: IbRegion): Task<number> {
  const rules = RULES[device.driver];
  const invalid = regionError(current, rules, region);
  if (invalid !== 0) return invalid;
  const { mm } = current;
  if (mm === null) return -EINVAL;
  const { address, bytes, write } = region;
  const umem: IbUmem = { address, bytes, write: write || rules.alwaysWrite, owningMm: mm, pages: [] };
  const error = yield* rules.fast ? getPages(current, umem, rules) : underLock(current, umem, rules);
  if (error !== 0) return error;
  yield* mmgrab(mm);
  const key = device.nextKey();
  device.regions.set(key, umem);
  return key;
}

function* underLock(current: TaskStruct, umem: IbUmem, rules: RdmaRules): Task<number> {
  yield* mmapReadLock(current, umem.owningMm);
  const error = yield* getPages(current, umem, rules);
  yield* mmapReadUnlock(current, umem.owningMm);
  return error;
}

/** Counts all pages, then pins them. 0, or -errno with nothing pinned. */
function* getPages(current: TaskStruct, umem: IbUmem, rules: RdmaRules): Task<number> {
  const { address, bytes, owningMm, pages, write } = umem;
  const count = pagesOf(address, bytes);
  const pinnedVm = yield* addPinnedVm(owningMm, count);
  const unlimited = rules.capable && current.capable(CAP_IPC_LOCK);
  let error = pinnedVm > memlockPages(current) && !unlimited ? -ENOMEM : 0;
  const flags = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
  const pin = rules.fast ? pinUserPagesFast : pinUserPages;
  while (pages.length < count && error === 0) {
    const part: number[] = [];
    const wanted = Math.min(count - pages.length, PAGES_PER_CALL);
    const got = yield* pin(current, pageOf(address) + pages.length, wanted, flags, part);
    if (got < 0) error = got;
    for (let at = 0; at < got; at++) pages.push(part[at] as number);
  }
  if (error === 0) return 0;
  const uncounted = rules.keepsCount ? count - pages.length : count;
  yield* unpinUserPagesDirtyLock(current, pages, pages.length, false);
  yield* subPinnedVm(owningMm, uncounted);
  return error;
}

/** `ib_dereg_mr`: 0, or -EINVAL without such a region. Pages that the adapter could write are dirty from now on. */
export function ibDeregMr(current: TaskStruct, device: RdmaDevice, key: number): Task<number> {
  return locked(current, device, deregister(current, device, key));
}

function* deregister(current: TaskStruct, device: RdmaDevice, key: number): Task<number> {
  const umem = device.regions.get(key);
  if (umem === undefined) return -EINVAL;
  device.regions.delete(key);
  yield* unpinUserPagesDirtyLock(current, umem.pages, umem.pages.length, umem.write);
  yield* subPinnedVm(umem.owningMm, umem.pages.length);
  yield* mmdrop(umem.owningMm);
  return 0;
}
