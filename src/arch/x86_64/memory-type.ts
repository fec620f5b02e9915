/**
 * The memory type of an access: what IA32_PAT says for the PWT, PCD and PAT bits of the leaf entry, what the MTRRs
 * say for the physical address, and how the two and CR0.CD combine.
 * Left out: what a type does to caching (no data cache is modelled), AMD's RdMem/WrMem extension of the fixed-range
 * registers, SMRRs, and EPT or nested-paging types.
 */
import type { Vendor } from './features.ts';
import { CR0, MTRR_DEF_TYPE, MTRR_FIXED, MTRR_PHYSBASE, MTRR_PHYSMASK, PAT } from './registers.ts';

/** The encodings of IA32_PAT; the MTRRs use the same ones, without UC-. */
export const MemoryType = {
  /** Strong uncacheable. */
  UC: 0,
  /** Write combining. */
  WC: 1,
  /** Write through. */
  WT: 4,
  /** Write protected. */
  WP: 5,
  /** Write back. */
  WB: 6,
  /** Uncacheable, but an MTRR may make it WC. IA32_PAT only. */
  UC_MINUS: 7,
} as const;
export type MemoryType = (typeof MemoryType)[keyof typeof MemoryType];

const NAMES: readonly string[] = ['UC', 'WC', 'reserved 2', 'reserved 3', 'WT', 'WP', 'WB', 'UC-'];

/** `UC`, `WC`, `WT`, `WP`, `WB`, `UC-`, or `reserved n`. */
export const memoryTypeName = (type: number): string => NAMES[type] ?? `reserved ${type}`;

/** May a field of IA32_PAT hold this value? @see Intel SDM vol. 3A, "IA32_PAT MSR" */
export const isPatType = (type: number): boolean => isMtrrType(type) || type === MemoryType.UC_MINUS;
/** May an MTRR hold this value? @see Intel SDM vol. 3A, "MTRR Memory Types" */
export const isMtrrType = (type: number): boolean =>
  type === 0 || type === 1 || type === 4 || type === 5 || type === 6;

/** Index into IA32_PAT. @see Intel SDM vol. 3A, "Selecting a Memory Type from the PAT" */
export const patIndex = (pat: boolean, pcd: boolean, pwt: boolean): number =>
  (pat ? 4 : 0) + (pcd ? 2 : 0) + (pwt ? 1 : 0);

const PAT_FIELDS = ['PA0', 'PA1', 'PA2', 'PA3', 'PA4', 'PA5', 'PA6', 'PA7'] as const;

/** The type that field `index` (0 to 7) of an IA32_PAT value holds. */
export function patType(pat: bigint, index: number): number {
  const field = PAT_FIELDS[index];
  if (field === undefined) throw new Error(`IA32_PAT has fields 0 to 7, not ${index}`);
  return Number(PAT.get(pat, field));
}

const { UC, WC, WT, WP, WB, UC_MINUS } = MemoryType;

/** One row of a combination table: what each PAT type becomes where the MTRRs say `mtrr`. */
type Row = readonly [
  mtrr: MemoryType,
  uc: number,
  ucMinus: number,
  wc: number,
  wt: number,
  wb: number,
  wp: number,
];

/**
 * @see Intel SDM vol. 3A, "Selecting Memory Types for Pentium III and More Recent Processor Families", table
 * "Effective Page-Level Memory Types for Pentium III and More Recent Processor Families"
 */
const INTEL_ROWS: readonly Row[] = [
  [UC, UC, UC, WC, UC, UC, UC],
  [WC, UC, WC, WC, UC, WC, UC],
  [WT, UC, UC, WC, WT, WT, WP],
  [WB, UC, UC, WC, WT, WB, WP],
  [WP, UC, WC, WC, WT, WP, WP],
];

/**
 * AMD's table differs in three places, and says CD (cache disabled: uncached, but caches are probed) where the page's
 * attribute rather than the MTRR is what makes memory uncacheable; Intel's table has a footnote for the same.
 * CD is UC here.
 * @see AMD APM vol. 2, "Combined Effect of MTRRs and PAT", table "Combined Effect of MTRR and PAT Memory Types"
 */
const AMD_ROWS: readonly Row[] = [
  [UC, UC, UC, WC, UC, UC, UC],
  [WC, UC, WC, WC, UC, WC, UC],
  [WT, UC, UC, WC, WT, WT, UC],
  [WB, UC, UC, WC, WT, WB, WP],
  [WP, UC, UC, WC, UC, WP, WP],
];

