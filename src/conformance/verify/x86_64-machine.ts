/**
 * The machine that vectors run on: one MMU for each processor model met, over one physical memory of the whole address
 * range, and the privileged steps. Everything a vector wrote is put back to zero before the next one.
 */
import { Access } from '../../arch/access.ts';
import { FaultKind } from '../../arch/fault.ts';
import { faultErrorCode, faultVector } from '../../arch/x86_64/fault-code.ts';
import { type CpuFeatures, INTEL_RECORDED } from '../../arch/x86_64/features.ts';
import { X86Mmu } from '../../arch/x86_64/mmu.ts';
import * as privileged from '../../arch/x86_64/privileged.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../base/u64.ts';
import { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { AccessStep, Outcome, VectorCpu, VectorStep } from './x86_64-vector.ts';

const DONE: Outcome = { kind: 'done' };
const KIND_BITS = { read: Access.Read, write: Access.Write, fetch: Access.Fetch } as const;

/** The `Access` bits of a recorded access. */
export const accessBits = ({ kind, cpl, segment }: AccessStep): number =>
  KIND_BITS[kind] | (cpl === 3 ? Access.User : 0) | (segment === 'ss' ? Access.StackSegment : 0);

export class VectorMachine {
  readonly memory = new PhysicalMemory();
  readonly #retention: Retention;
  readonly #mmus = new Map<string, X86Mmu>();
  #mmu: X86Mmu | null = null;

  constructor(retention: Retention) {
    this.#retention = retention;
    // What a table entry may name: MAXPHYADDR is at most 52, and reserved address bits stop a walk before it is read.
    this.memory.addRegion(0n, 1n << 52n);
  }

  get mmu(): X86Mmu {
    if (this.#mmu === null) throw new Error('no vector was loaded');
    return this.#mmu;
  }

  /** Empty TLB, the vector's registers. */
  load(cpu: VectorCpu): void {
    const mmu = this.#mmuFor(cpu);
    mmu.reset();
    const { state } = mmu;
    state.cr0 = lowHalf(cpu.cr0);
    state.cr3Hi = highHalf(cpu.cr3);
    state.cr3Lo = lowHalf(cpu.cr3);
    state.cr4Hi = highHalf(cpu.cr4);
    state.cr4 = lowHalf(cpu.cr4);
    state.efer = lowHalf(cpu.efer);
    state.pkru = lowHalf(cpu.pkru);
    state.pkrs = lowHalf(cpu.pkrs);
    state.alignmentCheck = false;
    mmu.updateControls();
    this.#mmu = mmu;
  }

  #mmuFor({ maxPhysAddr, page1g }: VectorCpu): X86Mmu {
    const key = `${maxPhysAddr} ${page1g}`;
    const known = this.#mmus.get(key);
    if (known !== undefined) return known;
    const features: CpuFeatures = { ...INTEL_RECORDED, maxPhysAddr, page1g };
    const mmu = new X86Mmu(this.memory, { features, retention: this.#retention });
    this.#mmus.set(key, mmu);
    return mmu;
  }

  /** Runs a step and says what came of it. */
  step(step: VectorStep): Outcome {
    switch (step.op) {
      case 'access':
        return this.#access(step);
      case 'write64':
        if (!this.memory.write64(step.pa.hi, step.pa.lo, step.value.hi, step.value.lo))
          throw new Error('no memory');
        return DONE;
      default:
        return outcomeOf(this.#privileged(step));
    }
  }

  #access(step: AccessStep): Outcome {
    const mmu = this.mmu;
    mmu.setAlignmentCheck(step.ac);
    const kind = mmu.translate(step.va.hi, step.va.lo, accessBits(step));
    if (kind === FaultKind.None) return { kind: 'address', address: { hi: mmu.paHi, lo: mmu.paLo } };
    const { fault } = mmu;
    const vector = faultVector(fault);
    const errorCode = faultErrorCode(fault);
    if (vector !== PAGE_FAULT) return { kind: 'fault', vector, errorCode };
    return { kind: 'fault', vector, errorCode, cr2: { hi: fault.addressHi, lo: fault.addressLo } };
  }

  /** Steps other than accesses run at CPL 0. */
  #privileged(step: Exclude<VectorStep, { op: 'access' | 'write64' }>): privileged.PrivilegedFault | null {
    const mmu = this.mmu;
    switch (step.op) {
      case 'invlpg':
        return privileged.invlpg(mmu, wide(step.va));
      case 'invpcid':
        return privileged.invpcid(mmu, BigInt(step.type), wide(step.pcid), wide(step.va));
      case 'movcr0':
        return privileged.movToCr0(mmu, wide(step.value));
      case 'movcr3':
        return privileged.movToCr3(mmu, wide(step.value));
      case 'movcr4':
        return privileged.movToCr4(mmu, wide(step.value));
      case 'wrpkru':
        return privileged.wrpkru(mmu, step.value.lo);
    }
  }
}

const PAGE_FAULT = 14;
const wide = ({ hi, lo }: Halves): bigint => fromHalves(hi, lo);

const outcomeOf = (fault: privileged.PrivilegedFault | null): Outcome =>
  fault === null ? DONE : { kind: 'fault', vector: fault.vector, errorCode: fault.errorCode ?? 0 };
