/**
 * /proc/pid/smaps: every VMA with its rights, offset, kind and flags, and what is resident of it. A snapshot, read
 * without locks.
 * Left out: device and inode numbers, Pss but for what is locked, the clean/dirty split, flags of kernels not modelled.
 * @see Linux fs/proc/task_mmu.c, `show_map_vma`, `show_smap_vma_flags`, `smap_gather_stats`, `smaps_pte_entry`,
 * `smaps_pmd_entry`, `smaps_hugetlb_range`
 */
import { FrameFlag } from '../frame/frame-flags.ts';
import type { MmStruct } from './mm.ts';
import { PmdKind } from './page-table.ts';
import { rootTable } from './page-table-alloc.ts';
import { type PageView, vmaPageViews } from './pagemap.ts';
import { shmemSwapUsage } from './smaps-swap.ts';
import type { VmArea } from './vma.ts';
import {
  VM_ACCOUNT,
  VM_ARCH_1,
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_IO,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_MAYBE_GUARD,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_MERGEABLE,
  VM_MIXEDMAP,
  VM_NOHUGEPAGE,
  VM_NORESERVE,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_READ,
  VM_SEQ_READ,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_SYNC,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
  VM_WIPEONFORK,
  VM_WRITE,
  VMH_DROPPABLE,
  VMH_SEALED,
  VMH_UFFD_MINOR,
} from './vma-flags.ts';

/** Two letters per flag, in the order of the bits, which is the order in which they are shown. */
const LOW_LETTERS: readonly (readonly [number, string])[] = [
  [VM_READ, 'rd'],
  [VM_WRITE, 'wr'],
  [VM_EXEC, 'ex'],
  [VM_SHARED, 'sh'],
  [VM_MAYREAD, 'mr'],
  [VM_MAYWRITE, 'mw'],
  [VM_MAYEXEC, 'me'],
  [VM_MAYSHARE, 'ms'],
  [VM_GROWSDOWN, 'gd'],
  [VM_UFFD_MISSING, 'um'],
  [VM_PFNMAP, 'pf'],
  [VM_MAYBE_GUARD, 'gu'],
  [VM_UFFD_WP, 'uw'],
  [VM_LOCKED, 'lo'],
  [VM_IO, 'io'],
  [VM_SEQ_READ, 'sr'],
  [VM_RAND_READ, 'rr'],
  [VM_DONTCOPY, 'dc'],
  [VM_DONTEXPAND, 'de'],
  [VM_LOCKONFAULT, 'lf'],
  [VM_ACCOUNT, 'ac'],
  [VM_NORESERVE, 'nr'],
  [VM_HUGETLB, 'ht'],
  [VM_SYNC, 'sf'],
  [VM_ARCH_1, 'ar'],
  [VM_WIPEONFORK, 'wf'],
  [VM_DONTDUMP, 'dd'],
  [VM_SOFTDIRTY, 'sd'],
  [VM_MIXEDMAP, 'mm'],
  [VM_HUGEPAGE, 'hg'],
  [VM_NOHUGEPAGE, 'nh'],
  [VM_MERGEABLE, 'mg'],
];

const HIGH_LETTERS: readonly (readonly [number, string])[] = [
  [VMH_DROPPABLE, 'dp'],
  [VMH_UFFD_MINOR, 'ui'],
  [VMH_SEALED, 'sl'],
];

/** One VMA, as a line of /proc/pid/maps has it. Byte addresses. */
export interface MapsEntry {
  readonly start: bigint;
  readonly end: bigint;
  /** `rw-p`, with `s` for VM_MAYSHARE. */
  readonly permissions: string;
  /** Offset into the file in bytes; 0 for anonymous memory. */
  readonly offset: bigint;
  /** `anon`, `heap`, `stack`, or the kind of the file: `shmem`, `memfd:NAME`, `path`. */
  readonly kind: string;
}

