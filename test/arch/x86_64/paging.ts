/** A small machine for the tests of the MMU: memory, one MMU, and a mapper that builds tables as asked. */
import { Access } from '../../../src/arch/access.ts';
import { entryLayout, levelShift, PDE, PTE } from '../../../src/arch/x86_64/entries.ts';
import { faultErrorCode, faultVector } from '../../../src/arch/x86_64/fault-code.ts';
import { type CpuFeatures, INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import { X86Mmu } from '../../../src/arch/x86_64/mmu.ts';
import { CR4, EFER } from '../../../src/arch/x86_64/registers.ts';
import { fromHalves, highHalf, lowHalf } from '../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';
import type { Retention } from '../../../src/hardware/retention.ts';

export const ROOT = 0x1000n;
export const TABLE = PDE.mask('P', 'RW', 'US', 'A');
export const USER_PAGE = PTE.mask('P', 'RW', 'US');

type Cr4Name = 'PGE' | 'PCIDE' | 'SMEP' | 'SMAP' | 'PKE' | 'PKS' | 'CET' | 'LA57' | 'LAM_SUP';

export class Paging {
  readonly memory = new PhysicalMemory();
  readonly mmu: X86Mmu;
  #next = 0x10_0000n;

  constructor(
    options: {
      readonly retention?: Retention;
      readonly features?: CpuFeatures;
      readonly cr4?: readonly Cr4Name[];
    } = {},
  ) {
    this.memory.addRegion(0n, 1n << 36n);
    this.mmu = new X86Mmu(this.memory, {
      features: options.features ?? INTEL_COMPLETE,
      retention: options.retention ?? 'profile',
    });
    this.mmu.state.cr3Lo = Number(ROOT);
    this.mmu.state.cr4 = CR4.half('PAE', ...(options.cr4 ?? [])).lo;
    this.mmu.state.efer = EFER.half('LME', 'LMA', 'NXE').lo;
    this.mmu.updateControls();
  }

  /** Physical address of the entry of `level` that translates `va`; missing tables are made with `flags`. */
  entryAddress(va: bigint, level: number, flags = TABLE, root = ROOT): bigint {
    let table = root;
    for (let at = this.mmu.walker.topLevel; ; at--) {
      const address = table + ((va >> BigInt(levelShift(at))) & 511n) * 8n;
      if (at === level) return address;
      let entry = this.memory.readWord(address) as bigint;
      if (entry === 0n) {
        entry = this.#next | flags;
        this.#next += 0x1000n;
        this.memory.writeWord(address, entry);
      }
      table = PDE.get(entry, 'TABLE');
    }
  }

  /** Maps a page of the size of `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB). @returns the entry's address */
  map(va: bigint, pa: bigint, flags = USER_PAGE, level = 1, root = ROOT): bigint {
    const address = this.entryAddress(va, level, TABLE, root);
    this.memory.writeWord(address, pa | flags | (level > 1 ? entryLayout(level, true).mask('PS') : 0n));
    return address;
  }

  /** The outcome of an access: the physical address, or "#PF 7" and the like. */
  access(va: bigint, access: number = Access.User): bigint | string {
    const { mmu } = this;
    if (mmu.translate(highHalf(va), lowHalf(va), access) === 0) return fromHalves(mmu.paHi, mmu.paLo);
    const name = { 12: '#SS', 13: '#GP', 14: '#PF', 18: '#MC' }[faultVector(mmu.fault)];
    return `${name} ${faultErrorCode(mmu.fault).toString(16)}`;
  }
}
