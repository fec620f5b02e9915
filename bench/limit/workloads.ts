/**
 * The workloads of the speed comparison, as limit.c has them: the same pages, frames, order and operations, so that the
 * checksums must agree. Ours run on the real MMU with all its semantics.
 */

import { Access } from '../../src/arch/access.ts';
import { PDE, PTE } from '../../src/arch/x86_64/entries.ts';
import { INTEL_COMPLETE } from '../../src/arch/x86_64/features.ts';
import { X86Mmu } from '../../src/arch/x86_64/mmu.ts';
import { CR0, CR4, EFER } from '../../src/arch/x86_64/registers.ts';
import { highHalf, lowHalf } from '../../src/base/u64.ts';
import { PhysicalMemory } from '../../src/hardware/physical-memory.ts';
import { PLAIN_TWO_LEVEL, type TlbProfile } from '../../src/hardware/retention.ts';

export const ACCESSES = 1 << 20;
const PAGES = 1 << 18;
export const DATA_PAGES = 32;
const ROOT = 0x1000n;
/** Bits 63:32 of the two mapped areas; their low halves are 0. */
export const MAPPED_HIGH = 0x7f00;
export const DATA_HIGH = 0x7e00;
const USER = Access.User;
const USER_WRITE = Access.User | Access.Write;

export interface Workload {
  readonly name: string;
  readonly what: string;
  /** The least fraction of C that the project promises; undefined: for information. */
  readonly target?: number;
  readonly baseHigh: number;
  readonly pages: number;
  readonly random: boolean;
  readonly kind: 'translate' | 'walk' | 'read';
}

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'tlb-l1-seq',
    what: 'L1 TLB hit, same page',
    target: 0.25,
    baseHigh: MAPPED_HIGH,
    pages: 32,
    random: false,
    kind: 'translate',
  },
  {
    name: 'tlb-l1-hit',
    what: 'L1 TLB hit, random way',
    target: 0.4,
    baseHigh: MAPPED_HIGH,
    pages: 32,
    random: true,
    kind: 'translate',
  },
  {
    name: 'tlb-l2-hit',
    what: 'L2 TLB hit',
    target: 0.35,
    baseHigh: MAPPED_HIGH,
    pages: 1024,
    random: true,
    kind: 'translate',
  },
  {
    name: 'tlb-walk-1g',
    what: 'miss + walk over 1 GiB',
    target: 0.3,
    baseHigh: MAPPED_HIGH,
    pages: PAGES,
    random: true,
    kind: 'translate',
  },
  {
    name: 'walk-hot',
    what: 'walk alone, 32 pages',
    target: 0.5,
    baseHigh: MAPPED_HIGH,
    pages: 32,
    random: true,
    kind: 'walk',
  },
  {
    name: 'walk-1g',
    what: 'walk alone, 1 GiB',
    baseHigh: MAPPED_HIGH,
    pages: PAGES,
    random: true,
    kind: 'walk',
  },
  {
    name: 'read64',
    what: 'translate and read 8 bytes, 64 a page',
    baseHigh: DATA_HIGH,
    pages: DATA_PAGES,
    random: false,
    kind: 'read',
  },
  {
    name: 'read64-random',
    what: 'the same, random pages',
    baseHigh: DATA_HIGH,
    pages: DATA_PAGES,
    random: true,
    kind: 'read',
  },
];

/** The simulated machine of the comparison: memory with its tables, and one CPU's MMU. */
export function buildMmu(profile: TlbProfile = PLAIN_TWO_LEVEL): X86Mmu {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 256n << 20n);
  mapEverything(leafWriter(memory));
  fillData(memory);
  const features = { ...INTEL_COMPLETE, maxPhysAddr: 46 };
  const mmu = new X86Mmu(memory, { features, profile });
  mmu.state.cr0 = CR0.half('PE', 'WP', 'PG').lo;
  mmu.state.cr3Lo = Number(ROOT) | 5;
  mmu.state.cr4 = CR4.half('PAE', 'PGE', 'PCIDE', 'SMEP', 'SMAP', 'PKE').lo;
  mmu.state.efer = EFER.half('LME', 'LMA', 'NXE').lo;
  mmu.state.pkru = 0x55555550;
  mmu.updateControls();
  return mmu;
}

/** Puts an entry for the page at a virtual address into the tables, with those above it. */
export type LeafWriter = (va: bigint, target: bigint) => void;

