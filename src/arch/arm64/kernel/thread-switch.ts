/**
 * Loading a task's tag-checking state into a CPU, and what entry to the kernel and return from it do about failed
 * checks. Only the part of `__switch_to` that belongs to memory.
 * Left out: tag checks of the kernel's own pointers (KASAN's hardware tags are not configured): TFSR_EL1, SCTLR_EL1.TCF.
 * @see Linux arch/arm64/kernel/mte.c, `mte_thread_switch`, `mte_update_gcr_excl`; arch/arm64/kernel/entry.S,
 * `check_mte_async_tcf`, `clear_mte_async_tcf`; arch/arm64/kernel/entry-common.c, `mte_disable_tco_entry`
 */
import { highHalf, lowHalf } from '../../../base/u64.ts';
import type { TagCheckMode, TaggedAddressControl, ThreadState } from '../../thread-state.ts';
import { NT_ARM_TAGGED_ADDR_CTRL } from '../../user-abi.ts';
import type { Arm64State } from '../state.ts';
import { GCR_EL1, RGSR_EL1, SCTLR_EL1, TFSRE0_EL1 } from '../system-registers.ts';
import {
  Arm64ThreadState,
  getControl,
  setControl,
  TagCheckFault,
  type TagFeatures,
  tagCheckFault,
} from './thread-state.ts';

/** What is needed of a CPU's MMU. */
export interface TagCheckedCpu {
  readonly state: Arm64State;
  /** Registers have changed. */
  updateControls(): void;
  /** PSTATE.TCO alone has. */
  setTco(on: boolean): void;
}

const TF0 = TFSRE0_EL1.half('TF0').lo;
const TCF0_MASK = SCTLR_EL1.half('TCF0').hi;
const ATA_MASK = SCTLR_EL1.half('ATA', 'ATA0').hi;
const RRND = GCR_EL1.half('RRND').lo;
/** In bit 0 of TCF0: some accesses fault synchronously; in bit 1: some do not. */
const MAY_FAULT = 1;
const MAY_BE_LATE = 2;

const tcf0Bits = (value: TagCheckFault): number => highHalf(SCTLR_EL1.encode({ TCF0: value }));

/** One CPU, with the task whose state it has loaded. */
class LoadedCpu {
  readonly cpu: TagCheckedCpu;
  thread: Arm64ThreadState | null = null;
  /** `mte_tcf_preferred`. */
  preferred: TagCheckMode = 'async';
  tcf0: TagCheckFault = TagCheckFault.Ignored;
  /** PSTATE.TCO of the program while the kernel copies for it. */
  userTco = false;

  constructor(cpu: TagCheckedCpu) {
    this.cpu = cpu;
  }
}

export class ThreadSwitch implements TaggedAddressControl {
  readonly registerSet = NT_ARM_TAGGED_ADDR_CTRL;
  readonly #cpus: readonly LoadedCpu[];
  readonly #features: TagFeatures;

  /** Sets the CPUs up for tags where they have them. @param seed where their generators of tags begin. @see Linux arch/arm64/kernel/cpufeature.c, `cpu_enable_mte` */
  constructor(cpus: readonly TagCheckedCpu[], features: TagFeatures, seed = 1) {
    this.#cpus = cpus.map((cpu) => new LoadedCpu(cpu));
    this.#features = features;
    if (features.mte) for (const [id, cpu] of cpus.entries()) enableMte(cpu, seed + id);
  }

  create(name: string, parent: ThreadState | null): Arm64ThreadState {
    if (parent === null) return new Arm64ThreadState(name);
    const own = ownThread(parent);
    const running = this.#cpus.find(({ thread }) => thread === own);
    if (running !== undefined) own.tco = running.cpu.state.tco;
    return Arm64ThreadState.copyOf(name, own);
  }

  /** The interrupt that led here is an entry to the kernel for the task before, if that was not in it already. */
  switchTo(cpu: number, next: ThreadState): void {
    const loaded = this.#cpu(cpu);
    const { thread } = loaded;
    if (thread !== null) {
      if (!thread.inKernel) collectAsynchronousFault(loaded);
      thread.tco = loaded.cpu.state.tco;
    }
    loaded.thread = ownThread(next);
    this.#load(loaded);
    loaded.cpu.state.tco = loaded.thread.tco;
    loaded.cpu.state.tfsre0 = 0;
    loaded.cpu.updateControls();
  }

  /** A failed check that waits in TFSRE0_EL1 becomes the task's. */
  enter(cpu: number): void {
    const loaded = this.#cpu(cpu);
    collectAsynchronousFault(loaded);
    if (loaded.thread !== null) loaded.thread.inKernel = true;
  }

