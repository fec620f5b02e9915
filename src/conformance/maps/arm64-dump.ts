/** The page tables of an AArch64 dump: what is listed, translated and compared. */
import { SCTLR_EL1 } from '../../arch/arm64/system-registers.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { InputError } from '../../base/input-error.ts';
import { CoreMemory } from '../core/core-memory.ts';
import type { ElfCore } from '../core/elf-core.ts';
import { type Arm64Leaf, visitLeaves } from './arm64-leaves.ts';
import { ARM64_MODES, Arm64RightsOracle, arm64Translator, explainArm64 } from './arm64-mmu.ts';
import { Arm64RangeRules, type Arm64Rights } from './arm64-ranges.ts';
import { type Arm64NoRegion, type Arm64Region, regionOf } from './arm64-regions.ts';
import { type Arm64DumpState, arm64DumpState } from './arm64-state.ts';
import type { DumpStateOptions } from './dump-options.ts';
import type { DumpTranslator } from './dump-translator.ts';
import type { LeafVisitor } from './leaves.ts';
import { type MappingList, mergeLeaves } from './mapping-list.ts';
import type { TruthFormat, TruthVisitor } from './truth.ts';

/** Single addresses, with the modes in which a read of them translates. */
const ARM64_TRUTH: TruthFormat = { sizes: [], flags: /^$/, flagsMeaning: '', modes: ARM64_MODES };

export class Arm64Dump {
  readonly arch = 'arm64';
  readonly core: ElfCore;
  readonly memory: CoreMemory;
  readonly state: Arm64DumpState;
  /** The halves that have tables, the lower one first. */
  readonly regions: readonly Arm64Region[];
  /** The halves that have none. */
  readonly without: readonly Arm64NoRegion[];
  readonly truth = ARM64_TRUTH;

  /** @throws InputError for a missing or malformed REGS.json, an unknown root, or an option of another architecture */
  constructor(core: ElfCore, options: DumpStateOptions) {
    const stray = (['cr3', 'cpu'] as const).find((name) => options[name] !== undefined);
    if (stray !== undefined) {
      throw new InputError(`option --${stray} is for x86-64 cores`, {
        file: core.file,
        expected: '--regs, with --root, --ttbr0 or --ttbr1',
      });
    }
    this.core = core;
    this.memory = new CoreMemory(core);
    this.state = arm64DumpState(core, options);
    const halves = ([0, 1] as const).map((half) => regionOf(half, this.state));
    this.regions = halves.filter((half) => half.walks);
    this.without = halves.filter((half) => !half.walks);
  }

  visit(visitor: LeafVisitor<Arm64Leaf>): void {
    for (const region of this.regions) visitLeaves(this.memory, region, visitor);
  }

  visitForTruth({ leaf, missing }: TruthVisitor): void {
    this.visit({ leaf: (found) => leaf(found, ''), missing });
  }

  /** @throws InputError when the MMU is off */
  list(): MappingList<Arm64Rights> {
    if (!SCTLR_EL1.has(this.state.sctlr, 'M')) {
      throw new InputError('SCTLR_EL1.M = 0: translation is off, there are no mappings', {
        file: this.state.origin,
      });
    }
    const oracle = new Arm64RightsOracle(this.memory, this.state);
    const lists = this.regions.map((region) =>
      mergeLeaves(new Arm64RangeRules(oracle, region, this.state.mair), (visitor) =>
        visitLeaves(this.memory, region, visitor),
      ),
    );
    return {
      ranges: lists.flatMap(({ ranges }) => ranges),
      missing: lists.flatMap(({ missing }) => missing),
      leaves: lists.reduce((sum, { leaves }) => sum + leaves, 0),
    };
  }

  translator(): DumpTranslator {
    return arm64Translator(this.memory, this.state);
  }

  /** One access, level by level; PSTATE.PAN as it is for the kernel. @param access `Access` bits */
  explain(address: bigint, access: number): ExplainedWalk {
    return explainArm64(this.memory, this.state, address, access);
  }
}
