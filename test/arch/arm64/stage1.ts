/**
 * A small machine for the tests of arm64 translation: memory, one CPU's translation at EL1&0, registers by their fields,
 * and a mapper that builds tables for any granule and address size, from the layouts of the descriptors.
 */
import { Access } from '../../../src/arch/access.ts';
import {
  blockLayout,
  type DescriptorContext,
  descriptorShift,
  type GranuleShift,
  pageLayout,
  tableLayout,
} from '../../../src/arch/arm64/entries.ts';
import { faultEsr, faultFar } from '../../../src/arch/arm64/fault-code.ts';
import { ARM64_COMPLETE, type Arm64Features } from '../../../src/arch/arm64/features.ts';
import { faultStatusName, TCR_EL1 } from '../../../src/arch/arm64/registers.ts';
import { MAIR_EL1, SCTLR_EL1, TCR2_EL1 } from '../../../src/arch/arm64/system-registers.ts';
import { Translation } from '../../../src/arch/arm64/translation.ts';
import type { Layout } from '../../../src/base/layout.ts';
import { fromHalves, highHalf, lowHalf } from '../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';
import type { Retention } from '../../../src/hardware/retention.ts';

export const ROOT0 = 0x10_0000n;
export const ROOT1 = 0x20_0000n;
/** Memory types by index: 0 Normal Write-Back, 1 Device-nGnRnE, 2 Tagged, 3 Normal Non-cacheable, 4 Device-GRE. */
const MAIR = MAIR_EL1.encode({ Attr0: 0xff, Attr1: 0x00, Attr2: 0xf0, Attr3: 0x44, Attr4: 0x0c });

type Values<L> = L extends Layout<infer Name> ? { readonly [K in Name]?: bigint | number | boolean } : never;
type Sctlr = Values<typeof SCTLR_EL1>;
export type Tcr = Values<typeof TCR_EL1>;
type Tcr2 = Values<typeof TCR2_EL1>;
type RegisterName =
  | 'sctlr'
  | 'tcr'
  | 'tcr2'
  | 'ttbr0'
  | 'ttbr1'
  | 'mair'
  | 'pir'
  | 'pire0'
  | 'porEl0'
  | 'porEl1';
export type LeafFields = Readonly<Record<string, bigint | number | boolean>>;

const TG0 = { 12: 0, 14: 2, 16: 1 } as const;
const TG1 = { 12: 2, 14: 1, 16: 3 } as const;
/** Data for EL0 and EL1, not executable. */
const USER_DATA: LeafFields = { AP: 1, AF: 1, PXN: 1, UXN: 1, nG: 1 };

export interface Stage1Options {
  readonly granule?: GranuleShift;
  /** T0SZ and T1SZ. */
  readonly txsz?: number;
  readonly features?: Arm64Features;
  readonly retention?: Retention;
  readonly sctlr?: Sctlr;
  readonly tcr?: Tcr;
  readonly tcr2?: Tcr2;
  readonly asid?: number;
  /** 64 GiB of its own if not given. */
  readonly memory?: PhysicalMemory;
}

export class Stage1 {
  readonly memory: PhysicalMemory;
  readonly mmu: Translation;
  readonly granule: GranuleShift;
  readonly tcr: Tcr;
  readonly #txsz: number;
  #next = 0x100_0000n;

  constructor(options: Stage1Options = {}) {
    const { granule = 12, txsz = 16, features = ARM64_COMPLETE, retention = 'profile', asid = 0 } = options;
    this.granule = granule;
    this.#txsz = txsz;
    this.memory = options.memory ?? memoryOf(1n << 36n);
    this.mmu = new Translation(this.memory, { features, retention });
    this.tcr = {
      T0SZ: txsz,
      T1SZ: txsz,
      TG0: TG0[granule],
      TG1: TG1[granule],
      IPS: 5,
      AS: 1,
      ...options.tcr,
    };
    this.set('sctlr', SCTLR_EL1.encode({ M: 1, C: 1, I: 1, ...options.sctlr }));
    this.set('tcr', TCR_EL1.encode(this.tcr));
    this.set('tcr2', TCR2_EL1.encode(options.tcr2 ?? {}));
    this.set('mair', MAIR);
    this.set('ttbr0', ROOT0 | (BigInt(asid) << 48n));
    this.set('ttbr1', ROOT1 | (BigInt(asid) << 48n));
  }

