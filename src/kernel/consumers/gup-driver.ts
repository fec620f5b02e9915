/**
 * A driver that gets or pins pages of a program by any entry of GUP, keeps them, reads and writes them behind the page
 * tables' back as a device does, and gives them back. No driver of Linux is this one: real ones use one entry each.
 * @see Linux mm/gup.c; Documentation/core-api/pin_user_pages.rst
 */
import type { Task } from '../../base/task.ts';
import type { MmapLocked } from '../gup/foll-flags.ts';
import { getUserPages, pinUserPages } from '../gup/get-user-pages.ts';
import { getUserPagesFast, getUserPagesFastOnly, pinUserPagesFast } from '../gup/get-user-pages-fast.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../gup/get-user-pages-remote.ts';
import { getUserPagesUnlocked, pinUserPagesUnlocked } from '../gup/get-user-pages-unlocked.ts';
import { memfdPinFolios } from '../gup/memfd-pin-folios.ts';
import { putUserPage, unpinUserPages, unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { unpinFolios } from '../gup/unpin-folio.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MappedFile } from '../mm/mapped-file.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';

export const GUP_ENTRIES = [
  'get_user_pages',
  'get_user_pages_unlocked',
  'get_user_pages_remote',
  'get_user_pages_fast',
  'get_user_pages_fast_only',
  'pin_user_pages',
  'pin_user_pages_unlocked',
  'pin_user_pages_remote',
  'pin_user_pages_fast',
] as const;
export type GupEntry = (typeof GUP_ENTRIES)[number];

export interface GupRequest {
  readonly entry: GupEntry;
  readonly startPage: number;
  readonly count: number;
  /** FOLL_* bits. */
  readonly gupFlags: number;
  /** False passes no array: pages are only faulted in. */
  readonly wantsPages: boolean;
  /** Of the remote entries; null passes none. */
  readonly locked: MmapLocked | null;
}

/** What the driver keeps: frames, and how it got them. */
export class DriverPages {
  readonly frames: number[] = [];
  readonly kind: 'get' | 'pin' | 'folio pin';

  constructor(kind: 'get' | 'pin' | 'folio pin') {
    this.kind = kind;
  }
}

/** One call. Where the entry wants mmap_lock held, the driver takes it, and lets it go unless GUP did. As the entry answers. */
export function* gupDriverTake(
  current: TaskStruct,
  mm: MmStruct,
  request: GupRequest,
  into: DriverPages,
): Task<number> {
  const { entry, count, locked, wantsPages } = request;
  const pages = new Array<number>(wantsPages ? count : 0).fill(-1);
  const slots = wantsPages ? pages : null;
  const byItself = entry.includes('fast') || entry.endsWith('unlocked') || locked?.held === false;
  if (!byItself) {
    const killed = yield* mmapReadLockKillable(current, mm);
    if (killed !== 0) return killed;
  }
  const got = yield* callOf(current, mm, request, slots, pages);
  if (!byItself && locked?.held !== false) yield* mmapReadUnlock(current, mm);
  if (wantsPages) for (let i = 0; i < got; i++) into.frames.push(pages[i] as number);
  return got;
}

function callOf(
  current: TaskStruct,
  mm: MmStruct,
  { entry, startPage, count, gupFlags, locked }: GupRequest,
  slots: number[] | null,
  pages: number[],
): Task<number> {
  switch (entry) {
    case 'get_user_pages':
      return getUserPages(current, startPage, count, gupFlags, slots);
    case 'get_user_pages_unlocked':
      return getUserPagesUnlocked(current, startPage, count, slots, gupFlags);
    case 'get_user_pages_remote':
      return getUserPagesRemote(current, mm, startPage, count, gupFlags, slots, locked);
    case 'get_user_pages_fast':
      return getUserPagesFast(current, startPage, count, gupFlags, pages);
    case 'get_user_pages_fast_only':
      return getUserPagesFastOnly(current, startPage, count, gupFlags, pages);
    case 'pin_user_pages':
      return pinUserPages(current, startPage, count, gupFlags, slots);
    case 'pin_user_pages_unlocked':
      return pinUserPagesUnlocked(current, startPage, count, slots, gupFlags);
    case 'pin_user_pages_remote':
      return pinUserPagesRemote(current, mm, startPage, count, gupFlags, slots, locked);
    case 'pin_user_pages_fast':
      return pinUserPagesFast(current, startPage, count, gupFlags, pages);
  }
}

/** `memfd_pin_folios` of bytes `start` to `end`, inclusive. As that answers; `offset` is in bytes. */
export function* gupDriverTakeFolios(
  current: TaskStruct,
  file: MappedFile | null,
  start: number,
  end: number,
  most: number,
  offset: { value: number },
  into: DriverPages,
): Task<number> {
  const folios = new Array<number>(most).fill(-1);
  const got = yield* memfdPinFolios(current, file, start, end, folios, most, offset);
  for (let i = 0; i < got; i++) into.frames.push(folios[i] as number);
  return got;
}

/** Gives all back; pins with the pages marked dirty first, if `dirty`. */
export function* gupDriverRelease(current: TaskStruct, kept: DriverPages, dirty: boolean): Task<void> {
  const frames = kept.frames.splice(0);
  if (kept.kind === 'folio pin') return yield* unpinFolios(current, frames, frames.length);
  if (kept.kind === 'get') {
    for (const frame of frames) yield* putUserPage(current, frame);
  } else if (dirty) yield* unpinUserPagesDirtyLock(current, frames, frames.length, true);
  else yield* unpinUserPages(current, frames, frames.length);
}

const PAGE_BYTES = 4096;

/** The device moves bytes of one page it was given: no page table is asked, and no dirty bit set. */
export function* gupDriverCopy(
  current: TaskStruct,
  frame: number,
  offset: number,
  bytes: Uint8Array,
  write: boolean,
): Task<void> {
  const { copyPoints, machine } = current.kernel;
  if (offset + bytes.length > PAGE_BYTES) throw new Error(`${bytes.length} bytes at ${offset} of a page`);
  yield copyPoints.of(frame, bytes.length, write);
  if (write) machine.memory.writeBytes(frame, offset, bytes);
  else machine.memory.readBytes(frame, offset, bytes);
}
