/**
 * The kernel's own test of GUP: a file of debugfs whose ioctls get or pin a range in calls of so many pages, look whether what
 * is pinned says so, and give all back. Times are virtual cycles of the CPU, where Linux gives microseconds.
 * Left out: memory for the array of pages that cannot be had, copying the structure from and to user memory, the mutex
 * around pins that last (one task uses an open file here at a time, which the caller sees to).
 * @see Linux mm/gup_test.c, mm/gup_test.h
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINTR, EINVAL } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { getUserPages, pinUserPages } from '../gup/get-user-pages.ts';
import { getUserPagesFast, pinUserPagesFast } from '../gup/get-user-pages-fast.ts';
import { putUserPage, unpinUserPages } from '../gup/pin.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { copyToUser } from '../mm/user-access.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_SIZE = 4096;
const END_OF_ADDRESSES = 1n << 64n;
const PAGE_BYTES = BigInt(PAGE_SIZE);
export const GUP_TEST_MAX_PAGES_TO_DUMP = 8;

/** Of `struct gup_test`. */
export const GUP_TEST_COMMANDS = [
  'GUP_FAST_BENCHMARK',
  'PIN_FAST_BENCHMARK',
  'PIN_LONGTERM_BENCHMARK',
  'GUP_BASIC_TEST',
  'PIN_BASIC_TEST',
  'DUMP_USER_PAGES_TEST',
] as const;
export type GupTestCommand = (typeof GUP_TEST_COMMANDS)[number];

/** `struct gup_test`: the fields that the caller gives. */
export interface GupTestRequest {
  /** 64-bit words. */
  readonly addr: bigint;
  readonly size: bigint;
  /** 32 bits. */
  readonly nrPagesPerCall: number;
  /** FOLL_ bits. */
  readonly gupFlags: number;
  /** GUP_TEST_FLAG_DUMP_PAGES_USE_PIN. */
  readonly dumpUsesPin: boolean;
  /** Pages to show, counted from 1; 0 is none. */
  readonly whichPages: readonly number[];
}

/** What `dump_page` shows of a page. */
export interface DumpedPage {
  /** Counted from 0. */
  readonly index: number;
  readonly frame: number;
  readonly refcount: number;
  readonly mapcount: number;
  readonly maybeDmaPinned: boolean;
}

/** The fields that the kernel fills in. */
export interface GupTestResult {
  /** Virtual cycles of taking and of giving back (`get_delta_usec`, `put_delta_usec`). */
  getCycles: number;
  putCycles: number;
  /** Bytes of the pages taken: fewer than asked for when one could not be had. */
  size: number;
  /** As given, with 0 for those beyond the pages taken. */
  whichPages: number[];
  dumped: DumpedPage[];
}

export const emptyGupTestResult = (): GupTestResult => ({
  getCycles: 0,
  putCycles: 0,
  size: 0,
  whichPages: [],
  dumped: [],
});

/** An open file of it: pages that PIN_LONGTERM_TEST_START has pinned. Null: none. */
export class GupTestFile {
  longtermPages: number[] | null = null;
}

/** 0 with `result` filled in, -EINVAL, or -EINTR. What could not be taken shows in `size` only. */
export function* gupTestIoctl(
  current: TaskStruct,
  command: GupTestCommand,
  request: GupTestRequest,
  result: GupTestResult,
): Task<number> {
  const { addr, size, nrPagesPerCall } = request;
  if (size === 0n || nrPagesPerCall === 0 || size % PAGE_BYTES !== 0n) return -EINVAL;
  if (addr + size >= END_OF_ADDRESSES || current.mm === null) return -EINVAL;
  const { mm } = current;
  const needsMmapLock = command !== 'GUP_FAST_BENCHMARK' && command !== 'PIN_FAST_BENCHMARK';
  if (needsMmapLock && (yield* mmapReadLockKillable(current, mm)) !== 0) return -EINTR;
  const pages: number[] = [];
  let begun = cyclesOf(current);
  yield* takeAll(current, command, request, pages);
  result.getCycles = cyclesOf(current) - begun;
  result.size = pages.length * PAGE_SIZE;
  verifyDmaPinned(current, command, pages);
  if (command === 'DUMP_USER_PAGES_TEST') dumpPages(current, request, pages, result);
  begun = cyclesOf(current);
  yield* putBack(current, command, request, pages);
  result.putCycles = cyclesOf(current) - begun;
  if (needsMmapLock) yield* mmapReadUnlock(current, mm);
  return 0;
}

function cyclesOf({ processor }: TaskStruct): number {
  return processor?.time ?? 0;
}

/** In calls of `nrPagesPerCall` pages, until one gives fewer. */
function* takeAll(
  current: TaskStruct,
  command: GupTestCommand,
  request: GupTestRequest,
  pages: number[],
): Task<void> {
  const { addr, size, nrPagesPerCall } = request;
  const total = Number(size / PAGE_BYTES);
  const first = Number(addr / PAGE_BYTES);
  let got = nrPagesPerCall;
  for (let done = 0; done < total && got === nrPagesPerCall; done += got) {
    const wanted = Math.min(got, total - done);
    const slots: number[] = [];
    got = yield* takeSome(current, command, request, first + done, wanted, slots);
    if (got <= 0) return;
    for (let i = 0; i < got; i++) pages.push(slots[i] as number);
  }
}