/** 1 GiB of pages on scattered frames, and the pages of data. */
export function mapEverything(map: LeafWriter): void {
  for (let i = 0; i < PAGES; i++) {
    const frame = (Math.imul(i, 2654435761) & 0xffffff) + 0x400000;
    map((BigInt(MAPPED_HIGH) << 32n) + BigInt(i) * 4096n, BigInt(frame) << 12n);
  }
  for (let i = 0; i < DATA_PAGES; i++) {
    map((BigInt(DATA_HIGH) << 32n) + BigInt(i) * 4096n, BigInt(dataFrame(i)) << 12n);
  }
}

/** The frame of page `i` of the data. */
export const dataFrame = (i: number): number => 0x4000 + ((Math.imul(i, 2654435761) >>> 4) & 0x3fff);

/** Writes the contents of the data. */
export function fillData(memory: PhysicalMemory): void {
  for (let i = 0; i < DATA_PAGES; i++) {
    const frame = dataFrame(i);
    for (let word = 0; word < 512; word++) {
      memory.write64(0, (frame << 12) + word * 8, i * 977 + word, Math.imul(word, 2654435761));
    }
  }
}

const TABLE_FLAGS = PDE.mask('P', 'RW', 'US');
const LEAF_FLAGS = PTE.mask('P', 'RW', 'US', 'XD');

function leafWriter(memory: PhysicalMemory): LeafWriter {
  let next = 0x2000n;
  return (va, target) => {
    let table = ROOT;
    for (let shift = 39n; shift > 12n; shift -= 9n) {
      const at = table + ((va >> shift) & 511n) * 8n;
      let entry = memory.readWord(at) as bigint;
      if (entry === 0n) {
        entry = next | TABLE_FLAGS;
        next += 4096n;
        memory.writeWord(at, entry);
      }
      table = PDE.get(entry, 'TABLE');
    }
    memory.writeWord(table + ((va >> 12n) & 511n) * 8n, target | LEAF_FLAGS);
  };
}

/** The addresses of a workload: high and low half of access i at 2i and 2i + 1. */
export function makeStream(workload: Workload): Int32Array {
  const stream = new Int32Array(2 * ACCESSES);
  const base = BigInt(workload.baseHigh) << 32n;
  let state = 2463534242 | 0;
  for (let i = 0; i < ACCESSES; i++) {
    let page = i >> 6;
    if (workload.random) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      page = state;
    }
    const offset = (page & (workload.pages - 1)) * 4096 + ((Math.imul(i, 40503) & 511) << 3);
    stream[2 * i] = highHalf(base + BigInt(offset));
    stream[2 * i + 1] = lowHalf(BigInt(offset));
  }
  return stream;
}

/** One pass over a stream. @returns the checksum, as an unsigned number */
export function runPass(mmu: X86Mmu, workload: Workload, stream: Int32Array): number {
  if (workload.kind === 'read') return runRead(mmu, stream) >>> 0;
  return (workload.kind === 'walk' ? runWalk(mmu, stream) : runTranslate(mmu, stream)) >>> 0;
}

function runTranslate(mmu: X86Mmu, stream: Int32Array): number {
  const user = USER;
  const userWrite = USER_WRITE;
  const accesses = stream.length / 2;
  let sum = 0;
  for (let i = 0; i < accesses; i++) {
    const access = (i & 3) === 0 ? userWrite : user;
    if (mmu.translate(stream[2 * i] as number, stream[2 * i + 1] as number, access) !== 0) return 0xdead;
    const paHi = mmu.paHi;
    sum = (sum + (((mmu.paLo >>> 3) | (paHi << 29)) ^ paHi)) | 0;
  }
  return sum;
}

function runWalk(mmu: X86Mmu, stream: Int32Array): number {
  const user = USER;
  const userWrite = USER_WRITE;
  const accesses = stream.length / 2;
  let sum = 0;
  for (let i = 0; i < accesses; i++) {
    const access = (i & 3) === 0 ? userWrite : user;
    if (mmu.walkUncached(stream[2 * i] as number, stream[2 * i + 1] as number, access) !== 0) return 0xdead;
    const paHi = mmu.paHi;
    sum = (sum + (((mmu.paLo >>> 3) | (paHi << 29)) ^ paHi)) | 0;
  }
  return sum;
}

function runRead(mmu: X86Mmu, stream: Int32Array): number {
  const user = USER;
  const accesses = stream.length / 2;
  let sum = 0;
  for (let i = 0; i < accesses; i++) {
    if (mmu.read64(stream[2 * i] as number, stream[2 * i + 1] as number, user) !== 0) return 0xdead;
    sum = (sum + (mmu.valueLo ^ mmu.valueHi)) | 0;
  }
  return sum;
}
