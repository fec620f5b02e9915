/** What the tag check of an access saw, in words, and why there was none. The decision is that of mte/tag-check.ts. */
import { Access } from '../access.ts';
import { TAG_CHECK_FAULT_WORDS } from './attribute-words.ts';
import { registerWords } from './explain-choices.ts';
import type { Arm64Mmu } from './mmu.ts';
import { CheckMode, checkIndex } from './mte/tag-check.ts';
import { TCR_EL1 } from './registers.ts';
import { SCTLR_EL1 } from './system-registers.ts';

const TAG_SHIFT = 56n;
const HALF_SHIFT = 55n;
/** The logical tag that TCR_EL1.TCMAn exempts, by half. */
const CANONICAL_TAG = [0, 15] as const;

const NAMES = {
  el0: { ata: 'ATA0', tcf: 'TCF0' },
  el1: { ata: 'ATA', tcf: 'TCF' },
} as const;

const namesOf = (mmu: Arm64Mmu, access: number): (typeof NAMES)[keyof typeof NAMES] =>
  mmu.tagChecks.isEl0(access) ? NAMES.el0 : NAMES.el1;

/** Every reason of registers and instruction for which the access is not checked. */
function uncheckedReasons(mmu: Arm64Mmu, address: bigint, access: number): string[] {
  const { sctlr, tcr } = registerWords(mmu.state);
  const { ata, tcf } = namesOf(mmu, access);
  const half = ((address >> HALF_SHIFT) & 1n) === 0n ? 0 : 1;
  const logical = Number((address >> TAG_SHIFT) & 15n);
  const mode = Number(SCTLR_EL1.get(sctlr, tcf));
  const exempt = TCR_EL1.has(tcr, `TCMA${half}`) && logical === CANONICAL_TAG[half];
  const reasons: readonly (string | false)[] = [
    (access & Access.TagUnchecked) !== 0 &&
      'the instruction forms its address from SP and an immediate, or from PC',
    mmu.state.tco && 'PSTATE.TCO = 1',
    !SCTLR_EL1.has(sctlr, ata) && `SCTLR_EL1.${ata} = 0`,
    mode === CheckMode.None && `SCTLR_EL1.${tcf} = 0`,
    mode === CheckMode.Asymmetric && mmu.features.mte < 3 && `SCTLR_EL1.${tcf} = 3 without FEAT_MTE3`,
    !TCR_EL1.has(tcr, `TBI${half}`) && `TCR_EL1.TBI${half} = 0`,
    exempt && `TCR_EL1.TCMA${half} = 1 and the logical tag is ${logical}`,
  ];
  return reasons.filter((reason): reason is string => reason !== false);
}

/** The Allocation Tags of the bytes. */
function allocationTags({ memory }: Arm64Mmu, base: bigint, length: number): number[] {
  const tags: number[] = [];
  for (let at = base & ~15n; at < base + BigInt(length); at += 16n) {
    tags.push(memory.tags?.tag(Number(at >> 32n), Number(at & 0xffff_ffffn) | 0) ?? 0);
  }
  return tags;
}

/**
 * What the tag check of an access saw, or why it is unchecked. Nothing for what is never checked (fetches, accesses to
 * Allocation Tags, processors without them), and for memory that is not Tagged unless that alone is why.
 * @param length bytes @param base physical address of the first byte
 */
export function tagRules(
  mmu: Arm64Mmu,
  address: bigint,
  access: number,
  length: number,
  base: bigint,
): string[] {
  if ((access & (Access.Tag | Access.Fetch)) !== 0 || mmu.features.mte < 2 || mmu.memory.tags === null)
    return [];
  const reasons = uncheckedReasons(mmu, address, access);
  if (!mmu.tagged) return reasons.length > 0 ? [] : ['tag check: unchecked: the memory is not Tagged'];
  const logical = Number((address >> TAG_SHIFT) & 15n);
  const tags = allocationTags(mmu, base, length);
  const seen = `logical tag ${logical}, Allocation Tags ${tags.join(' ')}`;
  if (reasons.length > 0) return [`tag check: unchecked: ${reasons.join(', ')}; ${seen}`];
  const index = checkIndex(Number((address >> 32n) & 0xffff_ffffn) | 0, access);
  if ((((mmu.tagChecks.checked[index] as number) >>> logical) & 1) === 0) {
    throw new Error('an access is unchecked for no reason that is known');
  }
  const mode =
    TAG_CHECK_FAULT_WORDS[Number(SCTLR_EL1.get(registerWords(mmu.state).sctlr, namesOf(mmu, access).tcf))];
  const end = tags.every((tag) => tag === logical) ? 'they agree' : `they differ: ${mode}`;
  return [`tag check: ${seen}: ${end}`];
}
