/**
 * The arm64 rows of the speed comparison: the pages, frames, order and operations of the x86-64 rows on an MMU with 4 KiB
 * granules, 4 levels, the top byte ignored, and Access flag and dirty state kept by hardware; then the same memory with
 * tags that are checked synchronously. What both architectures do gives the same checksums.
 */

import { Access } from '../../src/arch/access.ts';
import { pageLayout, tableLayout } from '../../src/arch/arm64/entries.ts';
import { ARM64_RECORDED } from '../../src/arch/arm64/features.ts';
import { Arm64Mmu } from '../../src/arch/arm64/mmu.ts';
import { TCR_EL1 } from '../../src/arch/arm64/registers.ts';
import { SCTLR_EL1, TTBR0_EL1 } from '../../src/arch/arm64/system-registers.ts';
import { highHalf, lowHalf } from '../../src/base/u64.ts';
import { PhysicalMemory } from '../../src/hardware/physical-memory.ts';
import { PLAIN_TWO_LEVEL, type Retention } from '../../src/hardware/retention.ts';
import { type Measure, measure, type Round } from './measure.ts';
import {
  ACCESSES,
  DATA_HIGH,
  DATA_PAGES,
  dataFrame,
  fillData,
  type LeafWriter,
  MAPPED_HIGH,
  makeStream,
  mapEverything,
  type Workload,
} from './workloads.ts';

const ROOT = 0x1000n;
const ASID = 5n;
/** MAIR_EL1: 0 Normal, 1 Tagged Normal. */
const MAIR = 0xf0ff;
const GRANULE_BYTES = 16;
const USER = Access.User;
const USER_WRITE = Access.User | Access.Write;

export interface Arm64Workload extends Workload {
  /** Tags are checked synchronously. */
  readonly checked: boolean;
  /** No TLB: every access walks. */
  readonly uncached: boolean;
  /** The x86-64 row that it is compared with. */
  readonly base: string;
  /** Computes the same as that row. */
  readonly same: boolean;
}

const row = (
  name: string,
  what: string,
  base: string,
  rest: Pick<Workload, 'kind'> & Partial<Arm64Workload>,
): Arm64Workload => ({
  name,
  what,
  base,
  baseHigh: MAPPED_HIGH,
  pages: 32,
  random: true,
  checked: false,
  uncached: false,
  same: true,
  ...rest,
});

export const ARM64_WORKLOADS: readonly Arm64Workload[] = [
  row('a64-walk-hot', 'walk alone, 32 pages', 'walk-hot', { kind: 'walk', target: 0.8 }),
  row('a64-walk-1g', 'walk alone, 1 GiB', 'walk-1g', { kind: 'walk', target: 0.8, pages: 1 << 18 }),
  row('a64-walk-sync', 'walk, read, tag check; 64 a page', 'walk-hot', {
    kind: 'read',
    target: 0.5,
    random: false,
    baseHigh: DATA_HIGH,
    checked: true,
    uncached: true,
    same: false,
  }),
  row('a64-l1-hit', 'L1 TLB hit, random way', 'tlb-l1-hit', { kind: 'translate' }),
  row('a64-read64', 'translate and read 8 bytes', 'read64-random', { kind: 'read', baseHigh: DATA_HIGH }),
  row('a64-read64-sync', 'the same, tag checked', 'read64-random', {
    kind: 'read',
    baseHigh: DATA_HIGH,
    checked: true,
  }),
];

/** The machines of the rows, each with its own memory, and their streams of addresses. */
export class Arm64Bench {
  readonly #plain = buildMmu(false, 'profile');
  readonly #checked = buildMmu(true, 'profile');
  readonly #checkedWalks = buildMmu(true, 'none');
  readonly #streams = new Map(ARM64_WORKLOADS.map((workload) => [workload.name, streamOf(workload)]));

  measure(): Round {
    const round = new Map<string, Measure>();
    for (const workload of ARM64_WORKLOADS) {
      this.#mmuOf(workload).reset();
      round.set(
        workload.name,
        measure(ACCESSES, () => this.pass(workload)),
      );
    }
    return round;
  }

  /** One pass over the stream of a workload. @returns the checksum, as an unsigned number */
  pass(workload: Arm64Workload): number {
    const mmu = this.#mmuOf(workload);
    const stream = this.#streams.get(workload.name) as Int32Array;
    if (workload.kind === 'read') return runRead(mmu, stream) >>> 0;
    return (workload.kind === 'walk' ? runWalk(mmu, stream) : runTranslate(mmu, stream)) >>> 0;
  }

