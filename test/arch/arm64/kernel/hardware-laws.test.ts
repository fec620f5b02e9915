/** arm64 page tables of Linux, walked by the arm64 MMU: three granules, 48 and 52 bits, with and without FEAT_HAFDBS. */
import { expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { ARM64_COMPLETE } from '../../../../src/arch/arm64/features.ts';
import { setUpCpu } from '../../../../src/arch/arm64/kernel/cpu-setup.ts';
import { LINUX_TABLE } from '../../../../src/arch/arm64/kernel/entry-layout.ts';
import { Arm64PagingFormat } from '../../../../src/arch/arm64/kernel/paging-format.ts';
import { Arm64Mmu } from '../../../../src/arch/arm64/mmu.ts';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';
import { type HardwareOracle, hardwareLaws } from '../../../laws/hardware.ts';

const PXN_TABLE = LINUX_TABLE.half('PXN').hi;

/** Tables for one address, in the frames from 1 on: as of the kernel, which execute where their leaves say so. */
class Oracle implements HardwareOracle {
  readonly #format: Arm64PagingFormat;
  readonly #memory = new PhysicalMemory();
  readonly #mmu: Arm64Mmu;

  constructor(format: Arm64PagingFormat, hafdbs: 0 | 1 | 2, userTables = false) {
    this.#format = format;
    this.#memory.addRegion(0n, 1n << 22n);
    const features = { ...ARM64_COMPLETE, hafdbs };
    this.#mmu = new Arm64Mmu(this.#memory, { features, retention: 'none' });
    const { state } = this.#mmu;
    setUpCpu(state, features, format);
    state.pan = false;
    state.ttbr0Lo = 1 << format.pageShift;
    this.#mmu.updateControls();
    const entry: Halves = { hi: 0, lo: 0 };
    format.levels.slice(1).forEach((_, level) => {
      format.packTable(level + 2, level, entry);
      if (!userTables) entry.hi &= ~PXN_TABLE;
      this.#write(level, entry);
    });
  }

  /** Index 0 of the table of a level. */
  #address(level: number): bigint {
    return BigInt(level + 1) << BigInt(this.#format.pageShift);
  }

  #write(level: number, { hi, lo }: Halves): void {
    this.#memory.writeWord(this.#address(level), fromHalves(hi, lo));
  }

  access(entry: Halves, level: number, access: number): number {
    const table = this.#memory.readWord(this.#address(level)) as bigint;
    this.#write(level, entry);
    const refused = this.#mmu.translate(0, 0, access) !== 0;
    const after = this.#memory.readWord(this.#address(level)) as bigint;
    entry.hi = highHalf(after);
    entry.lo = lowHalf(after);
    this.#memory.writeWord(this.#address(level), table);
    if (refused) return -1;
    return Number(fromHalves(this.#mmu.paHi, this.#mmu.paLo) >> BigInt(this.#format.pageShift));
  }
}

it('the kernel executes nothing through tables of user memory', () => {
  const format = new Arm64PagingFormat({ granule: 12, addressSize: 48 });
  const entry: Halves = { hi: 0, lo: 0 };
  format.pack(5, EntryFlag.Present | EntryFlag.Read | EntryFlag.Young | EntryFlag.PrivilegedExec, 3, entry);
  expect(new Oracle(format, 2).access(entry, 3, Access.Fetch)).toBe(5);
  expect(new Oracle(format, 2, true).access(entry, 3, Access.Fetch)).toBe(-1);
});

for (const granule of [12, 14, 16] as const) {
  for (const addressSize of [48, 52] as const) {
    for (const hafdbs of [0, 1, 2] as const) {
      const format = new Arm64PagingFormat({ granule, addressSize });
      hardwareLaws(`${format.name}, FEAT_HAFDBS ${hafdbs}`, {
        format,
        oracle: new Oracle(format, hafdbs),
        setsYoung: hafdbs >= 1,
        setsDirty: hafdbs >= 2,
        executeOnly: true,
        privilegedExec: true,
        lacks: EntryFlag.SoftDirty,
      });
    }
  }
}