  /** Writes a register as 64 bits, and puts it in force. */
  set(name: RegisterName, value: bigint): void {
    const { state } = this.mmu;
    state[`${name}Hi`] = highHalf(value);
    state[`${name}Lo`] = lowHalf(value);
    this.mmu.updateControls();
  }

  setTcr(changes: Tcr): void {
    this.set('tcr', TCR_EL1.encode({ ...this.tcr, ...changes }));
  }

  context(level: number): DescriptorContext {
    const lpa = this.granule === 16 ? true : Boolean(this.tcr.DS);
    return { granule: this.granule, level, lpa };
  }

  /** The level of the first lookup. */
  get startLevel(): number {
    return 3 - Math.floor((64 - this.#txsz - 1 - this.granule) / (this.granule - 3));
  }

  /** Physical address of the descriptor of `level` for `va`; tables that are missing are made with `fields`. */
  descriptorAddress(va: bigint, level = 3, fields: LeafFields = {}): bigint {
    let table = (va >> 55n) & 1n ? ROOT1 : ROOT0;
    const inRange = BigInt.asUintN(64 - this.#txsz, va);
    for (let at = this.startLevel; ; at++) {
      const shift = BigInt(descriptorShift(this.granule, at));
      const index =
        at === this.startLevel
          ? inRange >> shift
          : (inRange >> shift) & ((1n << BigInt(this.granule - 3)) - 1n);
      const address = table + index * 8n;
      if (at === level) return address;
      const context = this.context(at);
      let descriptor = this.memory.readWord(address) as bigint;
      if (descriptor === 0n) {
        descriptor = this.#next | 3n | tableLayout(context).encode(fields);
        this.#next += 0x1_0000n;
        this.memory.writeWord(address, descriptor);
      }
      table = tableLayout(context).get(descriptor, 'ADDRESS');
    }
  }

  /** Maps a page, or the block of a level, with fields of the descriptor. @returns the descriptor's address */
  map(va: bigint, pa: bigint, fields: LeafFields = USER_DATA, level = 3): bigint {
    const address = this.descriptorAddress(va, level);
    this.memory.writeWord(address, leafDescriptor(this.context(level), pa, fields));
    return address;
  }

  /** The outcome of an access: the output address, or the words of the fault's status code. */
  access(va: bigint, access: number = Access.User): bigint | string {
    return this.outcome(this.mmu.translate(highHalf(va), lowHalf(va), access));
  }

  outcome(kind: number): bigint | string {
    const { mmu } = this;
    if (kind === 0) return fromHalves(mmu.paHi, mmu.paLo);
    return faultStatusName(Number(faultEsr(mmu.fault) & 0x3fn));
  }

  get esr(): bigint {
    return faultEsr(this.mmu.fault);
  }

  get far(): bigint {
    return faultFar(this.mmu.fault);
  }
}

/** Memory of so many bytes, from address 0. */
export function memoryOf(bytes: bigint): PhysicalMemory {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, bytes);
  return memory;
}

/** A block or page descriptor; the output address is put where the format has its bits. */
export function leafDescriptor(context: DescriptorContext, pa: bigint, fields: LeafFields): bigint {
  const layout: Layout = context.level === 3 ? pageLayout(context) : blockLayout(context);
  let descriptor = layout.encode({ VALID: 1, TYPE: context.level === 3 ? 1 : 0, ...fields } as never);
  descriptor |= pa & layout.mask('ADDRESS');
  if (layout.names.includes('ADDRESS_51_50')) descriptor = layout.set(descriptor, 'ADDRESS_51_50', pa >> 50n);
  if (layout.names.includes('ADDRESS_51_48')) descriptor = layout.set(descriptor, 'ADDRESS_51_48', pa >> 48n);
  return descriptor;
}
