/**
 * Finds reads of another process's memory whose bytes are of mappings that were never there together. Every page of one
 * transfer was read while it belonged to some mapping, which has a time from its beginning to its end (`LayoutLog`); all
 * these times must have a moment in common. The contents of one mapping may change meanwhile: that is no other layout.
 * Today's code lets mmap_lock go where a stack could grow, and goes on with what is mapped then: pages before and after
 * that are not compared, which a transfer shows by taking mmap_lock for writing.
 * Left out: process_vm_readv, which promises one layout to none of its pieces (process_vm_readv(2)); writes.
 */
import type { SharedObject } from '../../base/task.ts';
import { FOLL_WRITE } from '../../kernel/gup/foll-flags.ts';
import { untaggedPageRemoteUnlocked } from '../../kernel/gup/get-user-pages-loop.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import type { RemoteTransfer } from '../../kernel/remote/design.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { LockMode, type SchedTask } from '../../sched/task.ts';
import type { CheckDefinition } from './check.ts';
import { LayoutLog, type MappingTime } from './layout-log.ts';
import { placeInTransfer } from './transfer-place.ts';
import type { Watch } from './watch.ts';

const NAME = 'torn-remote-read';
const PAGE_SIZE = 4096;

export const tornRemoteRead: CheckDefinition = {
  name: NAME,
  rule: 'A read of another process’s memory shows bytes of mappings that were all there at one moment.',
  source:
    'Suren Baghdasaryan, 17 June 2026, and Lorenzo Stoakes, 19 June 2026, "Re: [PATCH 3/3] mm: read remote memory without the mmap lock where possible"',
  attach(watch) {
    const readings = new Readings(watch);
    watch.onRun(() => readings.forget());
    watch.onRemote({
      begins: (current, transfer) => readings.begins(current, transfer),
      copied: (current, _frame, _offset, buffer, at) => readings.copied(current, buffer, at),
      ends: (current, moved) => readings.ends(current, moved),
    });
    watch.onVmas({ treeChanges: (mm, vma, change) => readings.treeChanges(mm, vma, change === 'remove') });
    watch.onLocks({ acquire: (task, lock, mode) => readings.locks(task, lock, mode) });
  },
};

interface Copy {
  readonly step: number;
  /** How often the stack was to grow before. */
  readonly growths: number;
}

interface Reading {
  readonly transfer: RemoteTransfer;
  readonly first: number;
  readonly log: LayoutLog;
  /** By the number of the page in the transfer; what was read last counts. */
  readonly copies: (Copy | undefined)[];
  growths: number;
}

/** A page of a transfer, and the time of the mapping that it was read in. */
interface PageTime {
  readonly number: number;
  readonly time: MappingTime;
}

class Readings {
  readonly #watch: Watch;
  #active = new Map<SchedTask, Reading>();
  #logs = new Map<MmStruct, { readonly log: LayoutLog; users: number }>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#active = new Map();
    this.#logs = new Map();
  }

  begins(current: TaskStruct, transfer: RemoteTransfer): void {
    const { mm, page, gupFlags } = transfer;
    if ((gupFlags & FOLL_WRITE) !== 0) return;
    const entry = this.#logs.get(mm) ?? { log: new LayoutLog(mm), users: 0 };
    entry.users++;
    this.#logs.set(mm, entry);
    const first = untaggedPageRemoteUnlocked(current, mm, page);
    this.#active.set(current, { transfer, first, log: entry.log, copies: [], growths: 0 });
  }

  treeChanges(mm: MmStruct, vma: VmArea, removed: boolean): void {
    if (this.#active.size === 0) return;
    const log = this.#logs.get(mm)?.log;
    if (log === undefined) return;
    const { steps } = this.#watch.loop;
    log.changes(steps);
    // What leaves by a merge is attached until its pages are another VMA's.
    if (removed && vma.detached) this.#watch.unwatched(() => log.unmaps(steps, vma.start, vma.end));
  }

  locks(task: SchedTask, lock: SharedObject, mode: LockMode): void {
    if (this.#active.size === 0 || mode !== LockMode.Write) return;
    const reading = this.#active.get(task);
    if (reading !== undefined && lock === reading.transfer.mm.mmapLock) reading.growths++;
  }

  copied(current: TaskStruct, buffer: Uint8Array, at: number): void {
    const reading = this.#active.get(current);
    if (reading === undefined) return;
    const { transfer, growths } = reading;
    const number = Math.floor((transfer.offset + placeInTransfer(transfer, buffer, at)) / PAGE_SIZE);
    reading.copies[number] = { step: this.#watch.loop.steps, growths };
  }

  ends(current: TaskStruct, moved: number): void {
    const reading = this.#active.get(current);
    if (reading === undefined) return;
    this.#active.delete(current);
    const { mm, offset } = reading.transfer;
    const entry = this.#logs.get(mm);
    if (entry !== undefined && --entry.users === 0) this.#logs.delete(mm);
    if (moved > 0) this.#judge(current, reading, Math.ceil((offset + moved) / PAGE_SIZE));
  }

  #judge(current: TaskStruct, { log, copies, first }: Reading, pages: number): void {
    if (log.unchanged) return;
    let extremes: PageTime[] = [];
    let growths = 0;
    for (let number = 0; number < pages; number++) {
      const copy = copies[number];
      const time = copy === undefined ? null : log.mappingAt(first + number, copy.step);
      if (copy === undefined || time === null) continue;
      if (copy.growths !== growths) extremes = [];
      ({ growths } = copy);
      extremes.push({ number, time });
      const [old, young] = extremesOf(extremes);
      extremes = [old, young];
      // If all pairs have a moment in common, all have one.
      if (old.time.to > young.time.from) continue;
      this.#tell(current, log.mm, first, old, young);
      return;
    }
  }

  #tell(current: TaskStruct, mm: MmStruct, first: number, old: PageTime, young: PageTime): void {
    const text = (number: number): string => `page 0x${(first + number).toString(16)}`;
    this.#watch.report(
      NAME,
      `${current.name} has read ${text(old.number)} of ${mm.name} in a mapping that was gone at step ${old.time.to}, and ` +
        `${text(young.number)}, in the same read, in one that came at step ${young.time.from}: they never were there together`,
      [mm.mmapLock.name],
    );
  }
}

/** The one that ends first, and the one that begins last. */
function extremesOf(times: readonly PageTime[]): readonly [PageTime, PageTime] {
  let [old, young] = [times[0] as PageTime, times[0] as PageTime];
  for (const one of times) {
    if (one.time.to < old.time.to) old = one;
    if (one.time.from > young.time.from) young = one;
  }
  return [old, young];
}
