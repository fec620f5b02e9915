/**
 * Finds accesses to another process's memory that can be put at no moment between their beginning and their end:
 * - of a page that was unmapped, or forbidden, when the access began and stayed so. What munmap or mprotect took away
 *   before, whoever begins afterwards does not get;
 * - of a page that was taken away while the access was under way, with bytes that it had only later;
 * - of a frame that the page has not mapped since the access began: MADV_DONTNEED or mremap has taken it away before.
 * A page that is allowed when its bytes move is read at that moment. An access under way beside such a call may see either.
 * Left out: process_vm_readv and others that copy from pages they hold references to, as pins allow for ever.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../../kernel/gup/foll-flags.ts';
import { untaggedPageRemoteUnlocked } from '../../kernel/gup/get-user-pages-loop.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';
import { rootTable } from '../../kernel/mm/page-table-alloc.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { isCowMapping, VM_MAYREAD, VM_READ, VM_WRITE } from '../../kernel/mm/vma-flags.ts';
import type { RemoteTransfer } from '../../kernel/remote/design.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { CheckDefinition } from './check.ts';
import { placeInTransfer } from './transfer-place.ts';
import type { Watch } from './watch.ts';

const NAME = 'stale-remote-access';
const PAGE_SIZE = 4096;
const ZERO_PAGE = -1;

export const staleRemoteAccess: CheckDefinition = {
  name: NAME,
  rule: 'An access to another process’s memory that begins when munmap, mprotect, mremap or madvise has returned sees it.',
  source:
    'Linux Documentation/mm/process_addrs.rst; munmap(2), mprotect(2); Herlihy and Wing, "Linearizability" (1990)',
  attach(watch) {
    const accesses = new RemoteAccesses(watch);
    watch.onRun(() => accesses.forget());
    watch.onRemote({
      begins: (current, transfer) => accesses.begins(current, transfer),
      copied: (current, frame, offset, buffer, at, bytes) =>
        accesses.copied(current, frame, offset, placeOf(accesses, current, buffer, at), bytes),
      ends: (current, moved) => accesses.ends(current, moved),
    });
    watch.onVmas({
      treeChanges: (mm, vma, change) => {
        if (change === 'remove' && vma.detached) accesses.takesAway(mm, vma);
      },
      touched: (vma, field, write) => {
        if (write && field === 'vm_flags') accesses.takesAway(vma.mm, vma);
      },
    });
    watch.onTables({
      written: (table, _index, oldHi, oldLo, hi, lo) => accesses.written(table, oldHi, oldLo, hi, lo),
    });
  },
};

function placeOf(accesses: RemoteAccesses, current: TaskStruct, buffer: Uint8Array, at: number): number {
  const transfer = accesses.transferOf(current);
  return transfer === null ? 0 : placeInTransfer(transfer, buffer, at);
}

interface RemoteAccess {
  readonly transfer: RemoteTransfer;
  readonly first: number;
  readonly end: number;
  /** Pages that were allowed and are to be taken away, as they were: null where no bytes were there. */
  readonly taken: Map<number, Uint8Array | null>;
  /** Frames that some entry has mapped, or stopped mapping, since it began. */
  readonly frames: Set<number>;
  /** What is wrong, by the number of the page; what is copied last counts. */
  readonly wrong: Map<number, string>;
}

