/**
 * A machine with a kernel on it and nothing running: what scenarios and replays start from. Cheap enough to be made for
 * every run. Which architecture it is comes from outside; nothing here knows one.
 */
import type { LiveTables } from '../arch/break-before-make.ts';
import type { KernelArch } from '../arch/kernel-arch.ts';
import type { MmuEventOptions } from '../arch/mmu-events.ts';
import type { ProcessorOptions } from '../arch/processor-options.ts';
import type { SpeculativeFills } from '../arch/speculative-fills.ts';
import type { TlbView } from '../arch/tlb-view.ts';
import type { BreakBeforeMake } from '../check/break-before-make.ts';
import { watchBreakBeforeMake } from '../check/kernel-tables.ts';
import type { OmittedFlush } from '../check/stale-translation.ts';
import type { CostProfile } from '../hardware/cost-profile.ts';
import type { EventSink } from '../hardware/event-sink.ts';
import { Machine } from '../hardware/machine.ts';
import { PhysicalMemory } from '../hardware/physical-memory.ts';
import type { Retention } from '../hardware/retention.ts';
import { SpareParts } from '../hardware/spare-parts.ts';
import type { Tlb } from '../hardware/tlb.ts';
import { FrameFlag } from '../kernel/frame/frame-flags.ts';
import { FrameTable } from '../kernel/frame/frame-table.ts';
import { gupPopulate } from '../kernel/gup/populate.ts';
import { defaultKernelConfig, Kernel, type KernelConfig } from '../kernel/kernel.ts';
import { mmapBasePage, setProgramLayout } from '../kernel/mm/address-space-layout.ts';
import { contextSwitch } from '../kernel/mm/context-switch.ts';
import { mmAlloc } from '../kernel/mm/mm-lifetime.ts';
import { tryToFreePages } from '../kernel/mm/reclaim/direct.ts';
import { defaultResourceLimits } from '../kernel/mm/rlimit.ts';
import type { Credentials } from '../kernel/process/credentials.ts';
import { createTask } from '../kernel/process/fork.ts';
import type { DesignName } from '../kernel/remote/design-names.ts';
import { designNamed } from '../kernel/remote/designs/registry.ts';
import type { TaskStruct } from '../kernel/task-struct.ts';
import type { Policy } from '../sched/policy/policy.ts';
import { RunLoop } from '../sched/run-loop.ts';
import { type HardwareSettings, offerChoices } from './hardware-choices.ts';
import { type FlushOperation, withoutFlushes } from './omit-flushes.ts';
import { PageTableSpeculation } from './page-table-speculation.ts';

/** An architecture as a system needs it: one of `kernelArchitectures` in `arch/registry.ts`. */
export interface SystemArchitecture {
  readonly name: string;
  /** The processor that these options choose, with the defaults filled in. Throws `InputError` for one it has not. */
  readonly processor: (options: ProcessorOptions) => Required<ProcessorOptions>;
  readonly createKernelArch: (
    options: ProcessorOptions & {
      readonly machine: Machine;
      readonly initRootFrame: number;
      readonly retention?: Retention;
    },
  ) => KernelArch;
  readonly createTlbView: (arch: KernelArch) => TlbView;
  readonly createLiveTables: (arch: KernelArch) => LiveTables | null;
  readonly tlbsOf: (arch: KernelArch) => readonly (readonly Tlb[])[];
  readonly createSpeculativeFills: (arch: KernelArch) => SpeculativeFills;
  readonly observeMmus: (arch: KernelArch, options: MmuEventOptions) => void;
}

/** What is new for each of the systems that are made of one configuration, one after the other. */
export interface SystemRun {
  readonly policy?: Policy;
  readonly events?: EventSink;
  /**
   * Where parts come from that an earlier system had, of the same configuration, which is used no more. Default: all are
   * new.
   */
  readonly parts?: SpareParts;
}

/** `cpuModel`, `levels` and `tlbProfile` choose the processor; `InputError` when the architecture has no such one. */
export interface SystemOptions extends SystemRun, ProcessorOptions {
  readonly architecture: SystemArchitecture;
  readonly cpus: number;
  /** Default: `profile`. */
  readonly retention?: Retention;
  /** Bytes of memory, a multiple of 4 MiB; default 256 MiB. Only what is touched is really there. */
  readonly memoryBytes?: number;
  readonly profile?: CostProfile;
  /** As the machine's: where the generator of random memory tags begins. Default 1. */
  readonly seed?: number;
  readonly kernel?: Partial<KernelConfig>;
  /** How accesses to another process's memory lock; default `v0`, today's code. */
  readonly design?: DesignName;
  /** CPUs may fill translations ahead of any access, where the policy chooses it. Default: they do not. */
  readonly speculation?: boolean;
  /** What else the policy may let happen. Default: nothing. */
  readonly hardware?: HardwareSettings;
  /** Flushes that the kernel leaves out: a bug put in on purpose. */
  readonly omitTlbFlushes?: readonly FlushOperation[];
}

