/** A small board for tests of TLB maintenance: memory, some CPUs in one domain, and tables that are built as asked. */
import { Access } from '../../../src/arch/access.ts';
import { descriptorShift, type GranuleShift } from '../../../src/arch/arm64/entries.ts';
import { faultStatus } from '../../../src/arch/arm64/fault-code.ts';
import { ARM64_COMPLETE, type Arm64Features } from '../../../src/arch/arm64/features.ts';
import { Arm64Mmu } from '../../../src/arch/arm64/mmu.ts';
import { TCR_EL1 } from '../../../src/arch/arm64/registers.ts';
import { ShareabilityDomain, type ShareabilityOptions } from '../../../src/arch/arm64/shareability-domain.ts';
import { SCTLR_EL1 } from '../../../src/arch/arm64/system-registers.ts';
import { tableShape } from '../../../src/arch/arm64/table-shape.ts';
import { fromHalves, highHalf, lowHalf } from '../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';
import type { Retention } from '../../../src/hardware/retention.ts';

/** Root tables: of the lower range, of the upper one. */
export const LOWER_ROOT = 0x10_0000n;
const UPPER_ROOT = 0x20_0000n;
/** Descriptor bits: valid page, AF, inner shareable, EL0 read and write, not global, not executable. */
export const VALID = 1n;
export const PAGE_TYPE = 2n;
export const AF = 1n << 10n;
export const NOT_GLOBAL = 1n << 11n;
export const READ_ONLY = 1n << 7n;
export const USER = 1n << 6n;
export const INNER = 3n << 8n;
export const CONTIGUOUS = 1n << 52n;

export interface BoardOptions extends ShareabilityOptions {
  readonly cpus?: number;
  readonly retention?: Retention;
  readonly features?: Partial<Arm64Features>;
  readonly granule?: GranuleShift;
  /** Bits of an address; default 48. */
  readonly inputBits?: number;
  /** TCR_EL1.DS. */
  readonly wide?: boolean;
  readonly hardwareAccessFlag?: boolean;
  readonly hardwareDirty?: boolean;
  /** Default: 0 Normal Write-Back, 1 Device-nGnRE, 2 Normal Non-cacheable, 3 Normal Write-Through, 4 Tagged. */
  readonly mair?: bigint;
}

export class Board {
  readonly memory = new PhysicalMemory();
  readonly mmus: readonly Arm64Mmu[];
  readonly domain: ShareabilityDomain;
  readonly granule: GranuleShift;
  /** What `map` gives a descriptor; with TCR_EL1.DS = 1 there is no SH in it. */
  readonly attributes: bigint;
  #next = 0x40_0000n;

  constructor(options: BoardOptions = {}) {
    const { cpus = 1, retention = 'adversarial', granule = 12, inputBits = 48, wide = false } = options;
    this.granule = granule;
    this.attributes = AF | NOT_GLOBAL | USER | (wide ? 0n : INNER);
    this.memory.addRegion(0n, 1n << 40n);
    const size = 64 - inputBits;
    const tcr = TCR_EL1.encode({
      T0SZ: size,
      T1SZ: size,
      TG0: { 12: 0, 14: 2, 16: 1 }[granule],
      TG1: { 12: 2, 14: 1, 16: 3 }[granule],
      IPS: 6,
      AS: 1,
      DS: wide,
      HA: options.hardwareAccessFlag === true || options.hardwareDirty === true,
      HD: options.hardwareDirty === true,
      SH0: 3,
      SH1: 3,
    });
    const mair = options.mair ?? 0xf0_aa_44_04_ffn;
    const features = { ...ARM64_COMPLETE, ...options.features };
    this.mmus = Array.from({ length: cpus }, () => {
      const mmu = new Arm64Mmu(this.memory, { features, retention });
      const { state } = mmu;
      state.sctlrLo = SCTLR_EL1.half('M', 'C', 'I').lo;
      [state.tcrHi, state.tcrLo] = [highHalf(tcr), lowHalf(tcr)];
      [state.mairHi, state.mairLo] = [highHalf(mair), lowHalf(mair)];
      state.ttbr0Lo = Number(LOWER_ROOT);
      state.ttbr1Lo = Number(UPPER_ROOT);
      mmu.updateControls();
      return mmu;
    });
    this.domain = new ShareabilityDomain(this.mmus, options);
  }

  mmu(cpu = 0): Arm64Mmu {
    return this.mmus[cpu] as Arm64Mmu;
  }

  /** Runs a CPU, or all of them, with this ASID. */
  setAsid(asid: number, cpu?: number): void {
    for (const mmu of cpu === undefined ? this.mmus : [this.mmu(cpu)]) {
      mmu.state.ttbr0Hi = asid << 16;
      mmu.updateControls();
    }
  }

  /** Physical address of the descriptor of a level that translates `va`; missing tables are made. */
  descriptorAddress(va: bigint, level = 3): bigint {
    const upper = ((va >> 55n) & 1n) === 1n;
    const { state, features } = this.mmu();
    const { rootLevel, inputBits } = tableShape(state, features, upper);
    const inside = va & ((1n << BigInt(inputBits)) - 1n);
    let table = upper ? UPPER_ROOT : LOWER_ROOT;
    for (let at = rootLevel; ; at++) {
      const index = inside >> BigInt(descriptorShift(this.granule, at));
      const address =
        table + (at === rootLevel ? index : index & ((1n << BigInt(this.granule - 3)) - 1n)) * 8n;
      if (at === level) return address;
      let descriptor = this.read(address);
      if (descriptor === 0n) {
        descriptor = this.newTable() | PAGE_TYPE | VALID;
        this.write(address, descriptor);
      }
      table = descriptor & 0xffff_ffff_f000n;
    }
  }

  /** An unused, zeroed table. */
  newTable(): bigint {
    const table = this.#next;
    this.#next += 0x1_0000n;
    return table;
  }

  /** Maps a page, or a block of a level. @returns where its descriptor is */
  map(va: bigint, pa: bigint, attributes = this.attributes, level = 3): bigint {
    const address = this.descriptorAddress(va, level);
    this.write(address, pa | attributes | VALID | (level === 3 ? PAGE_TYPE : 0n));
    return address;
  }

  read(pa: bigint): bigint {
    return this.memory.readWord(pa) as bigint;
  }

  write(pa: bigint, value: bigint): void {
    this.memory.writeWord(pa, value);
  }

  /** The outcome of an access: the physical address, or the fault status code in words. */
  access(va: bigint, cpu = 0, access: number = Access.Read): bigint | string {
    const mmu = this.mmu(cpu);
    if (mmu.translate(highHalf(va), lowHalf(va), access) === 0) return fromHalves(mmu.paHi, mmu.paLo);
    return `fault 0b${faultStatus(mmu.fault).toString(2).padStart(6, '0')}`;
  }

  /** TLBI, complete on all CPUs: DSB SY and a context synchronization event. */
  invalidate(name: string, xt = 0n, cpu = 0): void {
    const refused = this.domain.tlbi(cpu, name, xt);
    if (refused !== null) throw new Error(refused);
    this.domain.dsb(cpu, 'SY');
    this.domain.synchronizeContext(cpu);
  }
}
