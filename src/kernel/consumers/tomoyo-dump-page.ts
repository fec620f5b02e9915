/**
 * What the security module TOMOYO reads of a program that execve is about to start: pages of the argument and environment
 * strings, out of an address space that nobody runs in yet.
 * Left out: what it then does with them (matching argv and envp against its policy).
 * @see Linux security/tomoyo/domain.c, `tomoyo_dump_page`
 */
import type { Task } from '../../base/task.ts';
import { FOLL_FORCE } from '../gup/foll-flags.ts';
import { getUserPagesRemote } from '../gup/get-user-pages-remote.ts';
import { putUserPage } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_SIZE = 4096;

/** The copy of the page looked at last; reused for every page of one execve. @see `struct tomoyo_page_dump` */
export class TomoyoPageDump {
  /** Which frame it is of; -1: of none yet. */
  frame = -1;
  readonly data = new Uint8Array(PAGE_SIZE);
}

/**
 * Copies the strings in the page of address `position` of `mm`, from there to the end of the page, to the same place in
 * `dump`. A page that is the same frame as before is not copied again.
 * @returns false when the page cannot be had
 */
export function* tomoyoDumpPage(
  current: TaskStruct,
  mm: MmStruct,
  position: bigint,
  dump: TomoyoPageDump,
): Task<boolean> {
  const pages = [-1];
  yield* mmapReadLock(current, mm);
  const got = yield* getUserPagesRemote(current, mm, Number(position >> 12n), 1, FOLL_FORCE, pages, null);
  yield* mmapReadUnlock(current, mm);
  if (got <= 0) return false;
  const frame = pages[0] as number;
  if (frame !== dump.frame) {
    dump.frame = frame;
    // Strings grow down: what lies in front of the position is not theirs.
    const offset = Number(position & 0xfffn);
    yield current.kernel.copyPoints.of(frame, dump.data.length - offset, false);
    if (!current.kernel.machine.memory.readBytes(frame, offset, dump.data.subarray(offset))) {
      throw new Error(`frame 0x${frame.toString(16)} of the allocator has no memory`);
    }
  }
  yield* putUserPage(current, frame);
  return true;
}
