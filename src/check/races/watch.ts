/**
 * What the checks look at: one hook of the kernel is shared by all that want it, and a hook that nobody wants stays empty.
 * Listeners are called in the step in which the thing happens, while the state is as it was just before or just after, as
 * each says; they change nothing. They are put together once and look at one run after another: what a check remembers is
 * of one run, and is forgotten in `onRun`. Making all checks anew took longer than a short run.
 */
import type { TlbView } from '../../arch/tlb-view.ts';
import type { FrameWatcher } from '../../kernel/frame/frame-map-counts.ts';
import type { FrameObserver } from '../../kernel/frame/frame-table.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import type { KernelWatcher } from '../../kernel/kernel-watcher.ts';
import type { TableWatcher } from '../../kernel/mm/page-table.ts';
import type { VmaWatcher } from '../../kernel/mm/vma-watcher.ts';
import type { RemoteWatcher } from '../../kernel/remote/remote-watcher.ts';
import { TaskStruct } from '../../kernel/task-struct.ts';
import type { RunLoop } from '../../sched/run-loop.ts';
import type { LockWatcher } from '../../sched/task.ts';
import type { BreakBeforeMake } from '../break-before-make.ts';
import type { CheckFinding } from './check.ts';
import { FrameFan, KernelFan, LockFan, ReferenceFan, RemoteFan, TableFan, VmaFan } from './fans.ts';
import { MappingCounts } from './mapping-counts.ts';
import { PinCounts } from './pin-counts.ts';
import { ReplacedPages, type ReplacementListener } from './replaced-pages.ts';
import { type ChangeListener, TableChanges } from './table-changes.ts';

/** What is watched: a `System`, or what a test has put together. */
export interface WatchedSystem {
  readonly kernel: Kernel;
  readonly loop: RunLoop;
  readonly tlbView: TlbView;
  /** Null where nobody watches for it. */
  readonly breakBeforeMake?: BreakBeforeMake | null;
}

/** Made once, when all listeners are there; null where there is none. */
interface Fans {
  readonly tables: TableFan | null;
  readonly frames: FrameFan | null;
  readonly references: ReferenceFan | null;
  readonly kernel: KernelFan | null;
  readonly vmas: VmaFan | null;
  readonly remote: RemoteFan | null;
  readonly locks: LockFan | null;
}

export class Watch {
  /** Of the run that is looked at; another in the next: to be asked for whenever it is needed. */
  kernel: Kernel;
  loop: RunLoop;
  tlbView: TlbView;
  breakBeforeMake: BreakBeforeMake | null = null;
  /** Of this run; a new list for every run. */
  findings: CheckFinding[] = [];
  #changes: TableChanges | null = null;
  #mappings: MappingCounts | null = null;
  #pins: PinCounts | null = null;
  #replaced: ReplacedPages | null = null;
  readonly #tables: Partial<TableWatcher>[] = [];
  readonly #frames: Partial<FrameObserver>[] = [];
  readonly #references: Partial<FrameWatcher>[] = [];
  readonly #kernels: Partial<KernelWatcher>[] = [];
  readonly #locks: Partial<LockWatcher>[] = [];
  readonly #vmas: Partial<VmaWatcher>[] = [];
  readonly #remote: Partial<RemoteWatcher>[] = [];
  readonly #fills: ((frame: number) => void)[] = [];
  readonly #steps: (() => void)[] = [];
  readonly #ends: (() => void)[] = [];
  readonly #runs: (() => void)[] = [];
  #fans: Fans | null = null;

  /** @param system of the first run; `begin` is to be called for it, too */
  constructor({ kernel, loop, tlbView }: WatchedSystem) {
    this.kernel = kernel;
    this.loop = loop;
    this.tlbView = tlbView;
  }

  /** A check is looking at VMAs itself: what it reads is nobody's access. */
  quiet = false;

  /** For listeners that read fields of VMAs, which would be told of as accesses of the task that makes the step. */
  unwatched<T>(look: () => T): T {
    const before = this.quiet;
    this.quiet = true;
    const seen = look();
    this.quiet = before;
    return seen;
  }

  /** The task in whose context the step is made, an interrupt's too; null between steps and for idle CPUs. */
  stepping(): TaskStruct | null {
    const { stepping } = this.loop;
    return stepping instanceof TaskStruct ? stepping : null;
  }

  /** Something is wrong. The run ends after this step. */
  report(check: string, text: string, objects: readonly string[] = []): void {
    const { loop, findings } = this;
    findings.push({ check, text, step: loop.steps, task: loop.stepping?.name ?? null, objects });
    loop.requestStop();
  }

  /** Page tables: added to those in use, taken out, just before an entry changes, read after they were freed. */
  onTables(listener: Partial<TableWatcher>): void {
    this.#tables.push(listener);
  }

  /** Entries of page tables, just before they change: decoded, with the place that they stand at. */
  onTableChange(listener: ChangeListener): void {
    this.tableChanges().onChange(listener);
  }

