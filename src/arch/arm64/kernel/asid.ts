/**
 * Which ASID an mm has, for how long. An mm's `context.id` is a generation and an ASID in one number; when there is no
 * free ASID left, a new generation begins: every mm has to ask again when it runs next, those that are running keep
 * theirs (reserved), and every CPU empties its TLB before its next switch.
 * Left out: pinned ASIDs (shared virtual addressing), the Falkor erratum.
 * @see Linux arch/arm64/mm/context.c
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import { SpareParts } from '../../../hardware/spare-parts.ts';
import { MmContext } from '../../kernel-arch.ts';

/** `mm_context_t`. */
export class Arm64MmContext extends MmContext {
  /** Generation + ASID; 0 while it has none. */
  id = 0;
  readonly readId: SchedPoint;
  readonly writeId: SchedPoint;

  constructor(name: string, rootFrame: number, cpuCount: number) {
    super(name, rootFrame, cpuCount);
    this.readId = new SchedPoint(PointKind.Read, this, 'context.id', StepCost.SharedLoad);
    this.writeId = new SchedPoint(PointKind.Write, this, 'context.id', StepCost.SharedLoad);
  }
}

/** What the allocator keeps for one CPU. Others look at it and take `active` away when a generation begins. */
export class AsidCpu extends SharedObject {
  /** `active_asids`: the id that runs here; 0 from the beginning of a generation until the next switch. */
  active = 0;
  /** `reserved_asids`: the id that ran here when the generation began. */
  reserved = 0;
  /** `tlb_flush_pending`: the TLB may hold entries of ASIDs that have been given to others since. */
  flushPending = false;
  readonly readActive: SchedPoint;
  readonly exchange: SchedPoint;

  constructor(cpu: number) {
    super(`active asid of cpu ${cpu}`);
    this.readActive = new SchedPoint(PointKind.Read, this, 'active_asids', StepCost.SharedLoad);
    this.exchange = new SchedPoint(PointKind.Write, this, 'cmpxchg active_asids', StepCost.AtomicUpdate);
  }
}

/** A raw spinlock, taken with interrupts off. */
class RawSpinLock extends SharedObject {
  #holder = -1;
  readonly #take: SchedPoint;
  readonly #wait: SchedPoint;
  readonly #release: SchedPoint;

  constructor(name: string) {
    super(name);
    const isFree = (): boolean => this.#holder === -1;
    this.#take = new SchedPoint(PointKind.Write, this, 'raw_spin_lock', StepCost.AtomicUpdate);
    this.#wait = new SchedPoint(PointKind.Wait, this, 'raw_spin_lock', StepCost.AtomicUpdate, isFree);
    this.#release = new SchedPoint(PointKind.Write, this, 'raw_spin_unlock', StepCost.SharedLoad);
  }

