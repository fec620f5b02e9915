/**
 * /proc/PID/maps, smaps and smaps_rollup, read from the beginning to the end.
 * - maps takes the lock of one VMA after the other, and mmap_lock only where that does not work out.
 * - smaps walks page tables under mmap_lock. A read of 4096 bytes, which is what the file gives at a time, begins with
 *   taking it and ends with releasing it; a writer comes in between two reads, not within one.
 * - smaps_rollup is one such read however much there is; it lets writers that wait come in after each VMA.
 * Left out: the text itself, the gate VMA, NUMA policies, files whose reader asks for other sizes.
 * @see Linux fs/proc/task_mmu.c, `m_start`, `proc_get_vma`, `show_smap`, `show_smaps_rollup`, `smaps_pte_range`
 */
import { atomically, type Task } from '../../base/task.ts';
import { EINTR, ESRCH } from '../errno.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../lock/rcu.ts';
import { isHugetlbVma } from '../mm/hugetlb/hugetlb-vma.ts';
import { lockNextVma } from '../mm/lock-vma-under-rcu.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import type { TablePage } from '../mm/page-table.ts';
import { type MapsEntry, mapsEntry, type SmapsEntry, SmapsGather } from '../mm/smaps.ts';
import type { VmArea } from '../mm/vma.ts';
import { VmaIterator } from '../mm/vma-iterator.ts';
import { vmaEndRead } from '../mm/vma-lock.ts';
import { HugeVerdict, type PageTableVisitor, walkPageTables } from '../mm/walk-page-tables.ts';
import { PTRACE_MODE_READ } from '../process/ptrace-access.ts';
import type { TaskStruct } from '../task-struct.ts';
import { closeProcMem, procMemOpen } from './proc-pid-mem.ts';

/** VMAs whose text fits into one read: an entry is some 750 bytes long. */
const VMAS_PER_READ = 5;

/** Sums over all VMAs, KiB; `start` and `end` are of the whole, in bytes. */
export type SmapsRollup = Pick<SmapsEntry, 'start' | 'end' | (typeof SUMMED)[number]>;

const SUMMED = [
  'rss',
  'anonymous',
  'swap',
  'anonHugePages',
  'shmemPmdMapped',
  'filePmdMapped',
  'privateHugetlb',
  'sharedHugetlb',
  'locked',
] as const;

/** Opens the file, runs `read` with a reference to the users of the mm, closes it. @param gone what there is without users */
function* withMm<T>(
  current: TaskStruct,
  pid: number,
  gone: T | number,
  read: (mm: MmStruct) => Task<T | number>,
): Task<T | number> {
  const file = yield* procMemOpen(current, pid, PTRACE_MODE_READ);
  if (typeof file === 'number') return file;
  const { mm } = file;
  const alive = yield* mmgetNotZero(mm);
  const result = alive ? yield* read(mm) : gone;
  if (alive) yield* mmput(current, mm);
  yield* closeProcMem(file);
  return result;
}

/** The lines of /proc/PID/maps, none without memory; -ENOENT, -ESRCH or -EACCES from open, -EINTR when killed. */
export function readProcMaps(current: TaskStruct, pid: number): Task<readonly MapsEntry[] | number> {
  return withMm<readonly MapsEntry[]>(current, pid, [], (mm) => showMaps(current, mm));
}

function* showMaps(current: TaskStruct, mm: MmStruct): Task<MapsEntry[] | number> {
  const entries: MapsEntry[] = [];
  rcuReadLock(current);
  let next = yield* lockNextVma(current, mm, 0);
  while (next !== null && typeof next !== 'number') {
    entries.push(mapsEntry(next));
    const { end } = next;
    yield* vmaEndRead(current, next);
    next = yield* lockNextVma(current, mm, end);
  }
  rcuReadUnlock(current);
  return next ?? entries;
}

/** The entries of /proc/PID/smaps, none without memory; errors as `readProcMaps`. */
export function readProcSmaps(current: TaskStruct, pid: number): Task<readonly SmapsEntry[] | number> {
  return withMm<readonly SmapsEntry[]>(current, pid, [], (mm) => showSmaps(current, mm));
}

function* showSmaps(current: TaskStruct, mm: MmStruct): Task<SmapsEntry[] | number> {
  const entries: SmapsEntry[] = [];
  for (let vma: VmArea | null, from = 0; ; ) {
    if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EINTR;
    const iterator = new VmaIterator(current, mm, from);
    vma = iterator.next();
    for (let count = 0; count < VMAS_PER_READ && vma !== null; count++) {
      entries.push(yield* gather(current, vma, vma.start));
      from = vma.end;
      vma = iterator.next();
    }
    iterator.end();
    yield* mmapReadUnlock(current, mm);
    if (vma === null) return entries;
  }
}

/** /proc/PID/smaps_rollup; errors as `readProcMaps`, -ESRCH also without memory. */
export function readProcSmapsRollup(current: TaskStruct, pid: number): Task<SmapsRollup | number> {
  return withMm<SmapsRollup>(current, pid, -ESRCH, (mm) => showSmapsRollup(current, mm));
}

function* showSmapsRollup(current: TaskStruct, mm: MmStruct): Task<SmapsRollup | number> {
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EINTR;
  const parts: SmapsEntry[] = [];
  let end = 0;
  let relocked = false;
  let iterator = new VmaIterator(current, mm, 0);
  for (let vma = iterator.next(); vma !== null; vma = iterator.next()) {
    // What was before `end` has been counted; a VMA that was put together meanwhile may begin there.
    parts.push(yield* gather(current, vma, Math.max(vma.start, end)));
    end = vma.end;
    relocked = !relocked && mm.mmapLock.isContended();
    if (!relocked) continue;
    iterator.end();
    yield* mmapReadUnlock(current, mm);
    if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EINTR;
    iterator = new VmaIterator(current, mm, end);
  }
  iterator.end();
  yield* mmapReadUnlock(current, mm);
  const sum = (name: (typeof SUMMED)[number]): number => parts.reduce((total, part) => total + part[name], 0);
  return {
    start: parts[0]?.start ?? 0n,
    end: parts.at(-1)?.end ?? 0n,
    ...(Object.fromEntries(SUMMED.map((name) => [name, sum(name)])) as Pick<
      SmapsEntry,
      (typeof SUMMED)[number]
    >),
  };
}

/** Needs mmap_lock. */
function* gather(current: TaskStruct, vma: VmArea, start: number): Task<SmapsEntry> {
  const stats = new SmapsGather(vma);
  if (isHugetlbVma(vma)) stats.add(start, vma.end);
  else yield* walkPageTables(current, vma, start, vma.end, new GatherVisitor(stats));
  return stats.entry(start, vma.end);
}

class GatherVisitor implements PageTableVisitor {
  readonly #stats: SmapsGather;

  constructor(stats: SmapsGather) {
    this.#stats = stats;
  }

  *ptes(table: TablePage, first: number, end: number): Task<number> {
    for (let page = first; page < end; page++) {
      // How often a page is mapped elsewhere may change meanwhile.
      yield table.readEntry;
      this.#stats.add(page, page + 1);
    }
    return 0;
  }

  huge(first: number, end: number): Task<HugeVerdict> {
    return atomically(() => {
      this.#stats.add(first, end);
      return HugeVerdict.Done;
    });
  }
}
