/** arm64 page tables of Linux, walked by the arm64 MMU: three granules, 48 and 52 bits, with and without FEAT_HAFDBS. */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { ARM64_COMPLETE } from '../../../../src/arch/arm64/features.ts';
import { setUpCpu } from '../../../../src/arch/arm64/kernel/cpu-setup.ts';
import { LINUX_TABLE } from '../../../../src/arch/arm64/kernel/entry-layout.ts';
import { Arm64PagingFormat } from '../../../../src/arch/arm64/kernel/paging-format.ts';
import { pageProtection } from '../../../../src/arch/arm64/kernel/protection-map.ts';
import { Arm64Mmu } from '../../../../src/arch/arm64/mmu.ts';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { VmAccess } from '../../../../src/arch/vm-access.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';
import { type HardwareOracle, hardwareLaws } from '../../../laws/hardware.ts';

const PXN_TABLE = LINUX_TABLE.half('PXN').hi;

/** Tables for one address, in the frames from 1 on: as of the kernel, which execute where their leaves say so. */
class Oracle implements HardwareOracle {
  readonly #format: Arm64PagingFormat;
  readonly #memory = new PhysicalMemory();
  readonly #mmu: Arm64Mmu;

  constructor(format: Arm64PagingFormat, hafdbs: 0 | 1 | 2, { userTables = false, indirect = false } = {}) {
    this.#format = format;
    this.#memory.addRegion(0n, 1n << 22n);
    const features = { ...ARM64_COMPLETE, hafdbs, s1pie: indirect };
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
  expect(new Oracle(format, 2, { userTables: true }).access(entry, 3, Access.Fetch)).toBe(-1);
});

describe('permission indirection as the kernel sets it up', () => {
  const format = new Arm64PagingFormat({ granule: 12, addressSize: 48 });
  const noted = [0, EntryFlag.Write, EntryFlag.Write | EntryFlag.Dirty, EntryFlag.Dirty];
  const kinds = { read: Access.Read, write: Access.Write, fetch: Access.Fetch } as const;
  const rows = [0, 1, 2].flatMap((hafdbs) =>
    noted.flatMap((more) =>
      Object.entries(kinds).flatMap(([kind, access]) =>
        [0, Access.User].map(
          (user) => [hafdbs as 0 | 1 | 2, more, user === 0 ? 'EL1' : 'EL0', kind, access | user] as const,
        ),
      ),
    ),
  );

  /** Fresh leaves of all mappings there are, and what becomes of those of user mode. */
  const leaves = (more: number): readonly { readonly flags: number; readonly executeOnly: boolean }[] =>
    Array.from({ length: 16 }, (_, vmFlags) => {
      const flags = pageProtection(vmFlags, 0, { epan: true });
      const own = (flags & EntryFlag.User) === 0 ? flags : flags | more;
      return { flags: own, executeOnly: (vmFlags & 7) === VmAccess.Exec };
    });

  it.each(rows)('FEAT_HAFDBS %i, leaf with 0x%x more, %s, %s', (hafdbs, more, el, kind, access) => {
    const direct = new Oracle(format, hafdbs);
    const indirect = new Oracle(format, hafdbs, { indirect: true });
    const entry: Halves = { hi: 0, lo: 0 };
    for (const { flags, executeOnly } of leaves(more)) {
      format.pack(5, flags, 3, entry);
      const [one, other] = [{ ...entry }, { ...entry }];
      const expected = direct.access(one, 3, access);
      const reached = indirect.access(other, 3, access);
      // The one difference to direct permissions: EL1 does not read what EL0 may only execute.
      if (executeOnly && el === 'EL1' && kind === 'read') expect(reached).toBe(-1);
      else expect([reached, other]).toEqual([expected, one]);
    }
  });
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