  *lock(cpu: number): Task<void> {
    yield this.#take;
    while (this.#holder !== -1) yield this.#wait;
    this.#holder = cpu;
  }

  *unlock(cpu: number): Task<void> {
    yield this.#release;
    if (this.#holder !== cpu)
      throw new Error(`cpu ${cpu} releases ${this.name}, held by cpu ${this.#holder}`);
    this.#holder = -1;
  }
}

/** `asid_map`: the ASIDs that are taken in this generation. */
class AsidMap {
  readonly #taken: Uint8Array;
  /** None from here on is taken. */
  #end = 0;

  constructor(count: number) {
    this.#taken = new Uint8Array(count);
  }

  has(asid: number): boolean {
    return this.#taken[asid] === 1;
  }

  add(asid: number): void {
    this.#taken[asid] = 1;
    if (asid >= this.#end) this.#end = asid + 1;
  }

  clear(): void {
    this.#taken.fill(0, 0, this.#end);
    this.#end = 0;
  }

  /** The first that is free, at or above `from`; -1 when there is none. */
  findFree(from: number): number {
    return this.#taken.indexOf(0, from);
  }
}

export interface AsidAllocatorOptions {
  readonly cpus: number;
  /** ID_AA64MMFR0_EL1.ASIDBits: 16 or 8. Tests use fewer. */
  readonly bits: number;
  /** Kernel page-table isolation: an mm has two ASIDs, the odd one for user mode. Half as many then. */
  readonly pairs?: boolean;
  /** Where the map comes from; default: a new one. */
  readonly parts?: SpareParts;
}

export class AsidAllocator {
  /** `asid_generation`: a multiple of the number of ASIDs, never 0. */
  generation: number;
  readonly cpus: readonly AsidCpu[];
  readonly #count: number;
  readonly #pairs: boolean;
  readonly #taken: AsidMap;
  /** Where the search for a free one goes on. */
  #next = 1;
  readonly #lock = new RawSpinLock('cpu_asid_lock');
  readonly #readGeneration: SchedPoint;

  /** @throws RangeError when there are no more ASIDs than CPUs: rollover would find none */
  constructor({ cpus, bits, pairs = false, parts = new SpareParts() }: AsidAllocatorOptions) {
    this.#count = 2 ** bits;
    this.#pairs = pairs;
    if ((pairs ? this.#count / 2 : this.#count) - 1 <= cpus) {
      throw new RangeError(`${bits} bits of ASID for ${cpus} cpus`);
    }
    this.generation = this.#count;
    const makeMap = (): AsidMap => new AsidMap(this.#count);
    this.#taken = parts.take('asid map', makeMap, (map) => map.clear());
    this.cpus = Array.from({ length: cpus }, (_, cpu) => new AsidCpu(cpu));
    this.#reservePairs();
    const shared = new SharedObject('asid_generation');
    this.#readGeneration = new SchedPoint(PointKind.Read, shared, 'asid_generation', StepCost.SharedLoad);
  }

  /** `ASID(mm)`: the number that TLB entries carry. */
  asidOf(context: Arm64MmContext): number {
    return context.id % this.#count;
  }

  /** Does the id belong to the current generation? */
  isCurrent(id: number): boolean {
    return id >= this.generation;
  }

  /**
   * The part of `check_and_switch_context` before the registers are written: afterwards the context has an ASID of the
   * current generation that is active on the CPU. Interrupts are off.
   * @param flushLocal `local_flush_tlb_all`
   */
  *activate(cpu: number, context: Arm64MmContext, flushLocal: () => Task<void>): Task<void> {
    const own = this.cpus[cpu] as AsidCpu;
    yield context.readId;
    const { id } = context;
    yield own.readActive;
    const old = own.active;
    yield this.#readGeneration;
    if (old !== 0 && this.isCurrent(id)) {
      yield own.exchange;
      if (own.active === old) {
        own.active = id;
        return;
      }
      // A generation has begun in between: `active` is 0, and the lock is needed.
    }
    yield* this.#lock.lock(cpu);
    if (!this.isCurrent(context.id)) {
      const fresh = this.#newContext(context.id);
      yield context.writeId;
      context.id = fresh;
    }
    if (own.flushPending) {
      own.flushPending = false;
      yield* flushLocal();
    }
    yield own.exchange;
    own.active = context.id;
    yield* this.#lock.unlock(cpu);
  }

  /** An id of the current generation; needs the lock. @see `new_context` */
  #newContext(old: number): number {
    if (old !== 0) {
      const asid = old % this.#count;
      const same = this.generation + asid;
      if (this.#updateReserved(old, same)) return same;
      if (!this.#taken.has(asid)) {
        this.#taken.add(asid);
        return same;
      }
    }
    let asid = this.#taken.findFree(this.#next);
    if (asid < 0) {
      this.generation += this.#count;
      this.#flushContext();
      asid = this.#taken.findFree(1);
    }
    if (asid < 0) throw new Error('no free ASID at the beginning of a generation');
    this.#taken.add(asid);
    this.#next = asid;
    return this.generation + asid;
  }

  /** The new generation: what runs keeps its ASID. @see `flush_context` */
  #flushContext(): void {
    this.#taken.clear();
    this.#reservePairs();
    for (const cpu of this.cpus) {
      // 0: it has switched to nothing since the last new generation, and still runs what it ran then.
      const id = cpu.active === 0 ? cpu.reserved : cpu.active;
      cpu.active = 0;
      this.#taken.add(id % this.#count);
      cpu.reserved = id;
      cpu.flushPending = true;
    }
  }

  /** Was it running when the generation began? Every CPU that ran it has to know the new id. */
  #updateReserved(old: number, fresh: number): boolean {
    let hit = false;
    for (const cpu of this.cpus) {
      if (cpu.reserved !== old) continue;
      hit = true;
      cpu.reserved = fresh;
    }
    return hit;
  }

  #reservePairs(): void {
    if (!this.#pairs) return;
    for (let asid = 1; asid < this.#count; asid += 2) this.#taken.add(asid);
  }
}
