/**
 * TLB maintenance among the CPUs of a system: a TLBI reaches every CPU of its shareability domain without an interrupt,
 * and is complete at the latest when the CPU that issued it executes a DSB that is for its domain. All CPUs are in one
 * Outer Shareable domain; Inner Shareable domains are given, by default one for all.
 *
 * When it happens before that is the implementation's choice. Here: with `adversarial` retention nothing is dropped
 * before the DSB, on the own CPU no less than on the others, and what the own CPU fetches instructions with not before
 * its next context synchronization event; with the other retentions everything is dropped at once.
 *
 * A DSB that completes a broadcast is charged to its CPU. Left out: a limit on TLBIs under way, DVM traffic that slows
 * other CPUs down, ETS2 (which lets data of the own CPU do without context synchronization; it does so here anyway).
 *
 * @see Arm ARM (DDI 0487), "Broadcast TLB maintenance", "Ordering and completion of TLB maintenance instructions"
 */
import { barrierNamed, completes, type DataSynchronizationBarrier } from './barriers.ts';
import { type CachePart, invalidate, tellInvalidation } from './invalidation.ts';
import { TCR_EL1 } from './registers.ts';
import { type Shareability, type TlbiOperation, tlbiNamed, tlbiUndefined } from './tlbi.ts';
import { type TlbiScope, tlbiScope } from './tlbi-operands.ts';
import type { Translation } from './translation.ts';

const DS = TCR_EL1.half('DS').hi;

/** Told about maintenance as it goes on, for checks. CPUs are indices. */
export interface MaintenanceObserver {
  /** A TLBI was executed. `targets`: the CPUs it reaches, the own among them. */
  issued(cpu: number, scope: TlbiScope, targets: readonly number[]): void;
  /** A DSB was executed; `completed` are the TLBIs that are complete by it, on all their CPUs, in order of issue. */
  barrier(cpu: number, barrier: DataSynchronizationBarrier, completed: readonly TlbiScope[]): void;
}

/** What a CPU pays at a DSB that completes a TLBI or several, in cycles: `CostProfile.cycles` has the figures. */
export interface MaintenanceCosts {
  /** `invalidatePage`. */
  readonly complete: number;
  /** `invalidatePerTarget`: for each other CPU that the widest of them reaches. */
  readonly perTarget: number;
  readonly charge: (cpu: number, cycles: number) => void;
}

export interface ShareabilityOptions {
  /** The Inner Shareable domain of each CPU, any numbers; default: all in one. */
  readonly innerDomains?: readonly number[];
  readonly costs?: MaintenanceCosts;
}

/** A TLBI that its CPU has issued and no DSB has completed yet. */
interface Pending {
  readonly scope: TlbiScope;
  readonly targets: readonly number[];
}

export class ShareabilityDomain {
  readonly #mmus: readonly Translation[];
  readonly #innerDomains: readonly number[] | null;
  readonly #costs: MaintenanceCosts | null;
  /** By issuing CPU. */
  readonly #pending: Pending[][];
  /** By CPU: its own TLBIs that wait for context synchronization before they reach the fetch TLBs. */
  readonly #unsynchronized: TlbiScope[][];
  observer: MaintenanceObserver | null = null;

  /** @param mmus of all CPUs of the system, by index */
  constructor(mmus: readonly Translation[], { innerDomains, costs }: ShareabilityOptions = {}) {
    this.#mmus = mmus;
    this.#innerDomains = innerDomains ?? null;
    this.#costs = costs ?? null;
    this.#pending = mmus.map(() => []);
    this.#unsynchronized = mmus.map(() => []);
  }

  /**
   * Executes a TLBI on a CPU.
   * @param operation or its name, `VAE1IS` @param xt the register operand; the VMALL forms have none
   * @returns null, or why the instruction is UNDEFINED, with nothing done
   */
  tlbi(cpu: number, operation: TlbiOperation | string, xt = 0n, exceptionLevel: 0 | 1 = 1): string | null {
    const named = typeof operation === 'string' ? tlbiNamed(operation) : operation;
    const mmu = this.#mmu(cpu);
    const undefinedBecause = tlbiUndefined(named, mmu.features, exceptionLevel);
    if (undefinedBecause !== null) return undefinedBecause;
    this.issue(cpu, tlbiScope(named, xt, { features: mmu.features, wideAddresses: wideAddresses(mmu) }));
    return null;
  }

