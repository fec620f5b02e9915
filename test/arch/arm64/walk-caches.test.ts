import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { EntrySource } from '../../../src/arch/walk-observer.ts';
import { Recorder } from './recorder.ts';
import { ROOT0, Stage1, type Stage1Options } from './stage1.ts';

describe('walk caches', () => {
  const options: Stage1Options = { retention: 'adversarial', asid: 7 };
  const PAGE = { AP: 1, AF: 1, PXN: 1, UXN: 1, nG: 1 };
  it('a walk begins after the lowest table that is cached', () => {
    const machine = new Stage1(options);
    machine.map(0x5000n, 0x7000n, PAGE);
    machine.map(0x6000n, 0x8000n, PAGE);
    machine.access(0x5000n);
    const recorder = new Recorder();
    machine.mmu.observer = recorder;
    expect(machine.access(0x6000n)).toBe(0x8000n);
    expect(recorder.entries.map(({ level, source }) => [level, source])).toEqual([
      [2, EntrySource.Cache],
      [1, EntrySource.Memory],
    ]);
  });

  it('keep hierarchical permissions, and belong to one ASID', () => {
    const machine = new Stage1(options);
    machine.descriptorAddress(0x5000n, 3, { APTable: 1 });
    machine.map(0x5000n, 0x7000n, PAGE);
    machine.map(0x6000n, 0x8000n, PAGE);
    expect(machine.access(0x5000n, Access.Read)).toBe(0x7000n);
    expect(machine.access(0x6000n)).toBe('Permission fault, level 3');
    // The tables are replaced without a TLBI: the old ones go on being used, by this ASID only.
    const top = machine.descriptorAddress(0x5000n, 0);
    machine.memory.writeWord(top, 0n);
    expect(machine.access(0x6000n, Access.Read)).toBe(0x8000n);
    machine.set('ttbr0', ROOT0 | (8n << 48n));
    machine.map(0x9000n, 0x9000n, PAGE);
    machine.memory.writeWord(top, 0n);
    expect(machine.access(0x6000n, Access.Read)).toBe('Translation fault, level 0');
  });

  it.each([12, 14, 16] as const)('serve every granule (2^%i), and both ranges', (granule) => {
    const machine = new Stage1({ ...options, granule, txsz: granule === 16 ? 12 : 16 });
    const page = 1n << BigInt(granule);
    for (const base of [0n, (1n << 64n) - 16n * page]) {
      for (let i = 0n; i < 16n; i++) {
        machine.map(base + i * page, (i + 3n) * 0x1_0000n, PAGE);
        expect(machine.access(base + i * page + 1n)).toBe((i + 3n) * 0x1_0000n + 1n);
      }
    }
    expect(machine.mmu.pagingStructure.count()).toBeGreaterThan(0);
  });
});
