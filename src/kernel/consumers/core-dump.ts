/**
 * The memory of a core dump: which mappings go in, and their pages, read by a process from itself as it dies. A page that
 * was never touched is a hole of the file; nothing is faulted in for it.
 * Left out: ELF headers and notes, the limit RLIMIT_CORE, waiting for other threads, special mappings (vDSO, gate area),
 * DAX.
 * @see Linux fs/coredump.c, `vma_dump_size`, `dump_vma_snapshot`, `dump_user_range`; arch/arm64/kernel/elfcore.c,
 * `mte_dump_tag_range`; core(5)
 */
import type { Task } from '../../base/task.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { MmapLocked } from '../gup/foll-flags.ts';
import { getDumpPage } from '../gup/get-dump-page.ts';
import { putUserPage } from '../gup/pin.ts';
import {
  mmapReadLockKillable,
  mmapReadUnlock,
  mmapWriteLockKillable,
  mmapWriteUnlock,
} from '../lock/mmap-lock.ts';
import {
  MMF_DUMP_ANON_PRIVATE,
  MMF_DUMP_ANON_SHARED,
  MMF_DUMP_ELF_HEADERS,
  MMF_DUMP_HUGETLB_PRIVATE,
  MMF_DUMP_HUGETLB_SHARED,
  MMF_DUMP_MAPPED_PRIVATE,
  MMF_DUMP_MAPPED_SHARED,
  type MmStruct,
} from '../mm/mm.ts';
import { copyFromUser } from '../mm/user-access.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_DONTDUMP, VM_HUGETLB, VM_IO, VM_READ, VM_SHARED } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_SIZE = 4096;
const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];
/** Of a mapping that may begin with an ELF header: it is looked at when mmap_lock is free again. */
const MAYBE_ELF_HEADER = -1;

/** A mapping as it was when the dump began. Pages. @see include/linux/coredump.h, `struct core_vma_metadata` */
interface CoreSegment {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly flagsHigh: number;
  readonly pgoff: number;
  readonly file: AddressSpace | null;
  /** Pages from `start` on whose contents are dumped. */
  dumpPages: number;
}

/** A page that is in the dump, by its number. */
interface CorePage {
  readonly page: number;
  readonly bytes: Uint8Array;
}

/** The tags of a page, one for each granule. */
interface CorePageTags {
  readonly page: number;
  readonly tags: Uint8Array;
}

export interface CoreDump {
  /** In order of addresses. */
  readonly segments: readonly CoreSegment[];
  /** Pages of the segments that are no holes, in order of addresses. */
  readonly pages: readonly CorePage[];
  /** Of mappings with tags (PROT_MTE), those of pages that have any. */
  readonly pageTags: readonly CorePageTags[];
  /** False: a fatal signal came, and the file ends where it was. */
  readonly complete: boolean;
}

/** All of it, if the filter has the bit. */
const whole = ({ pages }: VmArea, filter: number, bit: number): number => ((filter & bit) === 0 ? 0 : pages);

/** @see `vma_dump_size`; pages, or MAYBE_ELF_HEADER */
function vmaDumpPages(vma: VmArea, filter: number): number {
  const { flags } = vma;
  if ((flags & VM_DONTDUMP) !== 0) return 0;
  const shared = (flags & VM_SHARED) !== 0;
  if ((flags & VM_HUGETLB) !== 0) {
    return whole(vma, filter, shared ? MMF_DUMP_HUGETLB_SHARED : MMF_DUMP_HUGETLB_PRIVATE);
  }
  if ((flags & VM_IO) !== 0) return 0;
  if (shared) {
    // Shared anonymous memory is a file without a name, as a memfd is.
    return whole(vma, filter, vma.file?.mapping.links === 0 ? MMF_DUMP_ANON_SHARED : MMF_DUMP_MAPPED_SHARED);
  }
  return privateDumpPages(vma, filter);
}

function privateDumpPages(vma: VmArea, filter: number): number {
  // What has an anon_vma has been written to.
  if (vma.anonVma !== null && (filter & MMF_DUMP_ANON_PRIVATE) !== 0) return vma.pages;
  if (vma.file === null) return 0;
  if ((filter & MMF_DUMP_MAPPED_PRIVATE) !== 0) return vma.pages;
  // The first page says what was mapped.
  if ((filter & MMF_DUMP_ELF_HEADERS) === 0 || vma.pgoff !== 0 || (vma.flags & VM_READ) === 0) return 0;
  return vma.file.mapping.executable ? 1 : MAYBE_ELF_HEADER;
}

