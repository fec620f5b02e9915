/** The page tables of an x86-64 dump: what is listed, translated and compared. */
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { Entry } from '../../arch/x86_64/entries.ts';
import { InputError } from '../../base/input-error.ts';
import { CoreMemory } from '../core/core-memory.ts';
import type { ElfCore } from '../core/elf-core.ts';
import type { DumpStateOptions } from './dump-options.ts';
import type { DumpTranslator } from './dump-translator.ts';
import type { LeafVisitor } from './leaves.ts';
import { type MappingList, mergeLeaves } from './mapping-list.ts';
import type { TruthFormat, TruthVisitor } from './truth.ts';
import { visitLeaves, type X86Leaf } from './x86_64-leaves.ts';
import { explainX86, x86Translator } from './x86_64-mmu.ts';
import { X86_RANGE_RULES, type X86Rights } from './x86_64-ranges.ts';
import { pagingLevels, rootFrame, type X86DumpState, x86DumpState } from './x86_64-state.ts';

/** Rows of QEMU's `info tlb`, with the nine places of its flags; single addresses without flags. */
const X86_TRUTH: TruthFormat = {
  sizes: [2 ** 12, 2 ** 21, 2 ** 30],
  flags: /^[X-][G-][P-][D-][A-][C-][T-][U-][W-]$/,
  flagsMeaning: 'nine places "XGPDACTUW", "-" where clear',
  modes: [],
};

/** QEMU's nine places: no-execute, global, bit 7, dirty, accessed, PCD, PWT, user, writable, of the last entry. */
const PLACES: readonly (readonly [letter: string, high: boolean, bit: number])[] = [
  ['X', true, Entry.XD_HIGH],
  ['G', false, Entry.G],
  ['P', false, Entry.PS],
  ['D', false, Entry.D],
  ['A', false, Entry.A],
  ['C', false, 1 << 4],
  ['T', false, 1 << 3],
  ['U', false, Entry.US],
  ['W', false, Entry.RW],
];

function monitorFlags(leaf: Readonly<X86Leaf>): string {
  return PLACES.map(([letter, high, bit]) =>
    ((high ? leaf.entryHi : leaf.entryLo) & bit) !== 0 ? letter : '-',
  ).join('');
}

export class X86Dump {
  readonly arch = 'x86_64';
  readonly core: ElfCore;
  readonly memory: CoreMemory;
  readonly state: X86DumpState;
  readonly levels: 4 | 5;
  readonly truth = X86_TRUTH;

  /** @throws InputError for a malformed REGS.json, an unknown root, or an option of another architecture */
  constructor(core: ElfCore, options: DumpStateOptions) {
    const stray = (['ttbr0', 'ttbr1'] as const).find((name) => options[name] !== undefined);
    if (stray !== undefined) {
      throw new InputError(`option --${stray} is for AArch64 cores`, { file: core.file, expected: '--cr3' });
    }
    this.core = core;
    this.memory = new CoreMemory(core);
    this.state = x86DumpState(core, options);
    this.levels = pagingLevels(this.state.cr4);
  }

  visit(visitor: LeafVisitor<X86Leaf>): void {
    visitLeaves(this.memory, rootFrame(this.state.cr3), this.levels, this.state, visitor);
  }

  visitForTruth({ leaf, missing }: TruthVisitor): void {
    this.visit({ leaf: (found) => leaf(found, monitorFlags(found)), missing });
  }

  list(): MappingList<X86Rights> {
    return mergeLeaves(X86_RANGE_RULES, (visitor) => this.visit(visitor));
  }

  translator(): DumpTranslator {
    return x86Translator(this.memory, this.state);
  }

  /** One access, level by level. @param access `Access` bits */
  explain(address: bigint, access: number): ExplainedWalk {
    return explainX86(this.memory, this.state, address, access);
  }
}
