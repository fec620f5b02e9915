/** What each tag instruction does, in one line, for `tablewalk decode`. What it really does is execute.ts. */
import { TAG_CACHE_OPERATIONS } from './cache-maintenance.ts';
import type { TagEncoding } from './encodings.ts';

const BY_MNEMONIC: Readonly<Record<string, string>> = {
  irg: 'copies a pointer and gives it a random tag that neither GCR_EL1.Exclude nor Xm excludes',
  gmi: 'adds the tag of a pointer to an exclusion mask: sets the bit of its number in a copy of Xm',
  subp: 'subtracts two pointers as signed 56-bit addresses, without their tags',
  subps: 'subtracts two pointers as signed 56-bit addresses, without their tags, and sets the flags',
  addg: 'adds to a pointer, and moves its tag on by some of the tags that GCR_EL1.Exclude does not exclude',
  subg: 'subtracts from a pointer, and moves its tag on by some of the tags that GCR_EL1.Exclude does not exclude',
  stg: 'stores the tag of Xt as the Allocation Tag of 16 bytes',
  st2g: 'stores the tag of Xt as the Allocation Tags of 32 bytes',
  stzg: 'stores the tag of Xt as the Allocation Tag of 16 bytes and zeroes them',
  stz2g: 'stores the tag of Xt as the Allocation Tags of 32 bytes and zeroes them',
  stgp: 'stores two registers in 16 bytes, and the tag of the address as their Allocation Tag',
  ldg: 'loads the Allocation Tag of 16 bytes into bits 59:56 of Xt and leaves the rest of Xt as it is',
  ldgm: 'loads the Allocation Tags of a block (GMID_EL1.BS), 4 bits each, into Xt; EL1 only',
  stgm: 'stores the Allocation Tags of a block (GMID_EL1.BS) from Xt, 4 bits each; EL1 only',
  stzgm: 'zeroes a block (DCZID_EL0.BS) and gives it the Allocation Tag in bits 3:0 of Xt; EL1 only',
};

const CACHE: ReadonlyMap<string, string> = new Map(
  TAG_CACHE_OPERATIONS.map(({ name, does }) => [name, does]),
);
const BLOCKS: Readonly<Record<string, string>> = {
  gva: 'stores the tag of the address as the Allocation Tags of a block (DCZID_EL0.BS)',
  gzva: 'stores the tag of the address as the Allocation Tags of a block (DCZID_EL0.BS) and zeroes it',
};
const REGISTERS: Readonly<Record<string, string>> = {
  tco: 'PSTATE.TCO: with 1 no access is tag checked',
  rgsr_el1: 'RGSR_EL1: the seed of the tags that IRG chooses, and the last one chosen',
  gcr_el1: 'GCR_EL1: the tags that IRG, ADDG and SUBG do not choose',
  tfsr_el1: 'TFSR_EL1: whether a tag check failed asynchronously at EL1',
  tfsre0_el1: 'TFSRE0_EL1: whether a tag check failed asynchronously at EL0',
  gmid_el1: 'GMID_EL1: the size of the block of LDGM and STGM',
};

/** @throws Error for a row without words: they are missing above */
export function whatItDoes({ mnemonic, operands }: TagEncoding): string {
  const name = operands.find(({ kind }) => kind === 'fixed')?.name ?? '';
  const words =
    mnemonic === 'dc'
      ? (BLOCKS[name] ?? CACHE.get(name))
      : mnemonic === 'mrs' || mnemonic === 'msr'
        ? REGISTERS[name]
        : BY_MNEMONIC[mnemonic];
  if (words === undefined) throw new Error(`no words for ${mnemonic} ${name}`);
  if (mnemonic === 'mrs') return `reads ${words}`;
  return mnemonic === 'msr' ? `writes ${words}` : words;
}
