/**
 * The MMU over a dump: the dump's registers, and as much of its memory as walks need. Where the dump holds no page
 * there is no memory, so a walk that needs a missing table ends in a bus error. Accessed and dirty flags are set in the
 * copy only.
 * The processor is taken to be Intel's with every feature that the registers may ask for; a core does not tell.
 */
import { Access } from '../../arch/access.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { FAULT_KIND_NAMES, FaultKind } from '../../arch/fault.ts';
import { Entry, levelShift, mapsPage } from '../../arch/x86_64/entries.ts';
import { explainWalk } from '../../arch/x86_64/explain.ts';
import { INTEL_COMPLETE } from '../../arch/x86_64/features.ts';
import { X86Mmu } from '../../arch/x86_64/mmu.ts';
import { CR4 } from '../../arch/x86_64/registers.ts';
import { type Halves, hexHalves, highHalf, lowHalf } from '../../base/u64.ts';
import { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { PageTableDump } from './page-table-dump.ts';
import { tableFrame } from './x86_64-leaves.ts';
import { rootFrame } from './x86_64-state.ts';

const PAGE_BYTES = 4096;

export interface DumpMmuOptions {
  /** CR4 in place of the dump's. */
  readonly cr4?: bigint;
  readonly retention?: Retention;
}

export class DumpMmu {
  readonly mmu: X86Mmu;
  readonly #dump: PageTableDump;
  readonly #memory = new PhysicalMemory();
  readonly #loaded = new Set<number>();
  readonly #page = new Uint8Array(PAGE_BYTES);

  constructor(dump: PageTableDump, options: DumpMmuOptions = {}) {
    this.#dump = dump;
    for (const { firstFrame, endFrame } of dump.memory.runs) {
      this.#memory.addRegion(BigInt(firstFrame) << 12n, BigInt(endFrame - firstFrame) << 12n);
    }
    const features = { ...INTEL_COMPLETE, maxPhysAddr: dump.state.maxPhysAddr };
    this.mmu = new X86Mmu(this.#memory, { features, retention: options.retention ?? 'profile' });
    this.#loadRegisters(options.cr4 ?? dump.state.cr4);
  }

  #loadRegisters(cr4: bigint): void {
    const { state } = this.mmu;
    const { cr0, cr3, efer, pkru } = this.#dump.state;
    state.cr0 = lowHalf(cr0);
    state.cr3Hi = highHalf(cr3);
    state.cr3Lo = lowHalf(cr3);
    state.cr4Hi = highHalf(cr4);
    state.cr4 = lowHalf(cr4);
    state.efer = lowHalf(efer);
    state.pkru = lowHalf(pkru);
    this.mmu.updateControls();
  }

  /**
   * Brings the tables on an address's path into memory: to be called before the MMU is given the address. It follows
   * entries and judges nothing.
   */
  prepare(hi: number, lo: number): void {
    let frame = rootFrame(this.#dump.state.cr3);
    const page = (hi >>> 0) * 2 ** 20 + (lo >>> 12);
    for (let level: number = this.#dump.levels; level >= 1; level--) {
      const table = this.#load(frame);
      if (table === undefined) return;
      const index = Math.floor(page / 2 ** (levelShift(level) - 12)) % 512;
      const entryLo = table[index * 2] as number;
      if ((entryLo & Entry.P) === 0 || mapsPage(level, entryLo)) return;
      frame = tableFrame(table[index * 2 + 1] as number, entryLo);
    }
  }

  #load(frame: number): Int32Array | undefined {
    const table = this.#dump.memory.table(frame);
    if (table === undefined || this.#loaded.has(frame)) return table;
    this.#dump.memory.readFrame(frame, this.#page);
    this.#memory.writeBytes(frame, 0, this.#page);
    this.#loaded.add(frame);
    return table;
  }

  /** One access, level by level. @param access `Access` bits */
  explain(address: bigint, access: number): ExplainedWalk {
    this.prepare(highHalf(address), lowHalf(address));
    return explainWalk(this.mmu, address, access);
  }
}

/** What the MMU says of one address. */
interface Translated {
  /** Null when it faults. */
  readonly physical: Halves | null;
  /** The address, or why there is none. */
  readonly text: string;
}

export interface DumpTranslator {
  translate(hi: number, lo: number): Translated;
}

/**
 * Asks only whether an address is mapped: a supervisor read, with SMAP and the protection keys off. It faults for a
 * non-canonical address, an entry that is not present, a reserved bit or a missing table, and for nothing else.
 */
export function presenceTranslator(dump: PageTableDump): DumpTranslator {
  const off = CR4.mask('SMAP', 'SMEP', 'PKE', 'PKS', 'LAM_SUP');
  const dumpMmu = new DumpMmu(dump, { cr4: dump.state.cr4 & ~off });
  return { translate: (hi, lo) => translateOnce(dumpMmu, hi, lo) };
}

function translateOnce(dumpMmu: DumpMmu, hi: number, lo: number): Translated {
  dumpMmu.prepare(hi, lo);
  const { mmu } = dumpMmu;
  const kind = mmu.translate(hi, lo, Access.Read);
  if (kind === FaultKind.None) {
    const physical = { hi: mmu.paHi, lo: mmu.paLo };
    return { physical, text: hexHalves(physical.hi, physical.lo) };
  }
  const { fault } = mmu;
  const entry = hexHalves(fault.entryHi, fault.entryLo);
  const at = fault.level === 0 ? '' : `, level ${fault.level} entry ${entry}`;
  return { physical: null, text: `no translation (${FAULT_KIND_NAMES[kind]}${at})` };
}