/** And what of it is resident, in KiB. */
export interface SmapsEntry extends MapsEntry {
  readonly vmFlags: string;
  readonly rss: number;
  readonly anonymous: number;
  readonly swap: number;
  /** AnonHugePages: anonymous memory that pmds map. */
  readonly anonHugePages: number;
  /** ShmemPmdMapped and FilePmdMapped: shared memory, and other files' pages, that pmds map. */
  readonly shmemPmdMapped: number;
  readonly filePmdMapped: number;
  /** Private_Hugetlb and Shared_Hugetlb: pages of pools that one entry maps, and that several do. */
  readonly privateHugetlb: number;
  readonly sharedHugetlb: number;
  /** Locked: of a locked mapping the resident pages, each divided by how many entries map it. */
  readonly locked: number;
}

/** `VmFlags:` of a VMA. Between the flags that every architecture has stand its own, in bits 24 and 32 to 38. */
function vmFlagText(vma: VmArea): string {
  const { vmFlagLetters } = vma.mm.kernel.arch;
  const own = (flag: number): string | undefined => vmFlagLetters.find(([bits]) => bits.flags === flag)?.[1];
  const low = LOW_LETTERS.filter(([flag]) => (vma.flags & flag) !== 0).map(
    ([flag, letters]) => own(flag) ?? letters,
  );
  const middle = vmFlagLetters
    .filter(([bits]) => (vma.flagsHigh & bits.flagsHigh) !== 0)
    .map(([, letters]) => letters);
  const high = HIGH_LETTERS.filter(([flag]) => (vma.flagsHigh & flag) !== 0).map(([, letters]) => letters);
  return [...low, ...middle, ...high].filter((letters) => letters !== '').join(' ');
}

/** The second column of /proc/pid/maps. @see fs/proc/task_mmu.c, `show_vma_header_prefix` */
function permissionText(vma: VmArea): string {
  const { flags } = vma;
  const letter = (flag: number, text: string): string => ((flags & flag) !== 0 ? text : '-');
  const shared = (flags & VM_MAYSHARE) !== 0 ? 's' : 'p';
  return letter(VM_READ, 'r') + letter(VM_WRITE, 'w') + letter(VM_EXEC, 'x') + shared;
}

/** @see include/linux/mm.h, `vma_is_initial_heap` */
function isHeap(mm: MmStruct, vma: VmArea): boolean {
  return BigInt(vma.start) << 12n < mm.brk && BigInt(vma.end) << 12n > mm.startBrk;
}

/** @see include/linux/mm.h, `vma_is_initial_stack` */
function isStack(mm: MmStruct, vma: VmArea): boolean {
  return BigInt(vma.start) << 12n <= mm.startStack && BigInt(vma.end) << 12n >= mm.startStack;
}

function kindOf(mm: MmStruct, vma: VmArea): string {
  if (vma.file !== null) return vma.file.kind;
  if (isHeap(mm, vma)) return 'heap';
  return isStack(mm, vma) ? 'stack' : 'anon';
}

const PAGE_KIB = 4;

/** Bits behind the point of a proportional size in bytes. @see `PSS_SHIFT` */
const PSS_SCALE = 2 ** 12;
const KIB = 1024;

/** What the pages of a mapping add up to, in KiB. */
class Amounts {
  rss = 0;
  anonymous = 0;
  swap = 0;
  anonHugePages = 0;
  shmemPmdMapped = 0;
  filePmdMapped = 0;
  privateHugetlb = 0;
  sharedHugetlb = 0;
  /** In bytes, times `PSS_SCALE`. */
  #proportional = 0;
  readonly #mm: MmStruct;

  constructor(mm: MmStruct) {
    this.#mm = mm;
  }

  /** A marker is no swapped-out page, and the zero page is nobody's. */
  add(view: PageView): void {
    const size = PAGE_KIB * view.count;
    if (!view.present) {
      if (view.swapped) this.swap += size;
      if (view.frame === -1) return;
      // Not to be reached by a CPU, and resident.
      this.rss += size;
      this.#addPage(view, size);
      return;
    }
    if (view.zero || view.special) return;
    this.rss += size;
    if (view.hugetlb) this.#addHugetlb(view, size);
    else this.#addPage(view, size);
  }

