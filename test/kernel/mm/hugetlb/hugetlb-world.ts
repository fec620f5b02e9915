/** A machine with a few huge pages, and processes that map and touch them. Pages and offsets count small pages. */
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { describeStale, staleTranslations } from '../../../../src/check/stale-translation.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import type { KernelConfig } from '../../../../src/kernel/kernel.ts';
import type { Hstate } from '../../../../src/kernel/mm/hugetlb/hstate.ts';
import { hugeEntryIndex, hugetlbWalk } from '../../../../src/kernel/mm/hugetlb/huge-walk.ts';
import type { MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGETLB,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import type { SignalInfo } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../../src/sched/policy/policy.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { architecture } from '../../../support/architecture.ts';
import { mmOf, ProcessWorld } from '../process-world.ts';

export const HUGE = 512;
export const RW = PROT_READ | PROT_WRITE;
/** Aligned for every size of pages. */
const ARENA = 0x1_0000_0000;

export const at = (page: number): bigint => BigInt(ARENA + page) << 12n;

export interface HugetlbWorldOptions {
  readonly cpus?: number;
  readonly policy?: Policy;
  readonly memoryBytes?: number;
  readonly kernel?: Partial<KernelConfig>;
}

export class HugetlbWorld extends ProcessWorld {
  constructor({ memoryBytes = 0x200_0000, kernel = { hugepages2M: 8 }, ...rest }: HugetlbWorldOptions = {}) {
    super({ memoryBytes, kernel, ...rest });
  }

  /** The pool of the default size. */
  get pool(): Hstate {
    return this.kernel.hugetlb.hstates[0] as Hstate;
  }

  /** `free/resv` of the default pool, as /proc/meminfo has them. */
  get counters(): string {
    return `${this.pool.freeHugePages}/${this.pool.resvHugePages}`;
  }

  /** mmap at a page of the arena: the errno, or 0. */
  mapHuge(task: TaskStruct, page: number, pages: number, more: MapOptions = {}): number {
    const { flags = MAP_PRIVATE, prot = RW, file = null, offset = 0 } = more;
    const anonymous = file === null ? MAP_ANONYMOUS | MAP_HUGETLB : 0;
    const all = flags | MAP_FIXED | anonymous;
    const call = sysMmap(task, at(page), BigInt(pages) << 12n, prot, all, file, BigInt(offset) << 12n);
    const got = this.run(task, call);
    return got === at(page) ? 0 : Number(got);
  }

  unmapHuge(task: TaskStruct, page: number, pages: number): number {
    return this.run(task, sysMunmap(task, at(page), BigInt(pages) << 12n));
  }

  put(task: TaskStruct, page: number, value: number): SignalInfo | null {
    return this.run(task, userStore(task, at(page), Uint8Array.of(value)));
  }

  get(task: TaskStruct, page: number): number | SignalInfo {
    const byte = new Uint8Array(1);
    return this.run(task, userLoad(task, at(page), byte)) ?? (byte[0] as number);
  }

  exit(task: TaskStruct): void {
    this.run(task, doExit(task, 0));
  }

  /**
   * The huge page around a page of the arena: `-` none; `A` anonymous (`X` exclusive), `F` file; `w` writable, `d` dirty;
   * then its map count if not 1.
   */
  entry(task: TaskStruct, page: number): string {
    const mm = mmOf(task);
    const vma = mm.vmas.lookup(ARENA + page);
    const table = vma === null ? null : hugetlbWalk(mm, vma, ARENA + page);
    if (table === null) return '-';
    const { pageTables, frames } = this.kernel;
    pageTables.read(table, hugeEntryIndex(mm, table, ARENA + page));
    const flags = pageTables.flags(table.level);
    if ((flags & EntryFlag.Present) === 0) return (flags & EntryFlag.Swap) === 0 ? '-' : 'marker';
    const frame = pageTables.frame(table.level);
    const letter = (flag: number, text: string): string => ((flags & flag) === 0 ? '' : text);
    const exclusive = frames.hasFlag(frame, FrameFlag.AnonExclusive) ? 'X' : 'A';
    const kind = frames.hasFlag(frame, FrameFlag.Anon) ? exclusive : 'F';
    const mapped = frames.folioMapcount(frame);
    const rights = letter(EntryFlag.Write, 'w') + letter(EntryFlag.Dirty, 'd');
    return `${kind}${rights}${mapped === 1 ? '' : mapped}`;
  }

  /** Translations in a TLB that no table allows any more. */
  stale(): string[] {
    const view = architecture.createTlbView(this.kernel.arch);
    return staleTranslations(this.kernel, view).flatMap((each) => describeStale(each));
  }
}

export interface MapOptions {
  readonly flags?: number;
  readonly prot?: number;
  readonly file?: MappedFile | null;
  /** Small pages. */
  readonly offset?: number;
}
