/**
 * What each tag instruction does with registers: takes operands out of the word, asks tag-operations.ts, writes the
 * results back. Which word is which instruction is encodings.ts, where these functions stand in the table.
 * An instruction that faults has changed no register.
 * Left out: PSTATE.BTYPE, traps to EL2 and EL3, the debug events.
 * @see Arm ARM (DDI 0487), "A64 Base Instructions" by name
 */
import { Access } from '../../access.ts';
import { FaultKind } from '../../fault.ts';
import { Reason } from '../fault-reasons.ts';
import type { Arm64Mmu } from '../mmu.ts';
import { type RegisterFile, SP } from '../register-file.ts';
import type { Arm64State } from '../state.ts';
import { SCTLR_EL1 } from '../system-registers.ts';
import { type Arm64TagInstructions, logicalTag, withLogicalTag } from './tag-operations.ts';

const { None } = FaultKind;
const USER = Access.User;
const SA = SCTLR_EL1.half('SA').lo;
const SA0 = SCTLR_EL1.half('SA0').lo;

/** What an instruction runs on. */
export interface TagCore {
  readonly mmu: Arm64Mmu;
  readonly instructions: Arm64TagInstructions;
  readonly registers: RegisterFile;
}

/** @param access `Access.User` at EL0, 0 at EL1 @returns 0, or a fault kind with the cause in `mmu.fault` */
export type Execute = (core: TagCore, word: number, access: number) => FaultKind;

const fieldD = (word: number): number => word & 31;
const fieldN = (word: number): number => (word >>> 5) & 31;
const fieldT2 = (word: number): number => (word >>> 10) & 31;
const fieldM = (word: number): number => (word >>> 16) & 31;

/** A register where 31 is XZR. */
const highOrZero = (registers: RegisterFile, register: number): number =>
  register === SP ? 0 : registers.high(register);
const lowOrZero = (registers: RegisterFile, register: number): number =>
  register === SP ? 0 : registers.low(register);

/** Writes a result to a register where 31 is XZR. */
function setUnlessZero(core: TagCore, register: number): void {
  const { resultHi, resultLo } = core.instructions;
  if (register !== SP) core.registers.set(register, resultHi, resultLo);
}

export const irg: Execute = ({ instructions, registers }, word, access) => {
  const n = fieldN(word);
  instructions.irg(registers.high(n), registers.low(n), access, lowOrZero(registers, fieldM(word)) & 0xffff);
  registers.set(fieldD(word), instructions.resultHi, instructions.resultLo);
  return None;
};

const tagArithmetic =
  (name: 'addg' | 'subg'): Execute =>
  ({ instructions, registers }, word, access) => {
    const n = fieldN(word);
    const bytes = ((word >>> 16) & 0x3f) << 4;
    instructions[name](registers.high(n), registers.low(n), access, bytes, (word >>> 10) & 15);
    registers.set(fieldD(word), instructions.resultHi, instructions.resultLo);
    return None;
  };
export const addg = tagArithmetic('addg');
export const subg = tagArithmetic('subg');

export const gmi: Execute = (core, word) => {
  const { instructions, registers } = core;
  const n = fieldN(word);
  const m = fieldM(word);
  instructions.gmi(registers.high(n), registers.low(n), highOrZero(registers, m), lowOrZero(registers, m));
  setUnlessZero(core, fieldD(word));
  return None;
};

/** SUBPS also sets the flags. */
const subtractPointers =
  (setsFlags: boolean): Execute =>
  (core, word) => {
    const { instructions, registers } = core;
    const n = fieldN(word);
    const m = fieldM(word);
    instructions.subp(registers.high(n), registers.low(n), registers.high(m), registers.low(m));
    if (setsFlags) registers.nzcv = instructions.flags;
    setUnlessZero(core, fieldD(word));
    return None;
  };
export const subp = subtractPointers(false);
export const subps = subtractPointers(true);

/**
 * The base register of an access: SP has to be a multiple of 16 if the alignment check of its Exception level is on.
 * @see Arm ARM (DDI 0487), shared pseudocode CheckSPAlignment
 */
function checkBase({ mmu, registers }: TagCore, n: number, access: number): FaultKind {
  if (n !== SP) return None;
  const enable = (access & USER) !== 0 ? SA0 : SA;
  if ((mmu.state.sctlrLo & enable) === 0 || (registers.low(SP) & 15) === 0) return None;
  return mmu.raise(FaultKind.Alignment, registers.high(SP), registers.low(SP), access, Reason.StackPointer);
}

