/**
 * mincore: which pages of a range an access would find in memory. Of a file it is the page cache that counts, whether
 * the page is mapped or not.
 * Left out: the file's owner and permissions (who may not write a file is told that all of it is there).
 * @see Linux mm/mincore.c
 */
import { EntryFlag, tableIndex } from '../../arch/paging-format.ts';
import { atomically, type Task } from '../../base/task.ts';
import { EFAULT, EINVAL, ENOMEM } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { NO_SLOT } from '../frame/swap-area.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { hstateOfVma, isHugetlbVma } from './hugetlb/hugetlb-vma.ts';
import type { MmStruct } from './mm.ts';
import { pteIndex, type TablePage } from './page-table.ts';
import { rootTable } from './page-table-alloc.ts';
import { SWP_PTE_MARKER } from './swap-entry.ts';
import { mincoreSwap, swapSlotRead } from './swap-pte.ts';
import { accessOk, copyToUser } from './user-access.ts';
import type { VmArea } from './vma.ts';
import { VM_PFNMAP } from './vma-flags.ts';
import { HugeVerdict, type PageTableVisitor, walkPageTables } from './walk-page-tables.ts';

/** Pages looked at before the answer is copied out: one page of bytes. */
const CHUNK_PAGES = 4096;

/**
 * The system call. `address` and `length` are bytes, unsigned 64 bits.
 * @param vector gets a byte for each page, 1 or 0: a user address, or the bytes of somebody outside
 * @returns 0, -EINVAL (an address inside a page), -ENOMEM (a hole; what lies before it is told) or -EFAULT (`vector`)
 */
export function* sysMincore(
  current: TaskStruct,
  address: bigint,
  length: bigint,
  vector: bigint | Uint8Array,
): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mincore without an address space`);
  const start = current.kernel.arch.untaggedAddress(current.cpu, address);
  if ((start & 0xfffn) !== 0n) return -EINVAL;
  if (!accessOk(current, start, length)) return -ENOMEM;
  const pages = Number((length + 0xfffn) >> 12n);
  if (typeof vector === 'bigint' && !accessOk(current, vector, BigInt(pages))) return -EFAULT;
  const first = Number(start >> 12n);
  const answer = new Uint8Array(Math.min(pages, CHUNK_PAGES));
  for (let done = 0; done < pages; ) {
    const count = Math.min(pages - done, CHUNK_PAGES);
    yield* mmapReadLock(current, mm);
    const told = yield* doMincore(current, mm, first + done, count, answer);
    yield* mmapReadUnlock(current, mm);
    if (told < 0) return told;
    if (!(yield* deliver(current, vector, done, answer.subarray(0, told)))) return -EFAULT;
    done += told;
  }
  return 0;
}

function* deliver(
  current: TaskStruct,
  vector: bigint | Uint8Array,
  at: number,
  bytes: Uint8Array,
): Task<boolean> {
  if (typeof vector === 'bigint') return (yield* copyToUser(current, vector + BigInt(at), bytes)) === 0;
  vector.set(bytes, at);
  return true;
}

/** Up to the end of one VMA: pages told, or -ENOMEM. */
function* doMincore(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  count: number,
  answer: Uint8Array,
): Task<number> {
  const vma = mm.vmas.lookup(page);
  if (vma === null) return -ENOMEM;
  const end = Math.min(vma.end, page + count);
  if (isHugetlbVma(vma)) {
    for (let at = page; at < end; at++) answer[at - page] = hugetlbInCore(vma, at) ? 1 : 0;
  } else if ((vma.flags & VM_PFNMAP) !== 0) {
    // Such mappings are a hole to walkers, and a hole is asked of the file. @see mm/pagewalk.c, `walk_page_test`
    for (let at = page; at < end; at++) answer[at - page] = isCached(vma, at) ? 1 : 0;
  } else yield* walkPageTables(current, vma, page, end, new MincoreVisitor(vma, page, answer));
  return end - page;
}

/**
 * Is the huge page around `page` mapped? Only where there is no table for its entry the page cache is asked.
 * @see `mincore_hugetlb`; mm/pagewalk.c, `walk_hugetlb_range`
 */
function hugetlbInCore(vma: VmArea, page: number): boolean {
  const { pageTables } = vma.mm.kernel;
  const { level } = hstateOfVma(vma);
  const table = pageTables.lookup(rootTable(vma.mm), page, level);
  if (table === null) return isCached(vma, page);
  pageTables.read(table, tableIndex(pageTables.format, page, level));
  const { format, hi, lo } = pageTables;
  if (format.isNone(hi, lo)) return false;
  const swap = (format.flagsOf(hi, lo, level) & EntryFlag.Swap) !== 0;
  return !swap || format.swapTypeOf(hi, lo) !== SWP_PTE_MARKER;
}

/** Where no page is mapped: is it in the page cache, and holds what it should? @see `__mincore_unmapped_range` */
function isCached(vma: VmArea, page: number): boolean {
  const { file, mm } = vma;
  if (file === null) return false;
  const small = vma.indexOf(page);
  const index = small - (small % (file.mapping.huge?.pages ?? 1));
  const slot = file.mapping.swapSlotAt(index);
  if (slot !== NO_SLOT) return mincoreSwap(mm, slot);
  const frame = file.mapping.frameAt(index);
  return frame !== -1 && mm.kernel.frames.hasFlag(frame, FrameFlag.Uptodate);
}

class MincoreVisitor implements PageTableVisitor {
  readonly #vma: VmArea;
  readonly #first: number;
  readonly #answer: Uint8Array;

  constructor(vma: VmArea, first: number, answer: Uint8Array) {
    this.#vma = vma;
    this.#first = first;
    this.#answer = answer;
  }

  ptes(table: TablePage, first: number, end: number): Task<number> {
    return atomically(() => {
      for (let page = first; page < end; page++) this.#tell(page, this.#resident(table, page));
      return 0;
    });
  }

  #tell(page: number, resident: boolean): void {
    this.#answer[page - this.#first] = resident ? 1 : 0;
  }

  #resident(table: TablePage, page: number): boolean {
    const { mm } = this.#vma;
    const { pageTables } = mm.kernel;
    pageTables.read(table, pteIndex(pageTables, page));
    const flags = pageTables.flags(table.level);
    if ((flags & EntryFlag.Present) !== 0) return true;
    if ((flags & EntryFlag.Swap) === 0) return isCached(this.#vma, page);
    const { format, hi, lo } = pageTables;
    if (format.swapTypeOf(hi, lo) === SWP_PTE_MARKER) return isCached(this.#vma, page);
    const slot = swapSlotRead(mm, table.level);
    // Broken memory and pages that move are somewhere.
    return slot === -1 || mincoreSwap(mm, slot);
  }

  hole(first: number, end: number): number {
    for (let page = first; page < end; page++) this.#tell(page, isCached(this.#vma, page));
    return 0;
  }

  huge(first: number, end: number): Task<HugeVerdict> {
    return atomically(() => {
      this.#answer.fill(1, first - this.#first, end - this.#first);
      return HugeVerdict.Done;
    });
  }
}