export interface System {
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly loop: RunLoop;
  readonly tlbView: TlbView;
  /**
   * Watches every change of page tables, where the architecture has the rule, with `adversarial` retention: CPUs that keep
   * all they may are what it is about, and it takes time.
   */
  readonly breakBeforeMake: BreakBeforeMake | null;
  /** What `omitTlbFlushes` has left out so far. */
  readonly omittedFlushes: readonly OmittedFlush[];
  /**
   * A process that is not running; its pid is the next free one. Its address space is laid out as after exec of a small
   * program, but nothing is mapped.
   */
  createProcess(name: string, cpu: number, credentials: Credentials): TaskStruct;
}

/** Memory begins here: frame 0 belongs to nobody, so that a forgotten frame number shows. */
const MEMORY_BASE = 0x10_0000;
const DEFAULT_MEMORY_BYTES = 0x1000_0000;
/** pid 1 would be init, which reaps orphans; scenarios have none. */
const FIRST_PID = 2;

function boardMemory(bytes: number): PhysicalMemory {
  const memory = new PhysicalMemory();
  memory.addRegion(BigInt(MEMORY_BASE), BigInt(bytes));
  return memory;
}

function offerHardware(
  { architecture, speculation, hardware }: SystemOptions,
  loop: RunLoop,
  kernel: Kernel,
  arch: KernelArch,
): void {
  if (speculation === true) {
    loop.hardware.speculation = new PageTableSpeculation(kernel, architecture.createSpeculativeFills(arch));
  }
  if (hardware !== undefined) offerChoices(loop.hardware, hardware, kernel, architecture.tlbsOf(arch));
}

const clearMemory = (memory: PhysicalMemory): void => memory.clear();

const unchanged = (): void => undefined;

/** @param run in place of what the options say of a run: a spread of options costs as much as a tenth of a system */
export function createSystem(options: SystemOptions, run: SystemRun = options): System {
  const memoryBytes = options.memoryBytes ?? DEFAULT_MEMORY_BYTES;
  const parts = run.parts ?? new SpareParts();
  const config = parts.take('settings', () => ({ ...defaultKernelConfig, ...options.kernel }), unchanged);
  const processor = parts.take('processor', () => options.architecture.processor(options), unchanged);
  const memory = parts.take('memory', () => boardMemory(memoryBytes), clearMemory);
  const machine = new Machine({
    cpus: options.cpus,
    memory,
    parts,
    profile: options.profile,
    events: run.events,
    seed: options.seed,
  });
  const frames = new FrameTable({
    memory,
    parts,
    firstFrame: MEMORY_BASE / 4096,
    frameCount: memoryBytes / 4096,
    movableFrames: config.movablePages,
    cmaFrames: config.cmaPages,
  });
  const omittedFlushes: OmittedFlush[] = [];
  const loop = new RunLoop(machine, { policy: run.policy });
  const taskOn = (cpu: number): string => loop.currentTask(cpu)?.name ?? 'idle';
  const initRootFrame = frames.allocateZeroed();
  frames.setFlags(initRootFrame, FrameFlag.Reserved);
  const { retention = 'profile' } = options;
  const hardware = options.architecture.createKernelArch({ ...processor, machine, initRootFrame, retention });
  const { omitTlbFlushes = [] } = options;
  const arch =
    omitTlbFlushes.length === 0 ? hardware : withoutFlushes(hardware, omitTlbFlushes, taskOn, omittedFlushes);
  const kernel = new Kernel(machine, arch, frames, config);
  kernel.populate = gupPopulate;
  kernel.directReclaim = tryToFreePages;
  kernel.lastPid = FIRST_PID - 1;
  kernel.remoteAccess = designNamed(options.design ?? 'v0');
  if (machine.events.enabled) {
    options.architecture.observeMmus(hardware, { machine, events: machine.events, taskOn });
  }
  const live = options.retention === 'adversarial' ? options.architecture.createLiveTables(hardware) : null;
  const breakBeforeMake = live === null ? null : watchBreakBeforeMake(kernel, live);
  offerHardware(options, loop, kernel, hardware);
  loop.onSwitch = (_cpu, _previous, next) => contextSwitch(next as TaskStruct);
  return {
    machine,
    kernel,
    loop,
    tlbView: options.architecture.createTlbView(hardware),
    breakBeforeMake,
    omittedFlushes,
    createProcess(name, cpu, credentials) {
      const { stack } = defaultResourceLimits;
      const mm = mmAlloc(kernel, name, mmapBasePage(arch, stack, kernel.config.stackGuardGapPages));
      if (mm === null) throw new Error(`no memory for the first page table of ${name}`);
      setProgramLayout(mm);
      return createTask(kernel, mm, credentials, name, cpu);
    },
  };
}