  #addHugetlb({ exclusive }: PageView, size: number): void {
    if (exclusive) this.privateHugetlb += size;
    else this.sharedHugetlb += size;
  }

  #addPage(view: PageView, size: number): void {
    const { frames, pageTables } = this.#mm.kernel;
    this.#proportional += Math.floor((size * KIB * PSS_SCALE) / Math.max(1, view.mapcount));
    const anonymous = frames.hasFlag(view.frame, FrameFlag.Anon);
    if (anonymous) this.anonymous += size;
    if (!view.huge || pageTables.pmdKind(rootTable(this.#mm), view.page) !== PmdKind.Huge) return;
    if (anonymous) this.anonHugePages += size;
    else if (frames.hasFlag(view.frame, FrameFlag.SwapBacked)) this.shmemPmdMapped += size;
    else this.filePmdMapped += size;
  }

  /** `Pss`. */
  get proportional(): number {
    return Math.floor(this.#proportional / (PSS_SCALE * KIB));
  }
}

/** What one VMA has, gathered part by part: whoever walks it may let go of page-table locks between them. */
export class SmapsGather {
  readonly #vma: VmArea;
  readonly #amounts: Amounts;
  readonly #partlySwapped: boolean;
  readonly #occupied = new Set<number>();

  constructor(vma: VmArea) {
    this.#vma = vma;
    this.#amounts = new Amounts(vma.mm);
    this.#partlySwapped = (vma.file?.mapping.swappedCount ?? 0) > 0;
  }

  /** Adds pages [start, end). */
  add(start: number, end: number): void {
    for (const view of vmaPageViews(this.#vma, start, end)) {
      if (this.#partlySwapped) for (let i = 0; i < view.count; i++) this.#occupied.add(view.page + i);
      this.#amounts.add(view);
    }
  }

  /** The entry for pages [start, end), which have all been added. */
  entry(start: number, end: number): SmapsEntry {
    const vma = this.#vma;
    const { rss, anonymous, swap, anonHugePages, privateHugetlb, sharedHugetlb, proportional } =
      this.#amounts;
    const { shmemPmdMapped, filePmdMapped } = this.#amounts;
    return {
      ...mapsEntry(vma, start, end),
      vmFlags: vmFlagText(vma),
      rss,
      anonymous,
      swap: swap + PAGE_KIB * shmemSwapUsage(vma, start, end, this.#occupied),
      anonHugePages,
      shmemPmdMapped,
      filePmdMapped,
      privateHugetlb,
      sharedHugetlb,
      locked: (vma.flags & VM_LOCKED) === 0 ? 0 : proportional,
    };
  }
}

/** The line of /proc/pid/maps for pages [start, end) of a VMA. */
export function mapsEntry(vma: VmArea, start = vma.start, end = vma.end): MapsEntry {
  return {
    start: BigInt(start) << 12n,
    end: BigInt(end) << 12n,
    permissions: permissionText(vma),
    offset: vma.file === null ? 0n : BigInt(vma.indexOf(start)) << 12n,
    kind: kindOf(vma.mm, vma),
  };
}

function entryOf(vma: VmArea, start: number, end: number): SmapsEntry {
  const gather = new SmapsGather(vma);
  gather.add(start, end);
  return gather.entry(start, end);
}

/** The VMAs with a page in [start, end) (page numbers), from the lowest, cut to this range. */
export function smapsEntries(mm: MmStruct, start = 0, end = mm.taskSizePages): SmapsEntry[] {
  return mm.vmas
    .inRange(start, end)
    .map((vma) => entryOf(vma, Math.max(vma.start, start), Math.min(vma.end, end)));
}

/** Sums of a list of entries, KiB; `locked` is VmLck of /proc/pid/status, the running counter of the mm. */
export function smapsSums(
  mm: MmStruct,
  entries: readonly SmapsEntry[],
): { readonly rss: number; readonly anonymous: number; readonly swap: number; readonly locked: number } {
  let rss = 0;
  let anonymous = 0;
  let swap = 0;
  for (const entry of entries) {
    rss += entry.rss;
    anonymous += entry.anonymous;
    swap += entry.swap;
  }
  return { rss, anonymous, swap, locked: mm.lockedVm * PAGE_KIB };
}
