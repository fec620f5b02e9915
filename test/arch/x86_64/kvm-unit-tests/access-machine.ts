/**
 * The machine of the access test: page tables for a few addresses, built from flags, and one access made and compared.
 * CPU registers are written with the instructions themselves, and the TLB lives on from case to case, so that what a
 * register write and INVLPG drop is under test too.
 */
import { Access } from '../../../../src/arch/access.ts';
import { Entry } from '../../../../src/arch/x86_64/entries.ts';
import { faultErrorCode, faultVector, Vector } from '../../../../src/arch/x86_64/fault-code.ts';
import { type CpuFeatures, INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { X86Mmu } from '../../../../src/arch/x86_64/mmu.ts';
import { Msr } from '../../../../src/arch/x86_64/model-specific-registers.ts';
import {
  controlRegisters,
  invlpg,
  movToCr0,
  movToCr4,
  wrmsr,
  wrpkru,
} from '../../../../src/arch/x86_64/privileged.ts';
import { CR0, CR4, EFER } from '../../../../src/arch/x86_64/registers.ts';
import { highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';
import type { Retention } from '../../../../src/hardware/retention.ts';
import { describeFlags, Expectation, expect, F } from './access-flags.ts';

/** Bits 51 and 36 are reserved on it, as the test wants. */
export const ACCESS_FEATURES: CpuFeatures = { ...INTEL_COMPLETE, maxPhysAddr: 36 };

const ROOT = 0x10_0000;
const TABLES = 33 * 0x10_0000;
const DATA = 32 * 0x10_0000;
const TABLE_FLAGS = Entry.P | Entry.RW | Entry.US;
const PSE = Entry.PS;
/** Bits of the high half. */
const NX_HIGH = Entry.XD_HIGH;
const KEY_1 = 1 << 27;
const KEY_2 = 2 << 27;
const KEY_2_FORBIDDEN = 0x30;

const has = (flags: number, bit: number): boolean => (flags & bit) !== 0;

export class AccessMachine {
  readonly memory = new PhysicalMemory();
  readonly mmu: X86Mmu;
  readonly levels: number;
  #nextTable = TABLES;

  constructor(levels: 4 | 5, features: CpuFeatures = ACCESS_FEATURES, retention: Retention = 'profile') {
    this.levels = levels;
    this.memory.addRegion(0n, 64n << 20n);
    this.mmu = new X86Mmu(this.memory, { features, retention });
    const { state } = this.mmu;
    state.cr3Lo = ROOT;
    state.cr0 = CR0.half('PE', 'ET', 'NE', 'WP', 'PG').lo;
    state.cr4 = levels === 5 ? CR4.half('PAE', 'LA57').lo : CR4.half('PAE').lo;
    state.efer = EFER.half('SCE', 'LME', 'LMA', 'NXE').lo;
    this.mmu.updateControls();
  }

  allocateTable(): number {
    const table = this.#nextTable;
    this.#nextTable += 0x1000;
    this.memory.zeroFrame(table >>> 12);
    return table;
  }

  setCr0Wp(on: boolean): void {
    const { cr0 } = controlRegisters(this.mmu);
    const next = CR0.set(cr0, 'WP', on);
    if (next !== cr0) must(movToCr0(this.mmu, next));
  }

  setEferNx(on: boolean): void {
    const { efer } = controlRegisters(this.mmu);
    const next = EFER.set(efer, 'NXE', on);
    if (next !== efer) must(wrmsr(this.mmu, Msr.IA32_EFER, next));
  }

  setCr4(name: 'SMEP' | 'PKE', on: boolean): void {
    const { cr4 } = controlRegisters(this.mmu);
    const next = CR4.set(cr4, name, on);
    if (next === cr4) return;
    // Leave rights behind that forbid everything: they must not count while CR4.PKE = 0.
    if (name === 'PKE' && !on) must(wrpkru(this.mmu, 0xffff_fffc));
    must(movToCr4(this.mmu, next));
  }
}

function must(fault: { readonly rule: string } | null): void {
  if (fault !== null) throw new Error(`a register write of the test was refused: ${fault.rule}`);
}

/** One virtual address under test, its tables, and what its entries must come to. */
export class AccessTest {
  flags = 0;
  readonly machine: AccessMachine;
  readonly virtual: bigint;
  /** By level, 5 to 2: the physical address of the table that the entry of that level references. */
  readonly tables: number[] = [];
  readonly expected = new Expectation();
  /** Physical addresses of the PDE and of the PTE, 0 when there is none. */
  pde = 0;
  pte = 0;
  #pteBefore = 0;
  #pdeBefore = 0;

  /** @param buddy shares the tables where the indices are the same */
  constructor(machine: AccessMachine, virtual: bigint, buddy?: AccessTest) {
    this.machine = machine;
    this.virtual = virtual;
    machine.setEferNx(true);
    machine.setCr0Wp(true);
    for (let level = machine.levels; level > 1; level--) {
      const shared = buddy !== undefined && buddy.#index(level) === this.#index(level);
      this.tables[level] = shared ? (buddy.tables[level] as number) : machine.allocateTable();
    }
    machine.memory.write64(0, ROOT + 8 * this.#index(machine.levels), 0, 0);
  }

  #index(level: number): number {
    return Number((this.virtual >> BigInt(12 + 9 * (level - 1))) & 0x1ffn);
  }

  #low(at: number): number {
    this.machine.memory.read64(0, at);
    return this.machine.memory.lo;
  }

  /** Writes the entries of all levels, keeping A and D of the tables' entries. */
  setUp(): void {
    const { machine, flags } = this;
    const lowest = has(flags, F['pde.pse']) ? 2 : 1;
    this.pte = 0;
    let table = ROOT;
    for (let level = machine.levels; level >= lowest; level--) {
      const at = table + 8 * this.#index(level);
      if (level > 2) {
        const next = this.tables[level] as number;
        const readOnly = level === 3 && has(flags, F['pdpte.ro']);
        const kept = this.#low(at) & (Entry.A | Entry.D);
        machine.memory.write64(0, at, 0, next | kept | (readOnly ? TABLE_FLAGS & ~Entry.RW : TABLE_FLAGS));
      } else if (level === 2) this.#writePde(at);
      else this.#writePte(at);
      table = this.tables[level] as number;
    }
    this.setExpected();
  }

  #writePde(at: number): void {
    const { flags } = this;
    this.pde = at;
    const large = has(flags, F['pde.pse']);
    let lo = large ? DATA | PSE : (this.tables[2] as number) | (this.#low(at) & (Entry.A | Entry.D));
    let hi = 0;
    if (has(flags, F['pkey=1'])) hi |= large ? KEY_1 : KEY_2;
    if (has(flags, F['pde.p'])) lo |= Entry.P;
    if (has(flags, F['pde.rw'])) lo |= Entry.RW;
    if (has(flags, F['pde.user'])) lo |= Entry.US;
    if (has(flags, F['pde.a'])) lo |= Entry.A;
    if (has(flags, F['pde.d'])) lo |= Entry.D;
    if (has(flags, F['pde.13'])) lo |= 1 << 13;
    if (has(flags, F['pde.nx'])) hi |= NX_HIGH;
    if (has(flags, F['pde.51'])) hi |= 1 << 19;
    if (has(flags, F['pde.36'])) hi |= 1 << 4;
    this.machine.memory.write64(0, at, hi, lo);
  }

  #writePte(at: number): void {
    const { flags } = this;
    this.pte = at;
    let lo = DATA;
    let hi = has(flags, F['pkey=1']) ? KEY_1 : 0;
    if (has(flags, F['pte.p'])) lo |= Entry.P;
    if (has(flags, F['pte.rw'])) lo |= Entry.RW;
    if (has(flags, F['pte.user'])) lo |= Entry.US;
    if (has(flags, F['pte.a'])) lo |= Entry.A;
    if (has(flags, F['pte.d'])) lo |= Entry.D;
    if (has(flags, F['pte.nx'])) hi |= NX_HIGH;
    if (has(flags, F['pte.51'])) hi |= 1 << 19;
    if (has(flags, F['pte.36'])) hi |= 1 << 4;
    this.machine.memory.write64(0, at, hi, lo);
  }

  /** What must come of the next access, from the entries as they are now. */
  setExpected(flush = true): void {
    if (flush) invlpg(this.machine.mmu, this.virtual);
    expect(this.flags, this.expected);
    this.#pdeBefore = this.#low(this.pde);
    this.#pteBefore = this.pte === 0 ? 0 : this.#low(this.pte);
  }

  /** Makes the access. @returns what was wrong, empty when all was right */
  run(): string {
    const { machine, flags } = this;
    const { mmu } = machine;
    machine.setCr0Wp(has(flags, F['cr0.wp']));
    machine.setEferNx(has(flags, F['efer.nx']));
    machine.setCr4('PKE', has(flags, F['cr4.pke']));
    if (has(flags, F['cr4.pke'])) {
      const keyOne = (has(flags, F['pkru.wd']) ? 8 : 0) | (has(flags, F['pkru.ad']) ? 4 : 0);
      must(wrpkru(mmu, KEY_2_FORBIDDEN | keyOne));
    }
    machine.setCr4('SMEP', has(flags, F['cr4.smep']));
    const hi = highHalf(this.virtual);
    const lo = lowHalf(this.virtual);
    if (has(flags, F.twice)) mmu.translate(hi, lo, Access.Read);
    const who = has(flags, F.user) ? Access.User : 0;
    const how = has(flags, F.write) ? Access.Write : has(flags, F.fetch) ? Access.Fetch : Access.Read;
    const wrong = this.#compare(mmu.translate(hi, lo, who | how) !== 0);
    return wrong === '' ? '' : `${describeFlags(flags)}: ${wrong}`;
  }

  #compare(faulted: boolean): string {
    const { expected, machine } = this;
    const { mmu } = machine;
    if (faulted !== expected.fault) return faulted ? 'unexpected fault' : 'unexpected access';
    if (faulted && faultVector(mmu.fault) !== Vector.PageFault) return `vector ${faultVector(mmu.fault)}`;
    const error = faulted ? faultErrorCode(mmu.fault) : 0;
    if (error !== expected.errorCode) return `error code ${error}, expected ${expected.errorCode}`;
    if (!faulted && (mmu.paHi !== 0 || mmu.paLo !== DATA + this.#offset()))
      return `physical address ${mmu.paLo}`;
    if (this.pte !== 0 && this.#low(this.pte) !== (this.#pteBefore | expected.pte)) return 'PTE flags';
    const pde = this.#low(this.pde) & ~expected.pdeMay;
    return pde === ((this.#pdeBefore | expected.pde) & ~expected.pdeMay) ? '' : 'PDE flags';
  }

  /** The offset of the address in its page. */
  #offset(): number {
    const mask = has(this.flags, F['pde.pse']) ? 0x1f_ffffn : 0xfffn;
    return Number(this.virtual & mask);
  }
}
