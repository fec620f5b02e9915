/** What the MTE vectors have beside the others: Allocation Tags, and tag instructions with their registers and windows. */
import type { Halves } from '../../base/u64.ts';
import type { FieldReader } from '../json-fields.ts';
import { type Arm64Outcome, flag, parseArm64Fault } from './arm64-outcome.ts';

/** [granule address high, low, tag] for each granule. */
export type TagList = Int32Array;
/** Words of one granule in a `TagList`. */
export const TAG_WORDS = 3;

const NO_TAGS: TagList = new Int32Array(0);

/** x0 to x7 and the stack pointer: high and low of each. */
export type RegisterList = Int32Array;
/** The names of a `RegisterList`, in order. */
export const REGISTER_NAMES = ['x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'sp'] as const;

/** A window of memory: where it starts and its bytes. */
export interface DataWindow {
  readonly address: Halves;
  readonly bytes: Uint8Array;
}

export interface MteInstructionStep {
  readonly op: 'mteInsn';
  /** `irg`, `stz2g`. */
  readonly name: string;
  /** 32 bits, as an int32. */
  readonly encoding: number;
  readonly el: 0 | 1;
  readonly pan: boolean;
  readonly registers: RegisterList;
  readonly registersAfter: RegisterList;
  readonly gcr: Halves;
  readonly rgsr: Halves;
  readonly rgsrAfter: Halves;
  /** Every granule of the block, afterwards. */
  readonly tagsAfter: TagList;
  readonly data: DataWindow | null;
  readonly dataAfter: DataWindow | null;
  /** N, Z, C, V from bit 3 down; null where the instruction leaves the flags alone. */
  readonly nzcvAfter: number | null;
  readonly expect: Arm64Outcome;
}

/** log2 of the words of an LDGM or STGM block of the recorded machine. */
const RECORDED_GMID_BS = 6;

export function parseMteInstruction(fields: FieldReader, cpu: FieldReader): MteInstructionStep {
  const encoding = fields.word('encoding');
  if (encoding.hi !== 0) fields.fail(['encoding'], 'an instruction of 32 bits', fields.value['encoding']);
  fields.integer('gmidBs', RECORDED_GMID_BS, RECORDED_GMID_BS);
  const withData = fields.has('dataBefore') || fields.has('dataAfter');
  return {
    op: 'mteInsn',
    name: fields.text('insn'),
    encoding: encoding.lo,
    el: cpu.integer('el', 0, 1) === 0 ? 0 : 1,
    pan: flag(cpu, 'pan'),
    registers: parseRegisters(fields.object('regsBefore')),
    registersAfter: parseRegisters(fields.object('regsAfter')),
    gcr: fields.word('gcr'),
    rgsr: fields.word('rgsr'),
    rgsrAfter: fields.word('rgsrAfter'),
    tagsAfter: parseTags(fields, 'mteTagsAfter'),
    data: withData ? parseWindow(fields, 'dataBefore') : null,
    dataAfter: withData ? parseWindow(fields, 'dataAfter') : null,
    nzcvAfter: fields.has('nzcvAfter') ? fields.integer('nzcvAfter', 0, 15) : null,
    expect: parseInstructionOutcome(fields.object('expect')),
  };
}

function parseInstructionOutcome(expect: FieldReader): Arm64Outcome {
  if (!expect.has('ok')) return parseArm64Fault(expect);
  if (!expect.boolean('ok')) expect.fail(['ok'], 'true, or a fault instead', false);
  return { kind: 'done' };
}

function parseRegisters(fields: FieldReader): RegisterList {
  const list = new Int32Array(REGISTER_NAMES.length * 2);
  REGISTER_NAMES.forEach((name, index) => {
    const { hi, lo } = fields.word(name);
    list[index * 2] = hi;
    list[index * 2 + 1] = lo;
  });
  return list;
}

/** @param key field with `[granule address, tag]` pairs; null for a vector without tags */
export function parseTags(fields: FieldReader, key: string | null): TagList {
  if (key === null) return NO_TAGS;
  const pairs = fields.list(key);
  const list = new Int32Array(pairs.length * TAG_WORDS);
  pairs.forEach((pair, index) => {
    const at = fields.pairWord([key, index], pair);
    if ((at.lo & 15) !== 0) fields.fail([key, index, 0], 'a multiple of 16', (pair as unknown[])[0]);
    const tag: unknown = (pair as unknown[])[1];
    if (!Number.isInteger(tag) || (tag as number) < 0 || (tag as number) > 15) {
      fields.fail([key, index, 1], 'a tag from 0 to 15', tag);
    }
    list.set([at.hi, at.lo, tag as number], index * TAG_WORDS);
  });
  return list;
}

const BYTES = /^(?:[0-9a-f]{2})+$/i;

function parseWindow(fields: FieldReader, key: string): DataWindow {
  const window = fields.list(key);
  const address = fields.pairWord([key], window);
  const text = window[1];
  if (typeof text !== 'string' || !BYTES.test(text))
    fields.fail([key, 1], 'bytes as hexadecimal digits', text);
  return { address, bytes: bytesOf(text as string) };
}

function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(at * 2, at * 2 + 2), 16);
  return bytes;
}