class RemoteAccesses {
  readonly #watch: Watch;
  #active = new Map<TaskStruct, RemoteAccess>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#active = new Map();
  }

  transferOf(current: TaskStruct): RemoteTransfer | null {
    return this.#active.get(current)?.transfer ?? null;
  }

  begins(current: TaskStruct, transfer: RemoteTransfer): void {
    const first = untaggedPageRemoteUnlocked(current, transfer.mm, transfer.page);
    const end = first + Math.ceil((transfer.offset + transfer.length) / PAGE_SIZE);
    const taken = new Map<number, Uint8Array | null>();
    this.#active.set(current, { transfer, first, end, taken, frames: new Set(), wrong: new Map() });
  }

  /** Pages of the VMA may be unmapped or forbidden in this step; they are as they were. */
  takesAway(mm: MmStruct, vma: VmArea): void {
    if (this.#active.size === 0) return;
    this.#watch.unwatched(() => {
      for (const access of this.#active.values()) {
        if (access.transfer.mm !== mm || !isAllowed(vma, access.transfer)) continue;
        const end = Math.min(access.end, vma.end);
        for (let page = Math.max(access.first, vma.start); page < end; page++) {
          access.taken.set(page, this.#bytesOf(mm, page));
        }
      }
    });
  }

  #bytesOf(mm: MmStruct, page: number): Uint8Array | null {
    const frame = this.#frameOf(mm, page);
    if (frame === null) return null;
    const bytes = new Uint8Array(PAGE_SIZE);
    return this.#watch.kernel.machine.memory.readBytes(frame, 0, bytes) ? bytes : null;
  }

  /** The frame that the page maps, null for none. */
  #frameOf(mm: MmStruct, page: number): number | null {
    if (mm.pgd === -1) return null;
    const { pageTables } = this.#watch.kernel;
    const { hi, lo } = pageTables;
    const level = pageTables.lookupLeaf(rootTable(mm), page);
    const present = level !== -1 && (pageTables.flags(level) & EntryFlag.Present) !== 0;
    const frame = present ? pageTables.frameInLeaf(page, level) : null;
    pageTables.hi = hi;
    pageTables.lo = lo;
    return frame;
  }

  written(table: TablePage, oldHi: number, oldLo: number, hi: number, lo: number): void {
    if (this.#active.size === 0) return;
    this.#noteFrame(table.level, oldHi, oldLo);
    this.#noteFrame(table.level, hi, lo);
  }

  #noteFrame(level: number, hi: number, lo: number): void {
    const { format } = this.#watch.kernel.pageTables;
    if (format.isNone(hi, lo) || format.isTable(hi, lo, level)) return;
    if ((format.flagsOf(hi, lo, level) & EntryFlag.Present) === 0) return;
    const frame = format.frameOf(hi, lo, level);
    for (const { frames } of this.#active.values()) frames.add(frame);
  }

  copied(current: TaskStruct, frame: number, offset: number, place: number, bytes: number): void {
    const access = this.#active.get(current);
    if (access === undefined) return;
    const number = Math.floor((access.transfer.offset + place) / PAGE_SIZE);
    const wrong = this.#watch.unwatched(() =>
      this.#judge(access, access.first + number, frame, offset, bytes),
    );
    if (wrong === null) access.wrong.delete(number);
    else access.wrong.set(number, wrong);
  }

  #judge(access: RemoteAccess, page: number, frame: number, offset: number, bytes: number): string | null {
    const { transfer, taken } = access;
    const { mm } = transfer;
    const vma = mm.vmas.lookup(page);
    if (vma === null || !isAllowed(vma, transfer)) {
      const before = taken.get(page);
      if (before === undefined) return vma === null ? 'is not mapped' : 'is not allowed';
      if (before === null || this.#isSame(frame, before, offset, bytes)) return null;
      return 'has these bytes only since it was taken away';
    }
    if (frame === ZERO_PAGE || this.#frameOf(mm, page) === frame) return null;
    const head = this.#watch.kernel.frames.head(frame);
    if (access.frames.has(frame) || access.frames.has(head)) return null;
    return `has not mapped frame 0x${frame.toString(16)} since the access began`;
  }

  #isSame(frame: number, before: Uint8Array, offset: number, bytes: number): boolean {
    const now = new Uint8Array(bytes);
    if (frame !== ZERO_PAGE) this.#watch.kernel.machine.memory.readBytes(frame, offset, now);
    return now.every((byte, at) => byte === before[offset + at]);
  }

  ends(current: TaskStruct, moved: number): void {
    const access = this.#active.get(current);
    if (access === undefined) return;
    this.#active.delete(current);
    const { mm, offset, gupFlags } = access.transfer;
    const pages = moved === 0 ? 0 : Math.ceil((offset + moved) / PAGE_SIZE);
    for (const [number, wrong] of access.wrong) {
      if (number >= pages) continue;
      const what = (gupFlags & FOLL_WRITE) !== 0 ? 'writes' : 'reads';
      const page = `page 0x${(access.first + number).toString(16)} of ${mm.name}`;
      this.#watch.report(NAME, `${current.name} ${what} ${page}, which ${wrong}`, [mm.mmapLock.name]);
      return;
    }
  }
}

/** As the rights of the VMA are now. */
function isAllowed({ flags }: VmArea, { gupFlags }: RemoteTransfer): boolean {
  const forced = (gupFlags & FOLL_FORCE) !== 0;
  if ((gupFlags & FOLL_WRITE) !== 0) return (flags & VM_WRITE) !== 0 || (forced && isCowMapping(flags));
  return (flags & VM_READ) !== 0 || (forced && (flags & VM_MAYREAD) !== 0);
}
