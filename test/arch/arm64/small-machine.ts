/**
 * A small arm64 machine for tests of data accesses and tags: 4 KiB granule, 39-bit addresses in both ranges from one set of
 * tables, and pages of Tagged, Normal and Device memory where a test wants them.
 */
import { Access } from '../../../src/arch/access.ts';
import { pageLayout, tableLayout } from '../../../src/arch/arm64/entries.ts';
import { faultEsr, faultFar } from '../../../src/arch/arm64/fault-code.ts';
import { ARM64_RECORDED, type Arm64Features } from '../../../src/arch/arm64/features.ts';
import { Arm64Mmu } from '../../../src/arch/arm64/mmu.ts';
import { Arm64TagInstructions } from '../../../src/arch/arm64/mte/tag-operations.ts';
import { RegisterFile } from '../../../src/arch/arm64/register-file.ts';
import { TCR_EL1 } from '../../../src/arch/arm64/registers.ts';
import { SCTLR_EL1 } from '../../../src/arch/arm64/system-registers.ts';
import { FAULT_KIND_NAMES, type FaultKind } from '../../../src/arch/fault.ts';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';

/** Fields of MAIR_EL1 by index, as `SmallMachine` sets it up. */
export const Memory = { Tagged: 0, Normal: 1, Device: 2 } as const;
export type Memory = (typeof Memory)[keyof typeof Memory];
/** Tagged Normal 0xf0, Normal Write-Back 0xff, Device-nGnRE 0x04. */
const MAIR = 0x04fff0;

type SctlrField = (typeof SCTLR_EL1.names)[number];
type TcrField = (typeof TCR_EL1.names)[number];
type PageFields = Parameters<ReturnType<typeof pageLayout>['encode']>[0];

export interface MachineOptions {
  readonly sctlr?: Partial<Record<SctlrField, number>>;
  readonly tcr?: Partial<Record<TcrField, number>>;
  readonly features?: Partial<Arm64Features>;
}

const ROOT = 0x10000n;
/** Physical addresses of data begin here; there is memory up to `MEMORY_END`. */
export const DATA = 0x100000n;
export const MEMORY_END = 0x400000n;
const context = (level: number) => ({ granule: 12, level, lpa: false }) as const;

export class SmallMachine {
  readonly memory = new PhysicalMemory();
  readonly mmu: Arm64Mmu;
  readonly instructions: Arm64TagInstructions;
  readonly registers = new RegisterFile();
  private nextTable = ROOT + 0x1000n;

  /** Both ranges ignore the top byte, tags are accessible and checked synchronously at both levels, unless said so. */
  constructor({ sctlr = {}, tcr = {}, features = {} }: MachineOptions = {}) {
    this.memory.addRegion(0n, MEMORY_END);
    this.mmu = new Arm64Mmu(this.memory, { features: { ...ARM64_RECORDED, ...features } });
    this.instructions = new Arm64TagInstructions(this.mmu);
    const { state } = this.mmu;
    const control = { M: 1, C: 1, I: 1, DZE: 1, ATA: 1, ATA0: 1, TCF: 1, TCF0: 1, ...sctlr };
    const translation = { T0SZ: 25, T1SZ: 25, TG1: 2, IPS: 2, TBI0: 1, TBI1: 1, ...tcr };
    [state.sctlrHi, state.sctlrLo] = halves(SCTLR_EL1.encode(control));
    [state.tcrHi, state.tcrLo] = halves(TCR_EL1.encode(translation));
    state.ttbr0Lo = Number(ROOT);
    state.ttbr1Lo = Number(ROOT);
    state.mairLo = MAIR;
    this.mmu.updateControls();
  }

  /** Maps a page for EL0 and EL1, readable and writable unless `fields` say otherwise. In both ranges. */
  map(va: bigint, pa: bigint, memory: Memory = Memory.Tagged, fields: PageFields = {}): this {
    let table = ROOT;
    for (const level of [1, 2]) {
      const at = table + ((va >> BigInt(39 - 9 * level)) & 511n) * 8n;
      let entry = this.memory.readWord(at) as bigint;
      if (entry === 0n) {
        entry = tableLayout(context(level)).encode({ VALID: 1, TYPE: 1, ADDRESS: this.nextTable });
        this.nextTable += 0x1000n;
        this.memory.writeWord(at, entry);
      }
      table = tableLayout(context(level)).get(entry, 'ADDRESS');
    }
    const page = {
      VALID: 1,
      TYPE: 1,
      AttrIndx: memory,
      AP: 1,
      SH: 3,
      AF: 1,
      nG: 1,
      PXN: 1,
      UXN: 1,
      ADDRESS: pa,
    };
    this.memory.writeWord(
      table + ((va >> 12n) & 511n) * 8n,
      pageLayout(context(3)).encode({ ...page, ...fields }),
    );
    return this;
  }

  setTag(pa: bigint, tag: number): this {
    this.memory.tags?.setTag(highHalf(pa), lowHalf(pa), tag);
    return this;
  }

  tag(pa: bigint): number | undefined {
    return this.memory.tags?.tag(highHalf(pa), lowHalf(pa));
  }

  /** The name of the outcome of a call on the MMU, with ESR and FAR where there is a fault. */
  outcome(kind: FaultKind | null): string {
    if (kind === null) return 'not a tag instruction';
    if (kind === 0) return 'none';
    const { fault } = this.mmu;
    const esr = faultEsr(fault).toString(16);
    return `${FAULT_KIND_NAMES[kind]} ESR ${esr} FAR ${faultFar(fault).toString(16)}`;
  }

  read(va: bigint, access = 0): string {
    return this.outcome(this.mmu.read64(highHalf(va), lowHalf(va), access));
  }

  write(va: bigint, value = 0n, access = 0): string {
    return this.outcome(
      this.mmu.write64(highHalf(va), lowHalf(va), access | Access.Write, highHalf(value), lowHalf(value)),
    );
  }

  /** An access of any size by one instruction, without data. */
  access(va: bigint, access: number, bytes: number, alignment?: number): string {
    return this.outcome(this.mmu.translateAccess(highHalf(va), lowHalf(va), access, bytes, alignment));
  }

  /** What the two status registers hold, as `TFSR_EL1/TFSRE0_EL1`. */
  get asynchronous(): string {
    return `${this.mmu.state.tfsr}/${this.mmu.state.tfsre0}`;
  }
}

const halves = (value: bigint): [number, number] => [highHalf(value), lowHalf(value)];

/** The address with a logical tag in bits 59:56. */
export const tagged = (tag: number, va: bigint): bigint => (va & ~(15n << 56n)) | (BigInt(tag) << 56n);
/** The same page in the upper range: what `map` maps in both. */
export const upper = (va: bigint): bigint => va | 0xffffff8000000000n;
