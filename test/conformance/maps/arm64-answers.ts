/**
 * The answer to every question about made arm64 page tables, from the words of the tables and the registers: a walk said
 * a second time, with bigint. Nothing here is shared with what is tested.
 */
import {
  addressIn,
  type HalfShape,
  hasBlocks,
  IPS_BITS,
  type MadeTables,
  type Registers,
  SctlrBit,
  type Shape,
  shiftOf,
  startLevelOf,
  TcrBit,
  wideOf,
} from './arm64-shape.ts';

/** `rwx` and `-` for each level. */
export interface Answer {
  readonly pa: bigint;
  readonly el1: string;
  readonly el0: string;
  /** Does a read pass with PSTATE.PAN set? */
  readonly panRead: boolean;
  /** AF in the leaf. */
  readonly accessed: boolean;
  /** Dirty as hardware tracks it: DBM = 1 and AP[2] = 0; with indirection writable and nDirty = 0. */
  readonly dirty: boolean;
}

/** Are the bits above the address range copies of bit 55, but for a top byte that is ignored? */
function isInRange({ registers, shape }: MadeTables, va: bigint): boolean {
  const upper = isUpper(va);
  const { addressBits } = upper ? shape.upper : shape.lower;
  const ignoreTop = (registers.tcr & (upper ? TcrBit.TBI1 : TcrBit.TBI0)) !== 0n;
  const ones = (1n << BigInt((ignoreTop ? 56 : 64) - addressBits)) - 1n;
  return ((va >> BigInt(addressBits)) & ones) === (upper ? ones : 0n);
}

const isUpper = (va: bigint): boolean => ((va >> 55n) & 1n) === 1n;

function firstTable({ registers, shape }: MadeTables, upper: boolean): bigint {
  const ttbr = upper ? registers.ttbr1 : registers.ttbr0;
  const base = ttbr & 0xffff_ffff_fffen;
  return wideOf(shape, upper ? shape.upper : shape.lower)
    ? (base & ~63n) | (((ttbr >> 2n) & 15n) << 48n)
    : base;
}

/** The last descriptor for an address, with the limits of the tables above it. */
interface FoundLeaf {
  readonly word: bigint;
  readonly address: bigint;
  readonly shift: bigint;
  readonly limits: bigint;
}

function findLeaf(tables: MadeTables, va: bigint): FoundLeaf | null {
  const { shape, words } = tables;
  const half = isUpper(va) ? shape.upper : shape.lower;
  const start = startLevelOf(half);
  let table = firstTable(tables, isUpper(va));
  let limits = 0n;
  for (let level = start; ; level++) {
    const shift = shiftOf(half.granule, level);
    const width = level === start ? BigInt(half.addressBits) - shift : BigInt(half.granule - 3);
    const word = words.get(table + ((va >> shift) & ((1n << width) - 1n)) * 8n) ?? 0n;
    const address = addressIn(word, wideOf(shape, half), half.granule);
    const form = formOf(shape, half, level, word);
    if (form === 'invalid' || address >> (IPS_BITS[shape.ips ?? 5] ?? 48n) !== 0n) return null;
    if (form === 'leaf') return { word, address, shift, limits };
    limits |= (word >> 59n) & 15n;
    table = address;
  }
}

function formOf(shape: Shape, half: HalfShape, level: number, word: bigint): 'invalid' | 'leaf' | 'table' {
  const type = word & 3n;
  if (level === 3) return type === 3n ? 'leaf' : 'invalid';
  if (type === 3n) return 'table';
  return type === 1n && hasBlocks(half, level, wideOf(shape, half)) ? 'leaf' : 'invalid';
}

/** What an address translates to, null when nothing is mapped or an address on the way is too wide. */
export function answerOf(tables: MadeTables, va: bigint): Answer | null {
  const { shape, registers } = tables;
  const leaf = isInRange(tables, va) ? findLeaf(tables, va) : null;
  if (leaf === null) return null;
  const { word, address, shift, limits } = leaf;
  const within = (1n << shift) - 1n;
  const disabled = (registers.tcr & (isUpper(va) ? TcrBit.HPD1 : TcrBit.HPD0)) !== 0n;
  const permissions = shape.pie
    ? indirect(shape, registers, word)
    : direct(shape, word, disabled ? 0n : limits, isUpper(va));
  const has = (at: bigint): boolean => ((word >> at) & 1n) === 1n;
  const tracked = shape.pie ? `${permissions.el1}${permissions.el0}`.includes('w') : has(51n);
  return {
    pa: (address & ~within) | (va & within),
    ...permissions,
    accessed: has(10n),
    dirty: tracked && !has(7n),
  };
}

type Permissions = Pick<Answer, 'el1' | 'el0' | 'panRead'>;
const letters = (r: boolean, w: boolean, x: boolean): string =>
  `${r ? 'r' : '-'}${w ? 'w' : '-'}${x ? 'x' : '-'}`;

/** AP, PXN, UXN and DBM of the leaf with the limits above it: PXNTable, UXNTable, APTable[0], APTable[1]. */
function limitedFields(
  shape: Shape,
  word: bigint,
  limits: bigint,
): Record<'write' | 'user' | 'pxn' | 'uxn', boolean> {
  const has = (at: bigint): boolean => ((word >> at) & 1n) === 1n;
  const limited = (at: bigint): boolean => ((limits >> at) & 1n) === 1n;
  const tracked = shape.ha === true && shape.hd === true && has(51n);
  return {
    write: !((has(7n) && !tracked) || limited(3n)),
    user: has(6n) && !limited(2n),
    pxn: has(53n) || limited(0n),
    uxn: has(54n) || limited(1n),
  };
}

function direct(shape: Shape, word: bigint, limits: bigint, upper: boolean): Permissions {
  const { write, user, pxn, uxn } = limitedFields(shape, word, limits);
  const sctlr = shape.sctlr ?? 0n;
  const userWrite = user && write;
  const wxn = (sctlr & SctlrBit.WXN) !== 0n;
  const panExecute = (sctlr & SctlrBit.EPAN) !== 0n && !uxn;
  const denied = upper && ((shape.tcr ?? 0n) & TcrBit.E0PD1) !== 0n;
  return {
    el1: letters(true, write, !pxn && !userWrite && !(wxn && write)),
    el0: denied ? '---' : letters(user, userWrite, !uxn && !(wxn && userWrite)),
    panRead: !user && !panExecute,
  };
}

const READS = [1n, 3n, 5n, 6n, 7n, 8n, 10n, 12n, 14n];
const WRITES = [5n, 6n, 7n, 12n, 14n];
const EXECUTES = [2n, 3n, 7n, 10n, 14n];

/** PIIndex of the leaf into PIR_EL1 and PIRE0_EL1; bit 7 is nDirty. */
function indirect(shape: Shape, { pir, pire0 }: Registers, word: bigint): Permissions {
  const index = ((word >> 53n) & 3n) * 4n + ((word >> 51n) & 1n) * 2n + ((word >> 6n) & 1n);
  const kernel = (pir >> (4n * index)) & 15n;
  const user = (pire0 >> (4n * index)) & 15n;
  if ((EXECUTES.includes(kernel) || kernel === 6n) && WRITES.includes(user)) {
    return { el1: '---', el0: '---', panRead: false };
  }
  const clean = ((word >> 7n) & 1n) === 1n && !(shape.ha === true && shape.hd === true);
  const text = (field: bigint): string =>
    letters(READS.includes(field), WRITES.includes(field) && !clean, EXECUTES.includes(field));
  return { el1: text(kernel), el0: text(user), panRead: READS.includes(kernel) && user === 0n };
}
