/**
 * A small machine for the cases of kvm-unit-tests: one address space with a supervisor and a user mapping of the same
 * frame, control registers written with the instructions, and accesses that answer what came of them.
 */
import { Access } from '../../../../src/arch/access.ts';
import { PDE, PDPTE, PML4E, PTE } from '../../../../src/arch/x86_64/entries.ts';
import { faultErrorCode, faultVector } from '../../../../src/arch/x86_64/fault-code.ts';
import { type CpuFeatures, INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { X86Mmu } from '../../../../src/arch/x86_64/mmu.ts';
import { controlRegisters, movToCr0, movToCr3, movToCr4 } from '../../../../src/arch/x86_64/privileged.ts';
import { CR0, CR4, EFER, PAGE_FAULT_ERROR } from '../../../../src/arch/x86_64/registers.ts';
import { highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';
import type { Retention } from '../../../../src/hardware/retention.ts';

const ROOT = 0x1000n;
const DATA = 0x20_0000n;

type PteFields = Parameters<typeof PTE.encode>[0];

export class TestMachine {
  readonly memory = new PhysicalMemory();
  readonly mmu: X86Mmu;
  #nextTable = 0x2000n;

  constructor(features: CpuFeatures = INTEL_COMPLETE, levels: 4 | 5 = 4, retention: Retention = 'profile') {
    this.memory.addRegion(0n, 16n << 20n);
    this.mmu = new X86Mmu(this.memory, { features, retention });
    const { state } = this.mmu;
    state.cr3Lo = lowHalf(ROOT);
    state.cr0 = CR0.half('PE', 'ET', 'NE', 'WP', 'PG').lo;
    state.cr4 = levels === 5 ? CR4.half('PAE', 'LA57').lo : CR4.half('PAE').lo;
    state.efer = EFER.half('SCE', 'LME', 'LMA', 'NXE').lo;
    this.mmu.updateControls();
  }

  /** Maps the page at `address` to the data frame. Upper levels allow everything. @returns where its PTE is */
  map(address: bigint, fields: PteFields): bigint {
    const la57 = CR4.has(controlRegisters(this.mmu).cr4, 'LA57');
    const levels = la57 ? [5, 4, 3, 2] : [4, 3, 2];
    let table = ROOT;
    for (const level of levels) {
      const at = table + 8n * ((address >> BigInt(3 + 9 * level)) & 0x1ffn);
      let entry = this.memory.readWord(at) ?? 0n;
      if (entry === 0n) {
        const layout = level === 2 ? PDE : level === 3 ? PDPTE : PML4E;
        entry = layout.encode({ P: 1, RW: 1, US: 1, TABLE: this.#nextTable });
        this.#nextTable += 0x1000n;
        this.memory.writeWord(at, entry);
      }
      table = PDE.get(entry, 'TABLE');
    }
    const at = table + 8n * ((address >> 12n) & 0x1ffn);
    this.memory.writeWord(at, PTE.encode({ P: 1, PAGE: DATA, ...fields }));
    return at;
  }

  /** Sets or clears bits of CR0. @returns the exception vector, 0 when it succeeded */
  cr0(...changes: [name: (typeof CR0.names)[number], on: boolean][]): number {
    let { cr0 } = controlRegisters(this.mmu);
    for (const [name, on] of changes) cr0 = CR0.set(cr0, name, on);
    return movToCr0(this.mmu, cr0)?.vector ?? 0;
  }

  /** Sets or clears bits of CR4. @returns the exception vector, 0 when it succeeded */
  cr4(...changes: [name: (typeof CR4.names)[number], on: boolean][]): number {
    let { cr4 } = controlRegisters(this.mmu);
    for (const [name, on] of changes) cr4 = CR4.set(cr4, name, on);
    return movToCr4(this.mmu, cr4)?.vector ?? 0;
  }

  /** MOV to CR3. @returns the exception vector, 0 when it succeeded */
  cr3(operand: bigint): number {
    return movToCr3(this.mmu, operand)?.vector ?? 0;
  }

  /** One access. @returns `ok`, or `#PF(P WR …)`, `#GP`, `#SS` */
  access(address: bigint, access: number): string {
    const { mmu } = this;
    if (mmu.translate(highHalf(address), lowHalf(address), access) === 0) {
      return BigInt(mmu.paLo >>> 0) === DATA + (address & 0xfffn) ? 'ok' : 'wrong physical address';
    }
    const vector = faultVector(mmu.fault);
    if (vector === 14) return `#PF(${PAGE_FAULT_ERROR.format(BigInt(faultErrorCode(mmu.fault)))})`;
    return vector === 12 ? '#SS' : vector === 13 ? '#GP' : `vector ${vector}`;
  }

  read(address: bigint): string {
    return this.access(address, Access.Read);
  }

  write(address: bigint): string {
    return this.access(address, Access.Write);
  }

  fetch(address: bigint): string {
    return this.access(address, Access.Fetch);
  }
}