const COLUMNS = [UC, UC_MINUS, WC, WT, WB, WP] as const;

function combinationTable(rows: readonly Row[]): Uint8Array {
  const table = new Uint8Array(64);
  for (const [mtrr, ...types] of rows) {
    COLUMNS.forEach((pat, column) => {
      table[mtrr * 8 + pat] = types[column] as number;
    });
  }
  return table;
}

const COMBINED: Readonly<Record<Vendor, Uint8Array>> = {
  intel: combinationTable(INTEL_ROWS),
  amd: combinationTable(AMD_ROWS),
};

/** The effective type of an MTRR type and a PAT type while CR0.CD = 0. Both must be valid encodings. */
export function combineTypes(vendor: Vendor, mtrr: number, pat: number): MemoryType {
  return (COMBINED[vendor][mtrr * 8 + pat] ?? UC) as MemoryType;
}

/** The MTRRs of a processor, as their 64-bit values. */
export interface Mtrrs {
  readonly defType: bigint;
  /** The eleven fixed-range registers: 64K_00000, 16K_80000, 16K_A0000, 4K_C0000 … 4K_F8000; empty if there are none. */
  readonly fixed: readonly bigint[];
  readonly variable: readonly { readonly base: bigint; readonly mask: bigint }[];
}

/** MTRRs off: after reset every physical address is UC. */
export const MTRRS_AT_RESET: Mtrrs = { defType: 0n, fixed: [], variable: [] };
/** What firmware leaves for plain memory: enabled, WB by default, no ranges. */
export const MTRRS_WRITE_BACK: Mtrrs = {
  defType: MTRR_DEF_TYPE.encode({ TYPE: WB, E: true }),
  fixed: [],
  variable: [],
};

/** Which rule gave an MTRR type. */
type MtrrRule =
  | 'MTRRs disabled'
  | 'fixed range'
  | 'variable range'
  | 'overlapping variable ranges'
  | 'overlap not defined by the manual'
  | 'default type';

export interface MtrrAnswer {
  readonly type: MemoryType;
  readonly rule: MtrrRule;
}

const ONE_MEBIBYTE = 0x10_0000n;
const FIXED_FIELDS = ['TYPE0', 'TYPE1', 'TYPE2', 'TYPE3', 'TYPE4', 'TYPE5', 'TYPE6', 'TYPE7'] as const;

/** Register number and field of a fixed range, for an address below 1 MiB. @see Intel SDM vol. 3A, "Fixed Range MTRRs" */
function fixedRange(address: number): { register: number; field: number } {
  if (address < 0x8_0000) return { register: 0, field: address >> 16 };
  if (address < 0xc_0000) {
    const page = (address - 0x8_0000) >> 14;
    return { register: 1 + (page >> 3), field: page & 7 };
  }
  const page = (address - 0xc_0000) >> 12;
  return { register: 3 + (page >> 3), field: page & 7 };
}

/**
 * Two or more variable ranges on one address: the same type, or any UC wins, or WT over WB; all else is undefined,
 * and UC is answered as the type that cannot lose data.
 * @see Intel SDM vol. 3A, "MTRR Precedences"
 */
function overlappingTypes(types: readonly number[]): MtrrAnswer {
  const distinct = new Set(types);
  const rule = 'overlapping variable ranges';
  if (distinct.size === 1) return { type: types[0] as MemoryType, rule };
  if (distinct.has(UC)) return { type: UC, rule };
  if (distinct.size === 2 && distinct.has(WT) && distinct.has(WB)) return { type: WT, rule };
  return { type: UC, rule: 'overlap not defined by the manual' };
}

/**
 * The MTRR type of one physical byte address.
 * @see Intel SDM vol. 3A, "MTRR Precedences" and "Example Base and Mask Calculations"
 */