  /** As `tlbi`, of a scope that is decoded already. */
  issue(cpu: number, scope: TlbiScope): void {
    const targets = this.targets(cpu, scope.operation.shareability);
    this.observer?.issued(cpu, scope, targets);
    (this.#pending[cpu] as Pending[]).push({ scope, targets });
    if (!this.#delays(cpu)) this.#apply(cpu, scope, targets);
  }

  /** DSB with an option: `ISH`, `NSH`, `ISHST`, `SYnXS`. Completes this CPU's TLBIs that the option is enough for. */
  dsb(cpu: number, option: string): void {
    const barrier = barrierNamed(option);
    const waiting = this.#pending[cpu] as Pending[];
    const done = waiting.filter(({ scope }) => completes(barrier, scope.operation));
    if (done.length > 0) {
      this.#pending[cpu] = waiting.filter(({ scope }) => !completes(barrier, scope.operation));
      if (this.#delays(cpu)) for (const { scope, targets } of done) this.#apply(cpu, scope, targets);
      this.#charge(cpu, done);
    }
    this.observer?.barrier(
      cpu,
      barrier,
      done.map(({ scope }) => scope),
    );
  }

  /** A context synchronization event on a CPU: ISB, exception entry or return. */
  synchronizeContext(cpu: number): void {
    const scopes = this.#unsynchronized[cpu] as TlbiScope[];
    if (scopes.length === 0) return;
    this.#unsynchronized[cpu] = [];
    for (const scope of scopes) this.#drop(cpu, scope, 'fetch', true);
  }

  /** The CPUs that an instruction of this shareability reaches when `cpu` executes it. */
  targets(cpu: number, shareability: Shareability): readonly number[] {
    if (shareability === 'NSH') return [cpu];
    const all = this.#mmus.map((_, index) => index);
    const inner = this.#innerDomains;
    if (shareability === 'OSH' || inner === null) return all;
    return all.filter((other) => inner[other] === inner[cpu]);
  }

  /**
   * The scopes that still have to reach a CPU: whatever they name there may be used until then. `part`: what the CPU
   * uses for data, or for fetches, which its own TLBIs reach later.
   */
  pendingFor(cpu: number, part: 'data' | 'fetch'): readonly TlbiScope[] {
    const scopes: TlbiScope[] = [];
    if (!this.#delays(cpu)) return scopes;
    for (const waiting of this.#pending) {
      for (const { scope, targets } of waiting) if (targets.includes(cpu)) scopes.push(scope);
    }
    return part === 'fetch' ? [...scopes, ...(this.#unsynchronized[cpu] as TlbiScope[])] : scopes;
  }

  #delays(cpu: number): boolean {
    return this.#mmu(cpu).retention === 'adversarial';
  }

  #apply(cpu: number, scope: TlbiScope, targets: readonly number[]): void {
    const delays = this.#delays(cpu);
    for (const target of targets) {
      const own = target === cpu;
      this.#drop(target, scope, own && delays ? 'data' : 'all', own);
      if (own && delays) (this.#unsynchronized[cpu] as TlbiScope[]).push(scope);
    }
  }

  /** The observer of another CPU hears only of what was dropped there. */
  #drop(target: number, scope: TlbiScope, part: CachePart, own: boolean): void {
    const mmu = this.#mmu(target);
    const dropped = invalidate(mmu, scope, part);
    if (dropped > 0 || (own && part !== 'fetch')) tellInvalidation(mmu, scope, dropped);
  }

  #charge(cpu: number, done: readonly Pending[]): void {
    const costs = this.#costs;
    if (costs === null) return;
    const widest = Math.max(...done.map(({ targets }) => targets.length));
    costs.charge(cpu, costs.complete + costs.perTarget * (widest - 1));
  }

  #mmu(cpu: number): Translation {
    const mmu = this.#mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    return mmu;
  }
}

/** The effective value of TCR_EL1.DS. */
function wideAddresses({ state, features }: Translation): boolean {
  return (features.lpa2Granule4k || features.lpa2Granule16k) && (state.tcrHi & DS) !== 0;
}

/** A TLBI executed and complete at once on one CPU alone: DSB and ISB included. @returns as `ShareabilityDomain.tlbi` */
export function tlbiAndComplete(mmu: Translation, operation: TlbiOperation | string, xt = 0n): string | null {
  const alone = new ShareabilityDomain([mmu]);
  const refused = alone.tlbi(0, operation, xt);
  alone.dsb(0, 'SY');
  alone.synchronizeContext(0);
  return refused;
}
