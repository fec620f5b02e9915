/**
 * Every instruction of the Memory Tagging Extension, once: the bits that are fixed, the operands, and what it does.
 * Decoding, executing, printing and encoding all come from this table.
 * Left out: the SETG* instructions of FEAT_MOPS, GCR_EL1 and TFSR as EL2 and EL3 or `_EL12` registers.
 * @see Arm ARM (DDI 0487), "A64 Instruction Set Encoding": "Data-processing (2 source)", "Add/subtract (immediate, with
 * tags)", "Load/store memory tags", "Load/store register pair", and "A64 System instructions for cache maintenance"
 */
import { FaultKind } from '../../fault.ts';
import { maintainCache, TAG_CACHE_OPERATIONS, type TagCacheOperation } from './cache-maintenance.ts';
import {
  addg,
  blockOperation,
  type Execute,
  gmi,
  type Indexing,
  irg,
  ldg,
  ldgm,
  readRegister,
  stgm,
  stgp,
  storeTag,
  stzgm,
  subg,
  subp,
  subps,
  TAG_REGISTERS,
  type TagCore,
  type TagRegister,
  writeRegister,
  writeTco,
} from './execute.ts';
import {
  fixedName,
  type Operand,
  operandBits,
  operandText,
  operandValue,
  signedField,
  spRegister,
  unsignedField,
  zrRegister,
} from './operands.ts';

/** How the operands are written: in a list, or the last two as an address. */
export type TagForm = 'list' | Indexing;

export interface TagEncoding {
  readonly mnemonic: string;
  readonly form: TagForm;
  /** The bits that decide, and what they are. */
  readonly mask: number;
  readonly value: number;
  readonly operands: readonly Operand[];
  /** ID_AA64PFR1_EL1.MTE that the instruction needs; below it is UNDEFINED. */
  readonly needs: 1 | 2;
  readonly execute: Execute;
  /** The preferred form under another name: when operand `when` is register 31, it is left out. */
  readonly alias: { readonly mnemonic: string; readonly when: Operand } | null;
}

const Xd = spRegister('Xd', 0);
const XdZero = zrRegister('Xd', 0);
const XtTag = spRegister('Xt', 0);
const Xt = zrRegister('Xt', 0);
const Xt2 = zrRegister('Xt2', 10);
const Xn = spRegister('Xn', 5);
const Xm = spRegister('Xm', 16);
const XmZero = zrRegister('Xm', 16);
const XmOptional = zrRegister('Xm', 16, true);
const bytes = unsignedField('uimm6', 16, 6, 16);
const tagOffset = unsignedField('uimm4', 10, 4, 1);
const simm9 = signedField('simm', 12, 9);
const simm7 = signedField('imm', 15, 7);

type Options = Partial<Pick<TagEncoding, 'form' | 'needs' | 'alias'>>;

const row = (
  mnemonic: string,
  mask: number,
  value: number,
  operands: readonly Operand[],
  execute: Execute,
  { form = 'list', needs = 1, alias = null }: Options = {},
): TagEncoding => ({ mnemonic, form, mask: mask | 0, value: value | 0, operands, needs, execute, alias });

/** How an offset is used: op2 in bits 11:10 of "Load/store memory tags", bits 24:23 of a pair. */
const INDEXING = [
  ['post', 1],
  ['offset', 2],
  ['pre', 3],
] as const;
/** "Load/store memory tags": opc in bits 23:22, a 9-bit offset. */
const storeRows = (name: 'stg' | 'stzg' | 'st2g' | 'stz2g', opc: number): TagEncoding[] =>
  INDEXING.map(([form, op2]) => {
    const value = 0xd9200000 | (opc << 22) | (op2 << 10);
    return row(name, 0xffe00c00, value, [XtTag, Xn, simm9], storeTag(name, form), { form });
  });

/** "Load/store register pair", opc = 0b01, V = 0, L = 0. */
const pairRows = (): TagEncoding[] =>
  INDEXING.map(([form, index]) =>
    row('stgp', 0xffc00000, 0x68000000 | (index << 23), [Xt, Xt2, Xn, simm7], stgp(form), { form }),
  );

/** MRS and MSR (register): op0 = 3. */
const registerRows = (register: TagRegister): TagEncoding[] => {
  const { name, op1, crn, crm, op2, needs } = register;
  const which = (1 << 19) | (op1 << 16) | (crn << 12) | (crm << 8) | (op2 << 5);
  const read = row('mrs', 0xffffffe0, 0xd5300000 | which, [Xt, fixedName(name)], readRegister(register), {
    needs,
  });
  if (register.write === null) return [read];
  const write = row('msr', 0xffffffe0, 0xd5100000 | which, [fixedName(name), Xt], writeRegister(register), {
    needs,
  });
  return [read, write];
};

/** SYS: op0 = 1, CRn = 7. Those that EL0 may execute came with FEAT_MTE, the others with FEAT_MTE2. */
const cacheRow = (operation: TagCacheOperation): TagEncoding => {
  const { name, op1, crm, op2 } = operation;
  const value = 0xd5080000 | (op1 << 16) | (7 << 12) | (crm << 8) | (op2 << 5);
  const needs = op1 === 3 ? 1 : 2;
  return row('dc', 0xffffffe0, value, [fixedName(name), Xt], maintainCache(operation), { needs });
};