  /** Where each table is used. Kept from when the first check asks for it. */
  tableChanges(): TableChanges {
    if (this.#changes === null) {
      this.#changes = new TableChanges(this.kernel);
      this.onTables(this.#changes);
    }
    return this.#changes;
  }

  /** How many entries map each frame. Kept from when the first check asks for it. */
  mappings(): MappingCounts {
    if (this.#mappings === null) {
      const mappings = new MappingCounts(this.kernel);
      this.#mappings = mappings;
      this.onTableChange((change) => mappings.changed(change));
    }
    return this.#mappings;
  }

  /** The pins of each folio. Kept from when the first check asks for it. */
  pins(): PinCounts {
    if (this.#pins === null) {
      this.#pins = new PinCounts();
      this.onReferences(this.#pins);
    }
    return this.#pins;
  }

  /** Ptes that get another page while the lock of their table is held, as a copy on write does it. */
  onReplacement(listener: ReplacementListener): void {
    if (this.#replaced === null) {
      const replaced = new ReplacedPages(this.kernel);
      this.#replaced = replaced;
      this.onTableChange((change) => replaced.changed(change, this.stepping()));
      this.onLocks({ release: (task, lock) => replaced.released(task, lock) });
    }
    this.#replaced.onReplacement(listener);
  }

  /** Frames that the kernel has zeroed, copied to or written to, by addresses of its own. */
  onFills(listener: (frame: number) => void): void {
    this.#fills.push(listener);
  }

  /** Blocks of frames, when they have left the allocator or have gone back. */
  onFrames(listener: Partial<FrameObserver>): void {
    this.#frames.push(listener);
  }

  /** References, pins and map counts, just after they have changed. */
  onReferences(listener: Partial<FrameWatcher>): void {
    this.#references.push(listener);
  }

  /** System calls, flushes, pages that GUP hands out, the kernel's own copies. */
  onKernel(listener: Partial<KernelWatcher>): void {
    this.#kernels.push(listener);
  }

  /** Locks, as lockdep hears of them. */
  onLocks(listener: Partial<LockWatcher>): void {
    this.#locks.push(listener);
  }

  /** VMAs: made, locked, touched, freed; trees of VMAs; address spaces that are gone. */
  onVmas(listener: Partial<VmaWatcher>): void {
    this.#vmas.push(listener);
  }

  /** Transfers to and from the memory of other processes. */
  onRemote(listener: Partial<RemoteWatcher>): void {
    this.#remote.push(listener);
  }

  /** After every step. Dear: a run that is looked at after each step is slower as a whole. */
  afterStep(listener: () => void): void {
    this.#steps.push(listener);
  }

  /** When the run is over and everything is at rest: every program has ended, and no call is under way. */
  atEnd(listener: () => void): void {
    this.#ends.push(listener);
  }

  /**
   * Before each run, the first too: what is remembered of the one before is to be forgotten. Maps of objects are made anew,
   * not cleared: an old table of a map that V8 has moved to its old space keeps, until the next full collection, all that it
   * once named, and with it the whole kernel of the run.
   */
  onRun(listener: () => void): void {
    this.#runs.push(listener);
  }

  /** Looks at a system in which no task runs yet. When all listeners are there. */
  begin({ kernel, loop, tlbView, breakBeforeMake = null }: WatchedSystem): void {
    this.kernel = kernel;
    this.loop = loop;
    this.tlbView = tlbView;
    this.breakBeforeMake = breakBeforeMake;
    this.findings = [];
    this.quiet = false;
    this.#changes?.begin(kernel);
    this.#mappings?.begin(kernel);
    this.#pins?.begin();
    this.#replaced?.begin(kernel);
    for (const listener of this.#runs) listener();
    this.#fans ??= this.#makeFans();
    this.#hook(kernel, this.#fans);
  }

  #makeFans(): Fans {
    return {
      tables: this.#tables.length === 0 ? null : new TableFan(this.#tables),
      frames: this.#frames.length === 0 ? null : new FrameFan(this.#frames),
      references: this.#references.length === 0 ? null : new ReferenceFan(this.#references),
      kernel: this.#kernels.length === 0 ? null : new KernelFan(this.#kernels),
      vmas: this.#vmas.length === 0 ? null : new VmaFan(this.#vmas),
      remote: this.#remote.length === 0 ? null : new RemoteFan(this.#remote),
      locks: this.#locks.length === 0 ? null : new LockFan(this.#locks),
    };
  }

  #hook(kernel: Kernel, { tables, frames, references, kernel: own, vmas, remote, locks }: Fans): void {
    const { pageTables } = kernel;
    if (tables !== null) pageTables.watcher = tables.after(pageTables.watcher);
    if (frames !== null) kernel.frames.observer = frames.after(kernel.frames.observer);
    if (references !== null) kernel.frames.watcher = references;
    if (own !== null) kernel.watcher = own;
    if (vmas !== null) kernel.vmaWatcher = vmas;
    if (remote !== null) kernel.remoteWatcher = remote;
    kernel.machine.memory.filled = this.#fills.length === 0 ? null : this.#filled;
    if (locks === null) return;
    kernel.lockWatcher = locks.after(kernel.lockWatcher);
    for (const task of kernel.tasks.values()) task.lockWatcher = kernel.lockWatcher;
  }

  readonly #filled = (frame: number): void => {
    for (const listener of this.#fills) listener(frame);
  };

  /** Does a check want `stepped` to be called after every step? */
  get stepsWanted(): boolean {
    return this.#steps.length > 0;
  }

  stepped(): void {
    for (const listener of this.#steps) listener();
  }

  ended(): void {
    for (const listener of this.#ends) listener();
  }
}
