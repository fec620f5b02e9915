/** x86-64 page tables of Linux, walked by the x86-64 MMU, with 4 and 5 levels. */

import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { X86PagingFormat } from '../../../../src/arch/x86_64/kernel/paging-format.ts';
import { X86Mmu } from '../../../../src/arch/x86_64/mmu.ts';
import { CR0, CR4 } from '../../../../src/arch/x86_64/registers.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';
import { type HardwareOracle, hardwareLaws } from '../../../laws/hardware.ts';

/** Tables for one address, in the frames from 1 on. Without SMEP and SMAP: what the entries alone say. */
class Oracle implements HardwareOracle {
  readonly #memory = new PhysicalMemory();
  readonly #mmu: X86Mmu;

  constructor(format: X86PagingFormat, levels: 4 | 5) {
    this.#memory.addRegion(0n, 1n << 20n);
    const features = { ...INTEL_COMPLETE, physicalAddressBits: 52 } as const;
    this.#mmu = new X86Mmu(this.#memory, { features, retention: 'none' });
    const { state } = this.#mmu;
    state.cr0 = CR0.half('PE', 'ET', 'NE', 'WP', 'PG').lo;
    state.cr4 = CR4.half('PAE', ...(levels === 5 ? (['LA57'] as const) : [])).lo;
    state.cr3Lo = 0x1000;
    this.#mmu.updateControls();
    const entry: Halves = { hi: 0, lo: 0 };
    format.levels.slice(1).forEach((_, level) => {
      format.packTable(level + 2, level, entry);
      this.#memory.writeWord(addressOf(level), fromHalves(entry.hi, entry.lo));
    });
  }

  access(entry: Halves, level: number, access: number): number {
    const table = this.#memory.readWord(addressOf(level)) as bigint;
    this.#memory.writeWord(addressOf(level), fromHalves(entry.hi, entry.lo));
    const refused = this.#mmu.translate(0, 0, access) !== 0;
    const after = this.#memory.readWord(addressOf(level)) as bigint;
    entry.hi = highHalf(after);
    entry.lo = lowHalf(after);
    this.#memory.writeWord(addressOf(level), table);
    return refused ? -1 : Number(fromHalves(this.#mmu.paHi, this.#mmu.paLo) >> 12n);
  }
}

/** Index 0 of the table of a level. */
const addressOf = (level: number): bigint => BigInt(level + 1) << 12n;

for (const levels of [4, 5] as const) {
  const format = new X86PagingFormat({ levels, shadowStacks: false });
  hardwareLaws(format.name, {
    format,
    oracle: new Oracle(format, levels),
    setsYoung: true,
    setsDirty: true,
    executeOnly: false,
    privilegedExec: false,
    lacks: EntryFlag.Cont | EntryFlag.Guarded | EntryFlag.PrivilegedExec,
  });
}