  #mmuOf({ checked, uncached }: Arm64Workload): Arm64Mmu {
    if (!checked) return this.#plain;
    return uncached ? this.#checkedWalks : this.#checked;
  }
}

/** Every granule has a tag of its own, which its addresses carry. */
const tagAt = (offset: number): number => (offset >>> 4) & 15;

function streamOf(workload: Arm64Workload): Int32Array {
  const stream = makeStream(workload);
  if (!workload.checked) return stream;
  for (let i = 0; i < stream.length; i += 2) {
    stream[i] = (stream[i] as number) | (tagAt(stream[i + 1] as number) << 24);
  }
  return stream;
}

function buildMmu(checked: boolean, retention: Retention): Arm64Mmu {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 256n << 20n);
  mapEverything(leafWriter(memory, checked));
  const mmu = new Arm64Mmu(memory, { features: ARM64_RECORDED, profile: PLAIN_TWO_LEVEL, retention });
  const { state } = mmu;
  const tcr = TCR_EL1.encode({ T0SZ: 16, EPD1: 1, IPS: 5, AS: 1, TBI0: 1, HA: 1, HD: 1 });
  const mte = checked ? { ATA0: 1, TCF0: 1 } : {};
  const sctlr = SCTLR_EL1.encode({ M: 1, C: 1, I: 1, ...mte });
  const ttbr = TTBR0_EL1.encode({ ASID, BADDR: ROOT });
  [state.tcrHi, state.tcrLo] = [highHalf(tcr), lowHalf(tcr)];
  [state.sctlrHi, state.sctlrLo] = [highHalf(sctlr), lowHalf(sctlr)];
  [state.ttbr0Hi, state.ttbr0Lo] = [highHalf(ttbr), lowHalf(ttbr)];
  state.mairLo = MAIR;
  mmu.updateControls();
  fillData(memory);
  if (checked) fillTags(memory);
  return mmu;
}

function fillTags(memory: PhysicalMemory): void {
  for (let i = 0; i < DATA_PAGES; i++) {
    for (let at = 0; at < 4096; at += GRANULE_BYTES)
      memory.tags?.setTag(0, (dataFrame(i) << 12) + at, tagAt(at));
  }
}

const context = (level: number) => ({ granule: 12, level, lpa: false }) as const;

function leafWriter(memory: PhysicalMemory, tagged: boolean): LeafWriter {
  const leaf = pageLayout(context(3)).encode({
    VALID: 1,
    TYPE: 1,
    AttrIndx: tagged ? 1 : 0,
    // Read-only with DBM: writable, and clean until it is written.
    AP: 3,
    DBM: 1,
    SH: 3,
    AF: 1,
    nG: 1,
    PXN: 1,
    UXN: 1,
  });
  const tables = [0, 1, 2].map((level) => tableLayout(context(level)));
  let next = ROOT + 4096n;
  return (va, target) => {
    let table = ROOT;
    for (const [level, layout] of tables.entries()) {
      const at = table + ((va >> BigInt(39 - 9 * level)) & 511n) * 8n;
      let entry = memory.readWord(at) as bigint;
      if (entry === 0n) {
        entry = layout.encode({ VALID: 1, TYPE: 1, ADDRESS: next });
        next += 4096n;
        memory.writeWord(at, entry);
      }
      table = layout.get(entry, 'ADDRESS');
    }
    memory.writeWord(table + ((va >> 12n) & 511n) * 8n, target | leaf);
  };
}

// As those of workloads.ts, in functions of their own: shared ones would see both architectures' classes.

function runTranslate(mmu: Arm64Mmu, stream: Int32Array): number {
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

function runWalk(mmu: Arm64Mmu, stream: Int32Array): number {
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

function runRead(mmu: Arm64Mmu, stream: Int32Array): number {
  const user = USER;
  const accesses = stream.length / 2;
  let sum = 0;
  for (let i = 0; i < accesses; i++) {
    if (mmu.read64(stream[2 * i] as number, stream[2 * i + 1] as number, user) !== 0) return 0xdead;
    sum = (sum + (mmu.valueLo ^ mmu.valueHi)) | 0;
  }
  return sum;
}
