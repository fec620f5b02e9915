/**
 * Buffers that a program registers with an io_uring once, and uses by their number: their pages are pinned meanwhile, and
 * reads and writes go to the pages whatever the program's mappings have become.
 * Left out: everything else of io_uring. A request runs when it is made, and its result is the call's.
 * @see Linux io_uring/rsrc.c, `io_sqe_buffers_register`, `io_buffer_account_pin`, `io_import_fixed`; io_uring_register(2)
 */
import { atomically, type Task } from '../../base/task.ts';
import { EBUSY, EFAULT, EINVAL, ENXIO, EOVERFLOW } from '../errno.ts';
import { unpinUserFolio } from '../gup/unpin-folio.ts';
import type { MappedFile } from '../mm/mapped-file.ts';
import { fileRead, fileWrite } from '../mm/memfd.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { UserStruct } from '../process/user-struct.ts';
import type { TaskStruct } from '../task-struct.ts';
import { type FolioPins, onePinEach } from './io-uring-coalesce.ts';
import { type IoPinForm, ioPinPages } from './io-uring-pages.ts';
import {
  accountUserPages,
  addPinnedVm,
  memlockPages,
  subPinnedVm,
  unaccountUserPages,
} from './pin-accounting.ts';
import { locked, PinningDevice, pageOf } from './pinning-device.ts';

const IORING_MAX_REG_BUFFERS = 1 << 14;
const SZ_1G = 1n << 30n;
/** @see Linux include/linux/fs.h, `MAX_RW_COUNT` */
const MAX_RW_COUNT = 0x7fff_f000n;
const U64 = 1n << 64n;

/** One buffer (`struct io_mapped_ubuf`). */
interface IoMappedBuffer {
  readonly address: bigint;
  readonly bytes: bigint;
  /** The frame of each page. */
  readonly frames: readonly number[];
  /** What is unpinned at the end: fewer entries than pages where whole folios are held by one pin. */
  readonly pins: readonly FolioPins[];
  readonly accountedPages: number;
}

/** A range to register (`struct iovec`). */
export interface IoBuffer {
  readonly address: bigint;
  readonly bytes: bigint;
}

/** The part of `struct io_ring_ctx` that buffers need. */
export class IoRing extends PinningDevice {
  readonly form: IoPinForm;
  /** Whom pages are counted for; null for a creator with CAP_IPC_LOCK. */
  readonly user: UserStruct | null;
  readonly mmAccount: MmStruct;
  /** null: a slot without a buffer. */
  buffers: (IoMappedBuffer | null)[] = [];

  constructor(name: string, form: IoPinForm, user: UserStruct | null, mmAccount: MmStruct) {
    super(name);
    this.form = form;
    this.user = user;
    this.mmAccount = mmAccount;
  }

  /** By the address at which the program registered it. */
  override frameAt(address: bigint): number {
    const buffer = this.#find(address);
    return buffer?.frames[pageOf(address) - pageOf(buffer.address)] ?? -1;
  }

  override bytesFrom(address: bigint): bigint {
    const buffer = this.#find(address);
    return buffer === undefined ? 0n : buffer.address + buffer.bytes - address;
  }

  #find(at: bigint): IoMappedBuffer | undefined {
    const holds = (buffer: IoMappedBuffer | null): buffer is IoMappedBuffer =>
      buffer !== null && at >= buffer.address && at < buffer.address + buffer.bytes;
    return this.buffers.find(holds);
  }

  override *release(current: TaskStruct): Task<void> {
    yield* locked(current, this, unregister(current, this));
    yield* mmdrop(this.mmAccount);
  }
}

/** `io_uring_setup`, for the sake of buffers. */
export function* ioUringSetup(current: TaskStruct, form: IoPinForm): Task<IoRing> {
  const { kernel, mm } = current;
  if (mm === null) throw new Error(`${current.name} sets a ring up without an address space`);
  const user = current.capable(CAP_IPC_LOCK) ? null : kernel.users.of(current.uid);
  yield* mmgrab(mm);
  return new IoRing(`uring ${kernel.nextSerial('uring')}`, form, user, mm);
}

/**
 * IORING_REGISTER_BUFFERS. 0, or -errno with none registered: -EBUSY (there are some), -EINVAL (none, or more than 16384),
 * -EFAULT (empty, above 1 GiB, no memory there), -EOVERFLOW, -ENOMEM (RLIMIT_MEMLOCK of the user, unless CAP_IPC_LOCK), and what
 * the form of `ioPinPages` refuses.
 */
export function ioRegisterBuffers(
  current: TaskStruct,
  ring: IoRing,
  buffers: readonly IoBuffer[],
): Task<number> {
  return locked(current, ring, register(current, ring, buffers));
}

function* register(current: TaskStruct, ring: IoRing, ranges: readonly IoBuffer[]): Task<number> {
  if (ring.buffers.length > 0) return -EBUSY;
  if (ranges.length === 0 || ranges.length > IORING_MAX_REG_BUFFERS) return -EINVAL;
  const buffers: (IoMappedBuffer | null)[] = [];
  let error = 0;
  for (const range of ranges) {
    const buffer = yield* registerOne(current, ring, range, buffers);
    if (typeof buffer === 'number') error = buffer;
    else buffers.push(buffer);
    if (error !== 0) break;
  }
  ring.buffers = buffers;
  if (error !== 0) yield* unregister(current, ring);
  return error;
}