  /** What the kernel's copies for the program have found is nobody's fault. */
  exit(cpu: number): void {
    const { thread, tcf0, cpu: hardware } = this.#cpu(cpu);
    if ((tcf0 & MAY_BE_LATE) !== 0) hardware.state.tfsre0 = 0;
    if (thread !== null) thread.inKernel = false;
  }

  /** Checks of the kernel's copies are on where they can fault, whatever the program's TCO. */
  beginUserAccess(cpu: number): void {
    const loaded = this.#cpu(cpu);
    loaded.userTco = loaded.cpu.state.tco;
    setTco(loaded.cpu, (loaded.tcf0 & MAY_FAULT) === 0);
  }

  endUserAccess(cpu: number): void {
    const loaded = this.#cpu(cpu);
    setTco(loaded.cpu, loaded.userTco);
  }

  /** MSR TCO, by the program. */
  setTagCheckOverride(cpu: number, on: boolean): void {
    setTco(this.#cpu(cpu).cpu, on);
  }

  set(thread: ThreadState, control: bigint): boolean {
    const own = ownThread(thread);
    if (!setControl(own, control, this.#features)) return false;
    for (const loaded of this.#cpus) {
      if (loaded.thread !== own) continue;
      this.#load(loaded);
      loaded.cpu.updateControls();
    }
    return true;
  }

  get(thread: ThreadState): bigint {
    return getControl(ownThread(thread), this.#features);
  }

  setPreferred(cpu: number, mode: TagCheckMode): boolean {
    if (mode === 'asymm' && !this.#features.asymm) return false;
    this.#cpu(cpu).preferred = mode;
    return true;
  }

  preferred(cpu: number): TagCheckMode {
    return this.#cpu(cpu).preferred;
  }

  takeAsynchronousFault(thread: ThreadState): boolean {
    const own = ownThread(thread);
    const { asynchronousFault } = own;
    own.asynchronousFault = false;
    return asynchronousFault;
  }

  /** Does `access_ok` take tag bits off on this CPU? A kernel thread works for somebody whose setting it does not know. */
  ignoresTags(cpu: number): boolean {
    return this.#cpu(cpu).thread?.taggedAddresses ?? true;
  }

  /** `mte_update_sctlr_user` and `mte_update_gcr_excl`. The caller tells the MMU. */
  #load(loaded: LoadedCpu): void {
    const { thread, cpu } = loaded;
    if (thread === null || !this.#features.mte) return;
    const { state } = cpu;
    loaded.tcf0 = tagCheckFault(thread, loaded.preferred);
    state.sctlrHi = (state.sctlrHi & ~TCF0_MASK) | tcf0Bits(loaded.tcf0);
    state.gcrHi = 0;
    state.gcrLo = RRND | thread.exclude;
  }

  #cpu(cpu: number): LoadedCpu {
    const loaded = this.#cpus[cpu];
    if (loaded === undefined) throw new Error(`no cpu ${cpu}`);
    return loaded;
  }
}

/** `check_mte_async_tcf`. */
function collectAsynchronousFault({ thread, tcf0, cpu }: LoadedCpu): void {
  if (thread === null || (tcf0 & MAY_BE_LATE) === 0 || (cpu.state.tfsre0 & TF0) === 0) return;
  thread.asynchronousFault = true;
  cpu.state.tfsre0 = 0;
}

function ownThread(thread: ThreadState): Arm64ThreadState {
  if (!(thread instanceof Arm64ThreadState)) throw new Error(`${thread.name} is no task of arm64`);
  return thread;
}

function setTco(cpu: TagCheckedCpu, on: boolean): void {
  if (cpu.state.tco !== on) cpu.setTco(on);
}

/** 2^32 over the golden ratio: spreads seeds that follow each other. */
const GOLDEN_RATIO = 0x9e3779b1 | 0;

/**
 * Tags are accessible; the generator of IRG has a state that is not 0. Linux takes it from the counter: here that is the
 * seed of the machine and the CPU's number, so that a run can be repeated.
 * @see Linux arch/arm64/mm/proc.S and arch/arm64/kernel/mte.c, `mte_cpu_setup`
 */
function enableMte(cpu: TagCheckedCpu, counter: number): void {
  const { state } = cpu;
  const seed = RGSR_EL1.encode({ SEED: Math.imul(counter, GOLDEN_RATIO) >>> 16 || 1 });
  state.sctlrHi |= ATA_MASK;
  state.gcrHi = 0;
  state.gcrLo = RRND;
  state.rgsrHi = highHalf(seed);
  state.rgsrLo = lowHalf(seed);
  state.tfsr = 0;
  state.tfsre0 = 0;
  cpu.updateControls();
}
