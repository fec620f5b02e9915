/**
 * What Linux means by the bits of an entry that the hardware does not look at: swap entries and PROT_NONE pages in
 * entries with P = 0, software bits in the others. Words for reports; `paging-format.ts` is what the kernel computes with.
 * @see Linux arch/x86/include/asm/pgtable_64.h (swap entries), pgtable-invert.h (inverted frames), pgtable_types.h
 */
import { hex } from '../../../base/u64.ts';
import { LINUX_PTE, LINUX_SWAP_PTE } from './entry-layout.ts';

/** Remarks for one entry; empty when Linux would read nothing more into it than the hardware does. */
export function linuxRemarks(value: bigint, level: number): string[] {
  if (LINUX_PTE.has(value, 'PRESENT')) return softwareBits(value, level);
  if (value === 0n) return ['Linux: none, nothing is mapped here'];
  if (level <= 4 && (value & ~ERRATUM_FLAGS) === 0n) {
    return [
      'Linux: none; A and D do not count, as a processor with an erratum may set them in entries with P = 0',
    ];
  }
  if (LINUX_PTE.has(value, 'GLOBAL_PROTNONE')) return [protnone(value)];
  if (level === 2 && LINUX_PTE.has(value, 'PSE_PAT')) {
    return ['Linux: a huge page that is being split (invalidated: P cleared, PSE kept)'];
  }
  if ((value & HARDWARE_FLAGS) !== 0n) return [clearedPresent(value)];
  // The kernel reads only ptes and pmds as swap entries; above that a bad entry is all it can be.
  return level <= 2 ? [swapEntry(value)] : ['Linux: a bad entry at this level'];
}

/**
 * What `pte_none`, `pmd_none`, `pud_none` and `p4d_none` do not look at; `pgd_none` wants all 64 bits clear.
 * @see Linux arch/x86/include/asm/pgtable_types.h, _PAGE_KNL_ERRATUM_MASK; pgtable.h, pte_none
 */
const ERRATUM_FLAGS = LINUX_PTE.mask('ACCESSED', 'DIRTY');

/** A swap entry has these clear; an entry that lost nothing but its P keeps them. */
const HARDWARE_FLAGS = LINUX_PTE.mask('PCD', 'ACCESSED', 'DIRTY');

const uninverted = (value: bigint): bigint => LINUX_PTE.get(BigInt.asUintN(64, ~value), 'PFN');

/** A kernel mapping whose P was cleared, as `set_memory_np` and `set_direct_map_invalid_noflush` do. */
function clearedPresent(value: bigint): string {
  return `Linux: in kernel tables, a mapping of ${hex(uninverted(value))} taken away by clearing P (the frame is stored inverted)`;
}

/** Frames of entries that are not present are stored inverted, so that speculation finds no memory there (L1TF). */
function protnone(value: bigint): string {
  return `Linux: a PROT_NONE or NUMA-hinting page at ${hex(uninverted(value))} (the frame is stored inverted)`;
}

function swapEntry(value: bigint): string {
  const type = LINUX_SWAP_PTE.get(value, 'TYPE');
  const offset = LINUX_SWAP_PTE.get(BigInt.asUintN(64, ~value), 'OFFSET');
  const flags = (['SWP_SOFT_DIRTY', 'SWP_UFFD_WP', 'SWP_EXCLUSIVE'] as const)
    .filter((name) => LINUX_SWAP_PTE.has(value, name))
    .map((name) => LINUX_SWAP_PTE.field(name).meaning);
  const also = flags.length === 0 ? '' : `; ${flags.join(', ')}`;
  return `Linux: a swap entry, type ${type}, offset ${hex(offset)} (stored inverted)${also}; the highest types are migration, hwpoison and marker entries`;
}

function softwareBits(value: bigint, level: number): string[] {
  const names = (['SPECIAL', 'UFFD_WP', 'SOFT_DIRTY', 'SAVED_DIRTY'] as const).filter((name) => {
    return LINUX_PTE.has(value, name) && (level <= 2 || LINUX_PTE.has(value, 'PSE_PAT'));
  });
  if (names.length === 0) return [];
  const words = names.map((name) => {
    const { low, meaning } = LINUX_PTE.field(name);
    return `${low} ${meaning}`;
  });
  return [`software bits as Linux uses them: ${words.join('; ')}`];
}