/** How an address is made of base and offset. */
export type Indexing = 'post' | 'offset' | 'pre';

type Store = (core: TagCore, word: number, access: number, hi: number, lo: number) => FaultKind;

/** Base plus offset, the store, and the base written back. */
function storeIndexed(indexing: Indexing, offsetOf: (word: number) => number, store: Store): Execute {
  return (core, word, access) => {
    const { registers } = core;
    const n = fieldN(word);
    const base = checkBase(core, n, access);
    if (base !== None) return base;
    const offset = offsetOf(word);
    const baseHi = registers.high(n);
    const baseLo = registers.low(n);
    const sum = (baseLo >>> 0) + offset;
    const movedLo = sum | 0;
    const movedHi = (baseHi + Math.floor(sum / 0x100000000)) | 0;
    const atBase = indexing === 'post';
    const kind = store(core, word, access, atBase ? baseHi : movedHi, atBase ? baseLo : movedLo);
    if (kind === None && indexing !== 'offset') registers.set(n, movedHi, movedLo);
    return kind;
  };
}

/** imm9 at bits 20:12 and imm7 at bits 21:15, in granules. */
const imm9 = (word: number): number => ((word << 11) >> 23) * 16;
const imm7 = (word: number): number => ((word << 10) >> 25) * 16;

/** STG, ST2G, STZG, STZ2G: the tag is that of Xt, or of SP. */
export const storeTag = (name: 'stg' | 'st2g' | 'stzg' | 'stz2g', indexing: Indexing): Execute =>
  storeIndexed(indexing, imm9, ({ instructions, registers }, word, access, hi, lo) =>
    instructions[name](hi, lo, access, logicalTag(registers.high(fieldD(word)))),
  );

/** STGP: the tag is that of the address. */
export const stgp = (indexing: Indexing): Execute =>
  storeIndexed(indexing, imm7, ({ instructions, registers }, word, access, hi, lo) => {
    const t = fieldD(word);
    const t2 = fieldT2(word);
    return instructions.stgp(
      hi,
      lo,
      access,
      highOrZero(registers, t),
      lowOrZero(registers, t),
      highOrZero(registers, t2),
      lowOrZero(registers, t2),
    );
  });

/** LDG: only bits 59:56 of Xt change. */
export const ldg: Execute = storeIndexed(
  'offset',
  imm9,
  ({ instructions, registers }, word, access, hi, lo) => {
    const kind = instructions.ldg(hi, lo, access);
    const t = fieldD(word);
    if (kind === None && t !== SP) {
      registers.set(t, withLogicalTag(registers.high(t), instructions.tag), registers.low(t));
    }
    return kind;
  },
);

const NO_OFFSET = (): number => 0;

/** LDGM, STGM, STZGM and the DC instructions are UNDEFINED or trapped before SP is looked at. */
const undefinedAtEl0 =
  (execute: Execute): Execute =>
  (core, word, access) =>
    (access & USER) !== 0
      ? core.mmu.raise(FaultKind.Undefined, 0, 0, access, 0)
      : execute(core, word, access);

export const ldgm: Execute = undefinedAtEl0(
  storeIndexed('offset', NO_OFFSET, (core, word, access, hi, lo) => {
    const kind = core.instructions.ldgm(hi, lo, access);
    if (kind === None) setUnlessZero(core, fieldD(word));
    return kind;
  }),
);

export const stgm: Execute = undefinedAtEl0(
  storeIndexed('offset', NO_OFFSET, ({ instructions, registers }, word, access, hi, lo) => {
    const t = fieldD(word);
    return instructions.stgm(hi, lo, access, highOrZero(registers, t), lowOrZero(registers, t));
  }),
);

export const stzgm: Execute = undefinedAtEl0(
  storeIndexed('offset', NO_OFFSET, ({ instructions, registers }, word, access, hi, lo) =>
    instructions.stzgm(hi, lo, access, lowOrZero(registers, fieldD(word)) & 15),
  ),
);

/** DC GVA and DC GZVA; Xt is XZR for 31. A trap's syndrome names the register. */
export const blockOperation =
  (name: 'tagBlock' | 'tagAndZeroBlock'): Execute =>
  ({ instructions, registers, mmu }, word, access) => {
    const t = fieldD(word);
    const kind = instructions[name](highOrZero(registers, t), lowOrZero(registers, t), access);
    if (kind === FaultKind.Trapped) mmu.fault.reasons |= t << 5;
    return kind;
  };