/** Null: killed while it waited for mmap_lock. @see `dump_vma_snapshot` */
function* dumpVmaSnapshot(current: TaskStruct, mm: MmStruct, filter: number): Task<CoreSegment[] | null> {
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return null;
  const segments: CoreSegment[] = [];
  for (const vma of mm.vmas.snapshot()) {
    const { start, end, flags, flagsHigh, pgoff } = vma;
    const file = vma.file?.mapping ?? null;
    segments.push({ start, end, flags, flagsHigh, pgoff, file, dumpPages: vmaDumpPages(vma, filter) });
  }
  yield* mmapWriteUnlock(current, mm);
  for (const segment of segments) {
    if (segment.dumpPages === MAYBE_ELF_HEADER) {
      segment.dumpPages = (yield* isElfHeader(current, segment.start)) ? 1 : 0;
    }
  }
  return segments;
}

function* isElfHeader(current: TaskStruct, page: number): Task<boolean> {
  const bytes = new Uint8Array(ELF_MAGIC.length);
  if ((yield* copyFromUser(current, bytes, BigInt(page) << 12n)) !== 0) return false;
  return ELF_MAGIC.every((byte, at) => bytes[at] === byte);
}

/**
 * Pages [start, start + count) into `pages`. mmap_lock is kept over holes and let go before a page is written out. False:
 * the dump ends here. @see `dump_user_range`
 */
function* dumpUserRange(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  count: number,
  pages: CorePage[],
): Task<boolean> {
  const locked: MmapLocked = { held: false };
  let complete = true;
  for (let page = start; page < start + count && complete; page++) {
    if (!locked.held && (yield* mmapReadLockKillable(current, mm)) !== 0) return false;
    locked.held = true;
    const frame = yield* getDumpPage(current, page, locked);
    if (frame >= 0) {
      if (locked.held) yield* mmapReadUnlock(current, mm);
      locked.held = false;
      yield current.kernel.copyPoints.of(frame, PAGE_SIZE, false);
      pages.push({ page, bytes: readFrame(current, frame) });
      yield* putUserPage(current, frame);
    }
    complete = !current.fatalSignalPending();
  }
  if (locked.held) yield* mmapReadUnlock(current, mm);
  return complete;
}

function readFrame({ kernel }: TaskStruct, frame: number): Uint8Array {
  const bytes = new Uint8Array(PAGE_SIZE);
  if (!kernel.machine.memory.readBytes(frame, 0, bytes)) {
    throw new Error(`frame 0x${frame.toString(16)} of the allocator has no memory`);
  }
  return bytes;
}

/** The tags of a mapping's dumped pages. @see `mte_dump_tag_range` */
function* dumpTagRange(
  current: TaskStruct,
  { start, dumpPages }: CoreSegment,
  out: CorePageTags[],
): Task<void> {
  const { frames, arch } = current.kernel;
  const { memoryTags } = arch;
  if (memoryTags === null) return;
  const granules = PAGE_SIZE / memoryTags.granuleBytes;
  for (let page = start; page < start + dumpPages; page++) {
    const frame = yield* getDumpPage(current, page, { held: false });
    if (frame < 0) continue;
    // A page that its program could never reach may have no tags of its own.
    if (frames.hasFlag(frame, FrameFlag.Tagged)) {
      out.push({
        page,
        tags: Uint8Array.from({ length: granules }, (_, at) => memoryTags.readTag(frame, at)),
      });
    }
    yield* putUserPage(current, frame);
  }
}

/**
 * The dump of the caller's own memory. Null: there is none (the process is not dumpable, or was killed before it began).
 * What goes in is `mm.coredumpFilter`'s choice.
 */
export function* coreDump(current: TaskStruct): Task<CoreDump | null> {
  const { mm } = current;
  // Both as they are at the beginning: no lock keeps them.
  if (mm === null || mm.dumpable === 0) return null;
  const segments = yield* dumpVmaSnapshot(current, mm, mm.coredumpFilter);
  if (segments === null) return null;
  const pages: CorePage[] = [];
  const pageTags: CorePageTags[] = [];
  for (const { start, dumpPages } of segments) {
    if (yield* dumpUserRange(current, mm, start, dumpPages, pages)) continue;
    return { segments, pages, pageTags, complete: false };
  }
  const tagged = current.kernel.arch.memoryTags?.vmFlagHigh ?? 0;
  for (const segment of segments) {
    if ((segment.flagsHigh & tagged) !== 0) yield* dumpTagRange(current, segment, pageTags);
  }
  return { segments, pages, pageTags, complete: true };
}
