/**
 * A device that works in the address space of a process and changes its pages atomically: it makes them device-exclusive, keeps
 * a page table of its own of them, and forgets what a notifier tells it to.
 * Left out: reading through HMM (`hmm_range_fault`), migration to the device's own memory; the device's mutex, as each of its
 * accesses is one step.
 * @see Linux lib/test_hmm.c, `dmirror_exclusive`, `dmirror_atomic_map`, `dmirror_interval_invalidate`, `dmirror_do_read`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { EFAULT, EINVAL, ENOENT } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { putUserPage } from '../gup/pin.ts';
import { folioUnlock } from '../mm/fault/folio-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import {
  type MmuNotifier,
  type MmuNotifierRange,
  mmuNotifierRegister,
  mmuNotifierUnregister,
} from '../mm/mmu-notifier.ts';
import { makeDeviceExclusive } from '../remote/make-device-exclusive.ts';
import { lockRemotePage, type RemotePageLock, unlockRemotePage } from '../remote/remote-lock.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_BYTES = 4096n;

export class MirrorDevice extends SharedObject implements MmuNotifier {
  readonly mm: MmStruct;
  /** Frame by page: what it has for itself. */
  readonly #pages = new Map<number, number>();
  readonly #change: SchedPoint;

  private constructor(mm: MmStruct) {
    super(`mirror device ${mm.kernel.nextSerial('mirror device')}`);
    this.mm = mm;
    this.#change = new SchedPoint(PointKind.Write, this, 'dmirror', StepCost.AtomicUpdate);
  }

  /** A device for `mm`, whose users the caller has a reference to. Takes mmap_lock for writing. */
  static *open(current: TaskStruct, mm: MmStruct): Task<MirrorDevice> {
    const device = new MirrorDevice(mm);
    yield* mmgrab(mm);
    yield* mmuNotifierRegister(current, mm, device);
    return device;
  }

  /** Pages that it has for itself come back when they are touched. */
  *close(): Task<void> {
    yield this.#change;
    this.#pages.clear();
    mmuNotifierUnregister(this.mm, this);
    yield* mmdrop(this.mm);
  }

  *invalidateRangeStart(_current: TaskStruct, { start, end, event, owner }: MmuNotifierRange): Task<void> {
    if (event === 'exclusive' && owner === this) return;
    yield this.#change;
    for (const page of this.#pages.keys()) if (page >= start && page < end) this.#pages.delete(page);
  }

  /** Byte addresses of the pages that it has now, ascending. */
  get addresses(): bigint[] {
    return [...this.#pages.keys()].sort((a, b) => a - b).map((page) => BigInt(page) * PAGE_BYTES);
  }

  /**
   * Makes the pages that the range of bytes touches its own. 0, or what stopped it at a page, those before it being its own:
   * -EINVAL (the process has no memory any more; a range that wraps), -EFAULT, -EOPNOTSUPP, -EINTR.
   */
  *exclusive(current: TaskStruct, address: bigint, bytes: bigint): Task<number> {
    if (bytes === 0n || address + bytes > 1n << 64n) return -EINVAL;
    if (!(yield* mmgetNotZero(this.mm))) return -EINVAL;
    const first = Number(address >> 12n);
    const last = Number((address + bytes - 1n) >> 12n);
    let lock = yield* lockRemotePage(current, this.mm, first);
    let error = 0;
    for (let page = first; page <= last && error === 0; page++) {
      lock = yield* this.#lockFor(current, lock, page);
      error = yield* this.#take(current, lock, page);
    }
    yield* unlockRemotePage(current, lock);
    yield* mmput(current, this.mm);
    return error;
  }

  /** mmap_lock is good for every page, a VMA's own lock only for those of the VMA. */
  *#lockFor(current: TaskStruct, lock: RemotePageLock, page: number): Task<RemotePageLock> {
    if (lock.vma === null || lock.vma.contains(page)) return lock;
    yield* unlockRemotePage(current, lock);
    return yield* lockRemotePage(current, this.mm, page);
  }

  *#take(current: TaskStruct, lock: RemotePageLock, page: number): Task<number> {
    const frame = yield* makeDeviceExclusive(current, lock, page, this);
    if (frame < 0) return frame;
    // While the folio is locked no fault takes it back.
    yield this.#change;
    this.#pages.set(page, frame);
    yield* folioUnlock(current, current.kernel.frames.head(frame));
    yield* putUserPage(current, frame);
    return 0;
  }

  /**
   * One atomic addition to 8 bytes, past all page tables of CPUs. The old value; -ENOENT: it does not have the page; -EFAULT:
   * not within 8 aligned bytes.
   */
  *fetchAdd(current: TaskStruct, address: bigint, value: bigint): Task<bigint | number> {
    if (address % 8n !== 0n) return -EFAULT;
    yield this.#change;
    const frame = this.#pages.get(Number(address >> 12n));
    if (frame === undefined) return -ENOENT;
    const { frames, machine } = current.kernel;
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    const offset = Number(address % PAGE_BYTES);
    machine.memory.readBytes(frame, offset, bytes);
    const old = view.getBigUint64(0, true);
    view.setBigUint64(0, BigInt.asUintN(64, old + value), true);
    machine.memory.writeBytes(frame, offset, bytes);
    // To the kernel the entry is clean: who writes says so.
    frames.setFlags(frame, FrameFlag.Dirty);
    return old;
  }
}
