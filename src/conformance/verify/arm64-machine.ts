/**
 * The machine that arm64 vectors run on: one MMU of a processor model, that of the recorded machine unless vectors name more
 * features, over one physical memory of the whole address range, with tags, and the steps. Every access really reads or writes through the MMU.
 */
import { Access } from '../../arch/access.ts';
import { atNamed, executeAt } from '../../arch/arm64/address-translation.ts';
import { AtomicOperation } from '../../arch/arm64/atomic-operation.ts';
import { explainAccess } from '../../arch/arm64/explain.ts';
import { faultEsrHigh, faultEsrLow } from '../../arch/arm64/fault-code.ts';
import type { Arm64Features } from '../../arch/arm64/features.ts';
import { Arm64Mmu } from '../../arch/arm64/mmu.ts';
import { ShareabilityDomain } from '../../arch/arm64/shareability-domain.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { FaultKind } from '../../arch/fault.ts';
import { fromHalves, type Halves } from '../../base/u64.ts';
import { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { Retention } from '../../hardware/retention.ts';
import { TagMemory } from '../../hardware/tag-memory.ts';
import type { Arm64Outcome } from './arm64-outcome.ts';
import type { AccessKind, Arm64AccessStep, Arm64Cpu, AtName } from './arm64-vector.ts';
import { ADDEND } from './data-probe.ts';

const KIND_BITS: Readonly<Record<AccessKind, number>> = {
  read: Access.Read,
  write: Access.Write,
  fetch: Access.Fetch,
  readUnpriv: Access.Unprivileged,
  writeUnpriv: Access.Unprivileged | Access.Write,
  atomic: Access.Atomic | Access.Write,
  dczva: Access.ZeroBlock | Access.Write,
};

/** The `Access` bits of a recorded access. At EL0 an unprivileged access is one like any other. */
export function accessBits({ kind, el }: Pick<Arm64AccessStep, 'kind' | 'el'>): number {
  return el === 0 ? (KIND_BITS[kind] & ~Access.Unprivileged) | Access.User : KIND_BITS[kind];
}

const FRAME = 0x1000;

export class Arm64VectorMachine {
  readonly memory = new PhysicalMemory();
  readonly mmu: Arm64Mmu;
  /** What the last load, or atomic access, returned. */
  readonly loaded = new Uint8Array(16);
  private readonly loadedWords = new Int32Array(this.loaded.buffer);
  private readonly domain: ShareabilityDomain;

  constructor(retention: Retention, features: Arm64Features) {
    // What a descriptor may name: output addresses have 52 bits at most.
    this.memory.addRegion(0n, 1n << 52n);
    this.memory.tags = new TagMemory();
    this.mmu = new Arm64Mmu(this.memory, { features, retention });
    this.domain = new ShareabilityDomain([this.mmu]);
  }

  /** Empty TLB, the vector's registers. */
  load(cpu: Arm64Cpu): void {
    const { mmu } = this;
    // What an earlier sequence left under way.
    this.dsbIsb();
    mmu.reset();
    const { state } = mmu;
    [state.sctlrHi, state.sctlrLo] = [cpu.sctlr.hi, cpu.sctlr.lo];
    [state.tcrHi, state.tcrLo] = [cpu.tcr.hi, cpu.tcr.lo];
    [state.tcr2Hi, state.tcr2Lo] = [cpu.tcr2.hi, cpu.tcr2.lo];
    [state.ttbr0Hi, state.ttbr0Lo] = [cpu.ttbr0.hi, cpu.ttbr0.lo];
    [state.ttbr1Hi, state.ttbr1Lo] = [cpu.ttbr1.hi, cpu.ttbr1.lo];
    [state.mairHi, state.mairLo] = [cpu.mair.hi, cpu.mair.lo];
    [state.pirHi, state.pirLo] = [cpu.pir.hi, cpu.pir.lo];
    [state.pire0Hi, state.pire0Lo] = [cpu.pire0.hi, cpu.pire0.lo];
    [state.porEl1Hi, state.porEl1Lo] = [cpu.porEl1.hi, cpu.porEl1.lo];
    [state.porEl0Hi, state.porEl0Lo] = [cpu.porEl0.hi, cpu.porEl0.lo];
    state.tfsr = 0;
    state.tfsre0 = 0;
    state.pan = false;
    state.uao = cpu.uao;
    state.tco = cpu.tco;
    mmu.updateControls();
  }

  /** Makes the access. @param stored the bytes that a store writes, as many as it has */
  access(step: Arm64AccessStep, stored: Uint8Array): Arm64Outcome {
    const { mmu } = this;
    if (mmu.state.pan !== step.pan) mmu.setPan(step.pan);
    const kind = this.perform(step, accessBits(step), stored);
    if (kind !== FaultKind.None) return this.faultOutcome();
    return { kind: 'address', address: { hi: mmu.paHi, lo: mmu.paLo } };
  }

  /** ESR_EL1 and FAR_EL1 of the MMU's fault. */
  faultOutcome(): Arm64Outcome {
    const { fault } = this.mmu;
    return {
      kind: 'fault',
      esr: { hi: faultEsrHigh(fault), lo: faultEsrLow(fault) },
      far: { hi: fault.addressHi, lo: fault.addressLo },
    };
  }

  private perform({ va, kind, size }: Arm64AccessStep, access: number, stored: Uint8Array): FaultKind {
    const { mmu } = this;
    if (kind === 'dczva') return mmu.zeroBlock(va.hi, va.lo, access);
    if (kind === 'atomic') return this.add(va, access);
    const write = (access & Access.Write) !== 0;
    if (size === 8) return write ? this.store64(va, access, stored) : this.load64(va, access);
    return this.transfer(va, size, access, write ? stored : this.loaded);
  }

  private add({ hi, lo }: Halves, access: number): FaultKind {
    const { mmu } = this;
    const kind = mmu.readModifyWrite64(hi, lo, access, AtomicOperation.Add, ADDEND.hi, ADDEND.lo);
    this.takeValue();
    return kind;
  }

  private load64({ hi, lo }: Halves, access: number): FaultKind {
    const kind = this.mmu.read64(hi, lo, access);
    this.takeValue();
    return kind;
  }

  private takeValue(): void {
    this.loadedWords[0] = this.mmu.valueLo;
    this.loadedWords[1] = this.mmu.valueHi;
  }

  private store64({ hi, lo }: Halves, access: number, stored: Uint8Array): FaultKind {
    const word = (at: number): number =>
      (stored[at] as number) |
      ((stored[at + 1] as number) << 8) |
      ((stored[at + 2] as number) << 16) |
      ((stored[at + 3] as number) << 24);
    return this.mmu.write64(hi, lo, access, word(4), word(0));
  }

  /**
   * An access of another size: every check of the instruction first, and then its bytes, in one page or two. The address
   * that counts is that of the first byte.
   */
  private transfer({ hi, lo }: Halves, size: number, access: number, bytes: Uint8Array): FaultKind {
    const { mmu } = this;
    const kind = mmu.translateAccess(hi, lo, access, size);
    if (kind !== FaultKind.None) return kind;
    const first = mmu.crossesPage ? FRAME - (lo & 0xfff) : size;
    if (first < size) {
      const next = (lo + first) | 0;
      const second = this.move(next === 0 ? (hi + 1) | 0 : hi, next, access, bytes.subarray(first, size));
      if (second !== FaultKind.None) return second;
    }
    return this.move(hi, lo, access, bytes.subarray(0, first));
  }

  /** Bytes may go over from one frame of 4 KiB to the next, inside a larger page. */
  private move(hi: number, lo: number, access: number, bytes: Uint8Array): FaultKind {
    const inFirst = FRAME - (lo & 0xfff);
    if (bytes.length > inFirst) {
      const kind = this.move(hi, (lo + inFirst) | 0, access, bytes.subarray(inFirst));
      if (kind !== FaultKind.None) return kind;
      return this.move(hi, lo, access, bytes.subarray(0, inFirst));
    }
    return (access & Access.Write) !== 0
      ? this.mmu.writeBytes(hi, lo, access, bytes)
      : this.mmu.readBytes(hi, lo, access, bytes);
  }

  /** PAR_EL1 of an AT instruction: a walk of the tables as they are in memory, whatever the TLBs hold. */
  addressTranslation(name: AtName, { hi, lo }: Halves): Halves {
    const { mmu } = this;
    if (!executeAt(mmu, atNamed(name), fromHalves(hi, lo)))
      throw new Error('an External abort: memory is everywhere');
    return { hi: mmu.state.parHi, lo: mmu.state.parLo };
  }

  /** A plain store, of no CPU. */
  store(pa: Halves, value: Halves): void {
    if (!this.memory.write64(pa.hi, pa.lo, value.hi, value.lo)) throw new Error('no memory');
  }

  tlbi(what: string, arg: Halves | null): void {
    const refused = this.domain.tlbi(0, what, arg === null ? 0n : fromHalves(arg.hi, arg.lo));
    if (refused !== null) throw new Error(refused);
  }

  dsbIsb(): void {
    this.domain.dsb(0, 'SY');
    this.domain.synchronizeContext(0);
  }

  /** MSR TTBR0_EL1, MSR TTBR1_EL1, ISB. */
  setTtbr(ttbr0: Halves, ttbr1: Halves): void {
    const { mmu } = this;
    const { state } = mmu;
    [state.ttbr0Hi, state.ttbr0Lo] = [ttbr0.hi, ttbr0.lo];
    [state.ttbr1Hi, state.ttbr1Lo] = [ttbr1.hi, ttbr1.lo];
    mmu.updateControls();
    this.domain.synchronizeContext(0);
  }

  /** The translation of an access under observation, with every check that its instruction makes. */
  explainAccess(step: Arm64AccessStep): ExplainedWalk {
    const { mmu } = this;
    if (mmu.state.pan !== step.pan) mmu.setPan(step.pan);
    return explainAccess(mmu, fromHalves(step.va.hi, step.va.lo), accessBits(step), step.size);
  }
}