export const TAG_ENCODINGS: readonly TagEncoding[] = [
  // Data-processing (2 source)
  row('irg', 0xffe0fc00, 0x9ac01000, [Xd, Xn, XmOptional], irg),
  row('gmi', 0xffe0fc00, 0x9ac01400, [XdZero, Xn, XmZero], gmi),
  row('subp', 0xffe0fc00, 0x9ac00000, [XdZero, Xn, Xm], subp),
  row('subps', 0xffe0fc00, 0xbac00000, [XdZero, Xn, Xm], subps, {
    alias: { mnemonic: 'cmpp', when: XdZero },
  }),
  // Add/subtract (immediate, with tags); bits 15:14 (op3) should be 0, and other values are taken as unallocated.
  row('addg', 0xffc0c000, 0x91800000, [Xd, Xn, bytes, tagOffset], addg),
  row('subg', 0xffc0c000, 0xd1800000, [Xd, Xn, bytes, tagOffset], subg),
  // Load/store memory tags
  ...storeRows('stg', 0),
  ...storeRows('stzg', 1),
  ...storeRows('st2g', 2),
  ...storeRows('stz2g', 3),
  row('ldg', 0xffe00c00, 0xd9600000, [Xt, Xn, simm9], ldg, { form: 'offset' }),
  row('stzgm', 0xfffffc00, 0xd9200000, [Xt, Xn], stzgm, { form: 'offset', needs: 2 }),
  row('stgm', 0xfffffc00, 0xd9a00000, [Xt, Xn], stgm, { form: 'offset', needs: 2 }),
  row('ldgm', 0xfffffc00, 0xd9e00000, [Xt, Xn], ldgm, { form: 'offset', needs: 2 }),
  // Load/store register pair
  ...pairRows(),
  // System: DC, MSR (immediate), MRS and MSR (register)
  row('dc', 0xffffffe0, 0xd50b7460, [fixedName('gva'), Xt], blockOperation('tagBlock')),
  row('dc', 0xffffffe0, 0xd50b7480, [fixedName('gzva'), Xt], blockOperation('tagAndZeroBlock')),
  ...TAG_CACHE_OPERATIONS.map(cacheRow),
  row('msr', 0xfffff0ff, 0xd503409f, [fixedName('tco'), unsignedField('imm', 8, 4, 1)], writeTco),
  ...TAG_REGISTERS.flatMap(registerRows),
];

/** The rows by bits 31:24, which are fixed in all of them. */
const BY_TOP_BYTE: ReadonlyMap<number, readonly TagEncoding[]> = new Map(
  TAG_ENCODINGS.map(({ value }) => [
    value >>> 24,
    TAG_ENCODINGS.filter((encoding) => encoding.value >>> 24 === value >>> 24),
  ]),
);

/** The instruction that a 32-bit word is, or null when it is none of the Memory Tagging Extension. */
export function decodeTagInstruction(word: number): TagEncoding | null {
  const rows = BY_TOP_BYTE.get(word >>> 24);
  if (rows === undefined) return null;
  for (const encoding of rows) if ((word & encoding.mask) === encoding.value) return encoding;
  return null;
}

/**
 * Executes the instruction a word is. Registers, memory and tags change only if it does not fault.
 * @param access `Access.User` at EL0, 0 at EL1
 * @returns 0, or a fault kind with the cause in `core.mmu.fault`; null when the word is no tag instruction
 */
export function executeTagInstruction(core: TagCore, word: number, access: number): FaultKind | null {
  const encoding = decodeTagInstruction(word);
  if (encoding === null) return null;
  if (core.mmu.features.mte < encoding.needs) {
    return core.mmu.raise(FaultKind.Undefined, 0, 0, access, 0);
  }
  return encoding.execute(core, word, access);
}

/** The text of a word in the manual's syntax, lower case: `stg x1, [x2, #16]!`. Null when it is no tag instruction. */
export function formatTagInstruction(word: number): string | null {
  const encoding = decodeTagInstruction(word);
  if (encoding === null) return null;
  let { mnemonic, operands } = encoding;
  const { alias } = encoding;
  if (alias !== null && operandValue(alias.when, word) === 31) {
    mnemonic = alias.mnemonic;
    operands = operands.filter((operand) => operand !== alias.when);
  }
  const written = operands.filter((operand) => operandValue(operand, word) !== operand.omitted);
  if (encoding.form === 'list') {
    return `${mnemonic} ${written.map((operand) => operandText(operand, word)).join(', ')}`;
  }
  const base = written.indexOf(Xn);
  const before = written.slice(0, base).map((operand) => operandText(operand, word));
  return `${mnemonic} ${[...before, addressText(encoding.form, word, written[base + 1])].join(', ')}`;
}

/** The base register and what is added to it. An offset of 0 is not written unless the base changes by it. */
function addressText(form: Indexing, word: number, offset: Operand | undefined): string {
  const base = operandText(Xn, word);
  if (offset === undefined) return `[${base}]`;
  const text = operandText(offset, word);
  if (form === 'post') return `[${base}], ${text}`;
  if (form === 'pre') return `[${base}, ${text}]!`;
  return operandValue(offset, word) === 0 ? `[${base}]` : `[${base}, ${text}]`;
}

/**
 * The word of an instruction with these operands, in the order of `encoding.operands`; a fixed operand takes any value.
 * @throws RangeError when a value does not fit, or their number is wrong
 */
export function encodeTagInstruction(encoding: TagEncoding, values: readonly number[]): number {
  if (values.length !== encoding.operands.length) {
    throw new RangeError(
      `${encoding.mnemonic} has ${encoding.operands.length} operands, not ${values.length}`,
    );
  }
  return encoding.operands.reduce(
    (word, operand, index) => word | operandBits(operand, values[index] as number),
    encoding.value,
  );
}