function takeSome(
  current: TaskStruct,
  command: GupTestCommand,
  { gupFlags, dumpUsesPin }: GupTestRequest,
  page: number,
  count: number,
  slots: number[],
): Task<number> {
  switch (command) {
    case 'GUP_FAST_BENCHMARK':
      return getUserPagesFast(current, page, count, gupFlags, slots);
    case 'GUP_BASIC_TEST':
      return getUserPages(current, page, count, gupFlags, slots);
    case 'PIN_FAST_BENCHMARK':
      return pinUserPagesFast(current, page, count, gupFlags, slots);
    case 'PIN_BASIC_TEST':
      return pinUserPages(current, page, count, gupFlags, slots);
    case 'PIN_LONGTERM_BENCHMARK':
      return pinUserPages(current, page, count, gupFlags | FOLL_LONGTERM, slots);
    case 'DUMP_USER_PAGES_TEST':
      return (dumpUsesPin ? pinUserPages : getUserPages)(current, page, count, gupFlags, slots);
  }
}

/** Warns of the first page that was pinned and does not say so, or may not stay where it is. @see `verify_dma_pinned` */
function verifyDmaPinned(current: TaskStruct, command: GupTestCommand, pages: readonly number[]): void {
  if (!command.startsWith('PIN_')) return;
  const { frames, warnings } = current.kernel;
  for (const [i, frame] of pages.entries()) {
    // Linux says so of the zero page, too, whose pins are not counted.
    if (!frames.maybeDmaPinned(frame)) {
      warnings.once(current, 'verify_dma_pinned', `pages[${i}] is NOT dma-pinned`);
      return;
    }
    if (command === 'PIN_LONGTERM_BENCHMARK' && !frames.isLongtermPinnable(frame)) {
      warnings.once(current, 'verify_dma_pinned', `pages[${i}] is NOT pinnable but pinned`);
      return;
    }
  }
}

/** @see `dump_pages_test` */
function dumpPages(
  current: TaskStruct,
  { whichPages }: GupTestRequest,
  pages: readonly number[],
  result: GupTestResult,
): void {
  const { frames } = current.kernel;
  result.whichPages = whichPages.map((which) => (which > pages.length ? 0 : which));
  for (const which of result.whichPages) {
    if (which === 0) continue;
    const frame = pages[which - 1] as number;
    result.dumped.push({
      index: which - 1,
      frame,
      refcount: frames.refcount(frame),
      mapcount: frames.isZeroFrame(frame) ? 0 : frames.mapcount(frame),
      maybeDmaPinned: frames.maybeDmaPinned(frame),
    });
  }
}

/** @see `put_back_pages` */
function* putBack(
  current: TaskStruct,
  command: GupTestCommand,
  { dumpUsesPin }: GupTestRequest,
  pages: readonly number[],
): Task<void> {
  const pinned = command === 'DUMP_USER_PAGES_TEST' ? dumpUsesPin : command.startsWith('PIN_');
  if (pinned) yield* unpinUserPages(current, [...pages], pages.length);
  else for (const frame of pages) yield* putUserPage(current, frame);
}

/** `struct pin_longterm_test`. */
export interface PinLongtermRequest {
  readonly addr: bigint;
  readonly size: bigint;
  /** PIN_LONGTERM_TEST_FLAG_USE_WRITE, _USE_FAST. */
  readonly write: boolean;
  readonly fast: boolean;
}

/** Whole pages, and not more bytes than LONG_MAX. */
function isPinRange(addr: bigint, size: bigint): boolean {
  return addr % PAGE_BYTES === 0n && size % PAGE_BYTES === 0n && size > 0n && size < 1n << 63n;
}

/** PIN_LONGTERM_TEST_START. 0 with all pages pinned; -EINVAL, also when some are already, -EINTR, or what GUP gave, nothing pinned. */
export function* pinLongtermTestStart(
  current: TaskStruct,
  file: GupTestFile,
  { addr, size, write, fast }: PinLongtermRequest,
): Task<number> {
  if (file.longtermPages !== null || current.mm === null || !isPinRange(addr, size)) return -EINVAL;
  const { mm } = current;
  const gupFlags = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
  const total = Number(size / PAGE_BYTES);
  const first = Number(addr / PAGE_BYTES);
  if (!fast && (yield* mmapReadLockKillable(current, mm)) !== 0) return -EINTR;
  const pinned: number[] = [];
  file.longtermPages = pinned;
  let error = 0;
  while (pinned.length < total && error === 0) {
    const slots: number[] = [];
    const pin = fast ? pinUserPagesFast : pinUserPages;
    const got = yield* pin(current, first + pinned.length, total - pinned.length, gupFlags, slots);
    if (got < 0) error = got;
    for (let i = 0; i < got; i++) pinned.push(slots[i] as number);
  }
  if (error !== 0) yield* pinLongtermTestStop(current, file);
  if (!fast) yield* mmapReadUnlock(current, mm);
  return error;
}

/** PIN_LONGTERM_TEST_STOP, and closing the file. Nothing when none are pinned. 0. */
export function* pinLongtermTestStop(current: TaskStruct, file: GupTestFile): Task<number> {
  const pages = file.longtermPages;
  if (pages === null) return 0;
  yield* unpinUserPages(current, pages, pages.length);
  file.longtermPages = null;
  return 0;
}

/** PIN_LONGTERM_TEST_READ: copies the pinned pages to user memory. 0, -EINVAL when none are pinned, -EFAULT. */
export function* pinLongtermTestRead(current: TaskStruct, file: GupTestFile, to: bigint): Task<number> {
  if (file.longtermPages === null) return -EINVAL;
  const bytes = new Uint8Array(PAGE_SIZE);
  for (const [i, frame] of file.longtermPages.entries()) {
    yield current.kernel.copyPoints.of(frame, PAGE_SIZE, false);
    current.kernel.machine.memory.readBytes(frame, 0, bytes);
    if ((yield* copyToUser(current, to + BigInt(i * PAGE_SIZE), bytes)) !== 0) return -EFAULT;
  }
  return 0;
}