export function mtrrType(mtrrs: Mtrrs, address: bigint): MtrrAnswer {
  if (!MTRR_DEF_TYPE.has(mtrrs.defType, 'E')) return { type: UC, rule: 'MTRRs disabled' };
  if (address < ONE_MEBIBYTE && MTRR_DEF_TYPE.has(mtrrs.defType, 'FE') && mtrrs.fixed.length > 0) {
    const { register, field } = fixedRange(Number(address));
    const value = mtrrs.fixed[register] ?? 0n;
    const type = Number(MTRR_FIXED.get(value, FIXED_FIELDS[field] as 'TYPE0'));
    return { type: type as MemoryType, rule: 'fixed range' };
  }
  const types: number[] = [];
  for (const { base, mask } of mtrrs.variable) {
    if (!MTRR_PHYSMASK.has(mask, 'V')) continue;
    const selected = MTRR_PHYSMASK.get(mask, 'MASK');
    if ((address & selected) === (MTRR_PHYSBASE.get(base, 'BASE') & selected)) {
      types.push(Number(MTRR_PHYSBASE.get(base, 'TYPE')));
    }
  }
  if (types.length === 1) return { type: types[0] as MemoryType, rule: 'variable range' };
  if (types.length > 1) return overlappingTypes(types);
  return { type: Number(MTRR_DEF_TYPE.get(mtrrs.defType, 'TYPE')) as MemoryType, rule: 'default type' };
}

/**
 * Do the MTRRs say the same for every 4 KiB of a page? If not, the manual leaves a large page's type undefined.
 * Only the places where a fixed or variable range can begin or end inside the page are looked at.
 * @see Intel SDM vol. 3A, "Large Page Size Considerations"
 */
export function mtrrTypeIsUniform(mtrrs: Mtrrs, pageBase: bigint, pageBytes: bigint): boolean {
  const first = mtrrType(mtrrs, pageBase).type;
  const edges: bigint[] = [];
  if (pageBase < ONE_MEBIBYTE && mtrrs.fixed.length > 0) {
    for (let at = 0n; at <= ONE_MEBIBYTE; at += 0x1000n) edges.push(at);
  }
  for (const { base, mask } of mtrrs.variable) {
    // A mask may select any address bits, so a range may come and go at every multiple of its lowest selected bit.
    const selected = MTRR_PHYSMASK.get(mask, 'MASK');
    if (!MTRR_PHYSMASK.has(mask, 'V') || (selected & (pageBytes - 1n)) === 0n) continue;
    const step = selected & -selected;
    const inside = MTRR_PHYSBASE.get(base, 'BASE') & (pageBytes - 1n) & -step;
    edges.push(
      pageBase + inside,
      pageBase + inside + step,
      pageBase + ((inside + pageBytes - step) % pageBytes),
    );
  }
  return edges.every(
    (at) => at < pageBase || at >= pageBase + pageBytes || mtrrType(mtrrs, at).type === first,
  );
}

/** Everything the memory type of a translation depends on. */
export interface MemoryTypeInput {
  readonly vendor: Vendor;
  readonly cr0: bigint;
  readonly pat: bigint;
  readonly mtrrs: Mtrrs;
  /** Of the leaf entry: bit 7 of a PTE, bit 12 of a PDE or PDPTE that maps a page. */
  readonly patBit: boolean;
  readonly pcd: boolean;
  readonly pwt: boolean;
  /** Physical byte address of the access. */
  readonly address: bigint;
  /** Bytes mapped by the leaf: 4 KiB, 2 MiB or 1 GiB. */
  readonly pageBytes: bigint;
}

export interface MemoryTypeAnswer {
  readonly type: MemoryType;
  readonly patIndex: number;
  readonly patType: number;
  readonly mtrr: MtrrAnswer;
  /** CR0.CD = 1 made it UC whatever the tables say. */
  readonly cacheDisabled: boolean;
  /** The manual does not say which type applies: overlapping ranges, or a large page over several types. */
  readonly undefinedByManual: boolean;
}

/**
 * The effective memory type of a translation.
 * With CR0.CD = 1 new lines are not filled, so accesses count as UC; lines already cached still hit until WBINVD.
 * @see Intel SDM vol. 3A, "Determining the Memory Type", "Cache Control" and "Precedence of Cache Controls"
 */
export function effectiveMemoryType(input: MemoryTypeInput): MemoryTypeAnswer {
  const index = patIndex(input.patBit, input.pcd, input.pwt);
  const pat = patType(input.pat, index);
  const mtrr = mtrrType(input.mtrrs, input.address);
  const cacheDisabled = CR0.has(input.cr0, 'CD');
  const pageBase = input.address - (input.address % input.pageBytes);
  return {
    type: cacheDisabled ? UC : combineTypes(input.vendor, mtrr.type, pat),
    patIndex: index,
    patType: pat,
    mtrr,
    cacheDisabled,
    undefinedByManual:
      mtrr.rule === 'overlap not defined by the manual' ||
      !mtrrTypeIsUniform(input.mtrrs, pageBase, input.pageBytes),
  };
}