/** A system register that belongs to MTE: how MRS and MSR see it. MSR of a read-only one is not in the table. */
export interface TagRegister {
  readonly name: string;
  /** op0 is 3. */
  readonly op1: number;
  readonly crn: number;
  readonly crm: number;
  readonly op2: number;
  /** Which ID_AA64PFR1_EL1.MTE it needs. */
  readonly needs: 1 | 2;
  /** EL0 may use it; else it is UNDEFINED there. */
  readonly el0: boolean;
  readonly high: (mmu: Arm64Mmu) => number;
  readonly low: (mmu: Arm64Mmu) => number;
  readonly write: ((mmu: Arm64Mmu, hi: number, lo: number) => void) | null;
}

const TCO_SHIFT = 25;
const noHigh = (): number => 0;
const setter =
  (write: (state: Arm64State, hi: number, lo: number) => void) =>
  (mmu: Arm64Mmu, hi: number, lo: number): void =>
    write(mmu.state, hi, lo);

/** @see Arm ARM (DDI 0487), "AArch64 System register descriptions" by name; RES0 bits are not kept */
export const TAG_REGISTERS: readonly TagRegister[] = [
  {
    name: 'tco',
    op1: 3,
    crn: 4,
    crm: 2,
    op2: 7,
    needs: 1,
    el0: true,
    high: noHigh,
    low: ({ state }) => (state.tco ? 1 << TCO_SHIFT : 0),
    write: (mmu, _hi, lo) => mmu.setTco((lo & (1 << TCO_SHIFT)) !== 0),
  },
  {
    name: 'rgsr_el1',
    op1: 0,
    crn: 1,
    crm: 0,
    op2: 5,
    needs: 2,
    el0: false,
    high: ({ state }) => state.rgsrHi,
    low: ({ state }) => state.rgsrLo,
    write: setter((state, hi, lo) => {
      state.rgsrHi = hi & 0xffffff;
      state.rgsrLo = lo & ~0xf0;
    }),
  },
  {
    name: 'gcr_el1',
    op1: 0,
    crn: 1,
    crm: 0,
    op2: 6,
    needs: 2,
    el0: false,
    high: ({ state }) => state.gcrHi,
    low: ({ state }) => state.gcrLo,
    write: setter((state, _hi, lo) => {
      state.gcrHi = 0;
      state.gcrLo = lo & 0x1ffff;
    }),
  },
  {
    name: 'tfsr_el1',
    op1: 0,
    crn: 5,
    crm: 6,
    op2: 0,
    needs: 2,
    el0: false,
    high: noHigh,
    low: ({ state }) => state.tfsr,
    write: setter((state, _hi, lo) => {
      state.tfsr = lo & 3;
    }),
  },
  {
    name: 'tfsre0_el1',
    op1: 0,
    crn: 5,
    crm: 6,
    op2: 1,
    needs: 2,
    el0: false,
    high: noHigh,
    low: ({ state }) => state.tfsre0,
    write: setter((state, _hi, lo) => {
      state.tfsre0 = lo & 3;
    }),
  },
  {
    name: 'gmid_el1',
    op1: 1,
    crn: 0,
    crm: 0,
    op2: 4,
    needs: 2,
    el0: false,
    high: noHigh,
    low: ({ features }) => features.gmidBs,
    write: null,
  },
];

const withRights = (register: TagRegister, execute: Execute): Execute =>
  register.el0 ? execute : undefinedAtEl0(execute);

/** MRS Xt, register. */
export const readRegister = (register: TagRegister): Execute =>
  withRights(register, ({ mmu, registers }, word) => {
    const t = fieldD(word);
    if (t !== SP) registers.set(t, register.high(mmu), register.low(mmu));
    return None;
  });

/** MSR register, Xt. */
export const writeRegister = (register: TagRegister): Execute =>
  withRights(register, ({ mmu, registers }, word) => {
    const t = fieldD(word);
    register.write?.(mmu, highOrZero(registers, t), lowOrZero(registers, t));
    return None;
  });

/** MSR TCO, #imm: bit 0 of the immediate. */
export const writeTco: Execute = ({ mmu }, word) => {
  mmu.setTco(((word >>> 8) & 1) !== 0);
  return None;
};
