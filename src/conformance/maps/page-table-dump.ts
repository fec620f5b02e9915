/**
 * The page tables of a dump, ready to be listed, translated through and compared: core, registers and top table.
 * x86-64 only so far; a core of another machine is refused by name.
 */
import { InputError } from '../../base/input-error.ts';
import { CoreMemory } from '../core/core-memory.ts';
import { type ElfCore, Machine, openElfCore } from '../core/elf-core.ts';
import { type MappedRange, RangeMerger } from './ranges.ts';
import { type LeafVisitor, type MissingTable, visitLeaves } from './x86_64-leaves.ts';
import {
  type DumpStateOptions,
  pagingLevels,
  rootFrame,
  type X86DumpState,
  x86DumpState,
} from './x86_64-state.ts';

export interface PageTableDump {
  readonly core: ElfCore;
  readonly memory: CoreMemory;
  readonly state: X86DumpState;
  readonly levels: 4 | 5;
}

/**
 * Opens a core, .gz too, with the registers of `options`.
 * @throws InputError for a malformed core or REGS.json, an unknown root, or a machine that is not supported yet
 */
export async function openPageTableDump(
  file: string,
  options: DumpStateOptions = {},
): Promise<PageTableDump> {
  return pageTableDump(await openElfCore(file), options);
}

/** The same of a core that is already open. */
export function pageTableDump(core: ElfCore, options: DumpStateOptions = {}): PageTableDump {
  if (core.machine !== Machine.X86_64) {
    throw new InputError('page tables of AArch64 cores are not supported yet', {
      file: core.file,
      expected: 'e_machine 62 (x86-64)',
      found: `${core.machine}`,
    });
  }
  const state = x86DumpState(core, options);
  return { core, memory: new CoreMemory(core), state, levels: pagingLevels(state.cr4) };
}

/** Every mapping, merged, and every table that the dump should hold and does not. */
export interface MappingList {
  readonly ranges: readonly MappedRange[];
  readonly missing: readonly MissingTable[];
  /** Leaf entries before merging. */
  readonly leaves: number;
}

/** Visits every leaf under the dump's top table, in ascending order. */
export function visitDump(dump: PageTableDump, visitor: LeafVisitor): void {
  const { memory, state, levels } = dump;
  visitLeaves(memory, rootFrame(state.cr3), levels, state, visitor);
}

export function listMappings(dump: PageTableDump): MappingList {
  const merger = new RangeMerger();
  const missing: MissingTable[] = [];
  let leaves = 0;
  visitDump(dump, {
    leaf: (leaf) => {
      leaves++;
      merger.add(leaf);
    },
    missing: (table) => missing.push(table),
  });
  return { ranges: merger.ranges, missing, leaves };
}
