/** Runs of contiguous ptes, made and broken up under an MMU that keeps what it may. @see Linux arch/arm64/mm/contpte.c */
import { beforeEach, describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { ARM64_COMPLETE } from '../../../../src/arch/arm64/features.ts';
import { ContiguousPtes } from '../../../../src/arch/arm64/kernel/contpte.ts';
import { setUpCpu } from '../../../../src/arch/arm64/kernel/cpu-setup.ts';
import { Arm64PagingFormat } from '../../../../src/arch/arm64/kernel/paging-format.ts';
import { Arm64Mmu } from '../../../../src/arch/arm64/mmu.ts';
import { tlbiAndComplete } from '../../../../src/arch/arm64/shareability-domain.ts';
import type { PteTable } from '../../../../src/arch/contiguous-entries.ts';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { atomically, PointKind, SchedPoint, SharedObject, type Task } from '../../../../src/base/task.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';

const { Present, Read, Write, User, Young, Dirty, Special, Cont, Protnone } = EntryFlag;
const RW = Present | Read | User | Write;
const format = new Arm64PagingFormat({ granule: 12, addressSize: 48 });
const contiguous = new ContiguousPtes(format);
const TABLE = 4n << 12n;
const FOLIO = { firstFrame: 0x100, frames: 16 };

/** A last-level table with its MMU; page numbers are indexes. */
class Tables implements PteTable {
  readonly memory = new PhysicalMemory();
  readonly mmu: Arm64Mmu;
  readonly setEntry = new SchedPoint(PointKind.Write, new SharedObject('table'), 'set_pte_at');
  readonly flushed: [number, number][] = [];
  /** Entries of the run that were valid with and without the Contiguous bit at one time. */
  mixed = 0;

  constructor() {
    this.memory.addRegion(0n, 1n << 22n);
    this.mmu = new Arm64Mmu(this.memory, { features: ARM64_COMPLETE, retention: 'adversarial' });
    setUpCpu(this.mmu.state, ARM64_COMPLETE, format);
    this.mmu.state.ttbr0Lo = 0x1000;
    this.mmu.updateControls();
    const entry: Halves = { hi: 0, lo: 0 };
    for (const level of [0, 1, 2]) {
      format.packTable(level + 2, level, entry);
      this.memory.writeWord(BigInt(level + 1) << 12n, fromHalves(entry.hi, entry.lo));
    }
  }

  read(index: number, out: Halves): void {
    const word = this.memory.readWord(TABLE + BigInt(index * 8)) as bigint;
    out.hi = highHalf(word);
    out.lo = lowHalf(word);
  }

  write(index: number, { hi, lo }: Readonly<Halves>): void {
    this.memory.writeWord(TABLE + BigInt(index * 8), fromHalves(hi, lo));
    const kinds = new Set<boolean>();
    for (let at = 0; at < 16; at++) {
      if ((this.flags(at) & Present) !== 0) kinds.add((this.flags(at) & Cont) !== 0);
    }
    if (kinds.size > 1) this.mixed++;
  }

  set(index: number, frame: number, flags: number): void {
    const entry: Halves = { hi: 0, lo: 0 };
    if (flags !== 0) format.pack(frame, flags, 3, entry);
    this.write(index, entry);
  }

  flags(index: number): number {
    const entry: Halves = { hi: 0, lo: 0 };
    this.read(index, entry);
    return format.flagsOf(entry.hi, entry.lo, 3);
  }

  flush = (start: number, end: number): Task<void> => {
    const { flushed, mmu } = this;
    return atomically(() => {
      flushed.push([start, end]);
      tlbiAndComplete(mmu, 'VMALLE1');
    });
  };

  /** Frame that an access by the program reaches, -1 when it faults. */
  access(index: number, access: number = Access.Read): number {
    const refused = this.mmu.translate(0, index * 4096, access | Access.User) !== 0;
    return refused ? -1 : this.mmu.paLo >>> 12;
  }
}

function finish<T>(task: Task<T>): T {
  for (;;) {
    const step = task.next();
    if (step.done === true) return step.value;
  }
}

let tables: Tables;
beforeEach(() => {
  tables = new Tables();
});

const fill = (flags: (at: number) => number = () => RW, frame = (at: number): number => 0x100 + at): void => {
  for (let at = 0; at < 16; at++) tables.set(at, frame(at), flags(at));
};
const fold = (index = 15, folio = FOLIO): boolean =>
  finish(contiguous.tryFold(tables, index, index, folio, tables.flush));

describe('a run of 16 ptes', () => {
  it('is folded with its last entry: cleared, flushed, set', () => {
    fill();
    for (let at = 0; at < 15; at++) expect(fold(at)).toBe(false);
    tables.mixed = 0;
    expect(fold()).toBe(true);
    expect([tables.flushed, tables.mixed]).toEqual([[[0, 16]], 0]);
    for (let at = 0; at < 16; at++) {
      expect(tables.flags(at)).toBe(RW | Cont);
      expect(tables.access(at)).toBe(0x100 + at);
    }
  });

  it.each<[string, () => void, typeof FOLIO]>([
    ['a folio that begins within it', () => fill(), { firstFrame: 0x101, frames: 15 }],
    ['a folio that ends within it', () => fill(), { firstFrame: 0x100, frames: 15 }],
    ['a hole', () => fill((at) => (at === 7 ? 0 : RW)), FOLIO],
    ['a frame that does not follow', () => fill(undefined, (at) => (at === 7 ? 0x200 : 0x100 + at)), FOLIO],
    [
      'frames that are not aligned',
      () => fill(undefined, (at) => 0x101 + at),
      { firstFrame: 0x100, frames: 32 },
    ],
    ['another right', () => fill((at) => (at === 7 ? RW & ~Write : RW)), FOLIO],
    ['special entries', () => fill(() => RW | Special), FOLIO],
    ['no access', () => fill(() => Present | Read | Protnone), FOLIO],
  ])('is not folded: %s', (_name, prepare, folio) => {
    prepare();
    expect(fold(15, folio)).toBe(false);
    expect(tables.flushed).toEqual([]);
  });
});

describe('what a run of 16 ptes notes', () => {
  it('is what any of its entries has noted', () => {
    fill((at) => RW | (at === 3 ? Young : 0) | (at === 5 ? Dirty : 0));
    expect(fold()).toBe(true);
    for (let at = 0; at < 16; at++) expect(tables.flags(at)).toBe(RW | Cont | Young | Dirty);
  });

  it('shows at all of them what the hardware notes in one, and stays when the run is broken up', () => {
    fill();
    fold();
    expect(tables.access(9, Access.Write)).toBe(0x109);
    expect(tables.flags(9) & Dirty).toBe(Dirty);
    expect(tables.flags(2) & (Young | Dirty)).toBe(0);
    expect(contiguous.flagsOf(tables, 2)).toBe(RW | Cont | Young | Dirty);
    expect(finish(contiguous.tryUnfold(tables, 2, 2, tables.flush))).toBe(true);
    expect([tables.flags(2), tables.flags(9)]).toEqual([RW | Young | Dirty, RW | Young | Dirty]);
    expect(tables.mixed).toBe(0);
    expect(finish(contiguous.tryUnfold(tables, 2, 2, tables.flush))).toBe(false);
  });

  it('becomes young and dirty as a whole by a fault, with one flush', () => {
    fill();
    fold();
    tables.flushed.length = 0;
    const set = (flags: number): boolean =>
      finish(contiguous.setAccessFlags(tables, 4, 4, flags, tables.flush));
    expect(set(Young | Dirty)).toBe(true);
    expect(set(Young)).toBe(false);
    expect(tables.flushed).toEqual([[0, 16]]);
    for (let at = 0; at < 16; at++) expect(tables.flags(at)).toBe(RW | Cont | Young | Dirty);
  });

  it('is broken up when one entry becomes writable', () => {
    fill(() => RW & ~Write);
    fold();
    expect(tables.access(4)).toBe(0x104);
    tables.flushed.length = 0;
    finish(contiguous.setAccessFlags(tables, 4, 4, Young | Dirty | Write, tables.flush));
    expect(tables.flushed).toEqual([
      [0, 16],
      [4, 5],
    ]);
    expect([tables.flags(4), tables.flags(5) & (Write | Cont)]).toEqual([RW | Young | Dirty, 0]);
    expect([tables.access(4, Access.Write), tables.access(5, Access.Write)]).toEqual([0x104, -1]);
    expect(tables.mixed).toBe(0);
  });
});

it.each([
  [12, 16],
  [14, 128],
  [16, 32],
] as const)('a run with pages of 2^%i bytes has %i entries', (granule, count) => {
  expect(new ContiguousPtes(new Arm64PagingFormat({ granule, addressSize: 48 })).count).toBe(count);
});