/** `iovec_from_user`, `io_validate_user_buf_range`. Whether there is memory, GUP finds out. */
function rangeError({ address, bytes }: IoBuffer): number {
  if (bytes >= U64 / 2n) return -EINVAL;
  if (address === 0n) return bytes === 0n ? 0 : -EFAULT;
  if (bytes > SZ_1G || bytes === 0n) return -EFAULT;
  return address + ((bytes + 0xfffn) & ~0xfffn) >= U64 ? -EOVERFLOW : 0;
}

function* registerOne(
  current: TaskStruct,
  ring: IoRing,
  range: IoBuffer,
  registered: readonly (IoMappedBuffer | null)[],
): Task<IoMappedBuffer | null | number> {
  const { address, bytes } = range;
  const invalid = rangeError(range);
  if (invalid !== 0) return invalid;
  if (address === 0n) return null;
  const frames: number[] = [];
  const error = yield* ioPinPages(current, address, bytes, ring.form, frames);
  if (error !== 0) return error;
  const pins = yield* onePinEach(current, frames);
  const accountedPages = newPages(current, frames, registered);
  const refused = yield* account(current, ring, accountedPages);
  if (refused !== 0) {
    for (const { folio } of pins) yield* unpinUserFolio(current, folio, 1);
    return refused;
  }
  return { address, bytes, frames, pins, accountedPages };
}

/**
 * Pages to be counted: of a large folio all, but once for the whole ring.
 * @see Linux io_uring/rsrc.c, `io_buffer_account_pin`, `headpage_already_acct`
 */
function newPages(
  { kernel }: TaskStruct,
  pages: readonly number[],
  registered: readonly (IoMappedBuffer | null)[],
): number {
  const { frames } = kernel;
  const counted = new Set<number>();
  for (const buffer of registered) for (const { folio } of buffer?.pins ?? []) counted.add(folio);
  let count = 0;
  for (const page of pages) {
    const head = frames.head(page);
    if (!frames.isLarge(page)) count++;
    else if (!counted.has(head)) count += 2 ** frames.order(head);
    counted.add(head);
  }
  return count;
}

/** `io_account_mem`. */
function* account(current: TaskStruct, { user, mmAccount }: IoRing, pages: number): Task<number> {
  if (pages === 0) return 0;
  const error = user === null ? 0 : yield* accountUserPages(user, pages, memlockPages(current));
  if (error === 0) yield* addPinnedVm(mmAccount, pages);
  return error;
}

/** IORING_UNREGISTER_BUFFERS: 0, or -ENXIO when there are none. */
export function ioUnregisterBuffers(current: TaskStruct, ring: IoRing): Task<number> {
  return locked(current, ring, unregister(current, ring));
}

function* unregister(current: TaskStruct, ring: IoRing): Task<number> {
  const { buffers, user, mmAccount } = ring;
  if (buffers.length === 0) return -ENXIO;
  ring.buffers = [];
  // From the last to the first, as io_rsrc_data_free does.
  for (const buffer of buffers.toReversed()) {
    if (buffer === null) continue;
    const { accountedPages, pins } = buffer;
    if (accountedPages > 0 && user !== null) yield* unaccountUserPages(user, accountedPages);
    if (accountedPages > 0) yield* subPinnedVm(mmAccount, accountedPages);
    for (const { folio } of pins) yield* unpinUserFolio(current, folio, 1);
  }
  return 0;
}

/** One request of IORING_OP_READ_FIXED or WRITE_FIXED. */
export interface FixedRequest {
  readonly file: MappedFile;
  /** Byte of the file. */
  readonly offset: number;
  /** Number of the buffer. */
  readonly buffer: number;
  /** As registered: the address in the buffer says where, whatever is mapped there now. */
  readonly address: bigint;
  readonly bytes: bigint;
}

/** 0, or -EFAULT: no such buffer, or a range that is not inside it. @see `validate_fixed_range` */
function fixedError(ring: IoRing, { buffer, address, bytes }: FixedRequest): number {
  const mapped = ring.buffers[buffer] ?? null;
  if (mapped === null || address + bytes >= U64) return -EFAULT;
  if (address < mapped.address || address + bytes > mapped.address + mapped.bytes) return -EFAULT;
  return bytes > MAX_RW_COUNT ? -EFAULT : 0;
}

/** From the file into the buffer's pages: bytes moved, or -errno. */
export function ioReadFixed(current: TaskStruct, ring: IoRing, request: FixedRequest): Task<number> {
  const error = fixedError(ring, request);
  return error === 0 ? readFixed(current, ring, request) : atomically(() => error);
}

function* readFixed(current: TaskStruct, ring: IoRing, request: FixedRequest): Task<number> {
  const data = new Uint8Array(Number(request.bytes));
  const read = yield* fileRead(current, request.file, request.offset, data);
  if (read <= 0) return read;
  return yield* ring.dmaWrite(current, request.address, data.subarray(0, read));
}

/** From the buffer's pages to the file: bytes moved, or -errno. */
export function ioWriteFixed(current: TaskStruct, ring: IoRing, request: FixedRequest): Task<number> {
  const error = fixedError(ring, request);
  return error === 0 ? writeFixed(current, ring, request) : atomically(() => error);
}

function* writeFixed(current: TaskStruct, ring: IoRing, request: FixedRequest): Task<number> {
  const data = new Uint8Array(Number(request.bytes));
  if (data.length === 0) return 0;
  const got = yield* ring.dmaRead(current, request.address, data);
  if (got < 0) return got;
  return yield* fileWrite(current, request.file, request.offset, data);
}
