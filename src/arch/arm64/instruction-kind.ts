/** A 32-bit word as an instruction of the Memory Tagging Extension, as `tablewalk decode` explains it. */
import { hex } from '../../base/u64.ts';
import type { Decoded, DecodedField, DecodeKind } from '../decode-kind.ts';
import { decodeTagInstruction, formatTagInstruction, type TagEncoding } from './mte/encodings.ts';
import { type Operand, operandText } from './mte/operands.ts';
import { whatItDoes } from './mte/what-it-does.ts';

const KIND_WORDS: Readonly<Record<Operand['kind'], string>> = {
  sp: 'register, 31 is SP',
  zr: 'register, 31 is XZR',
  unsigned: 'immediate',
  signed: 'signed offset in units of 16 bytes',
  fixed: '',
};

const bitsOf = (word: number, high: number, low: number): bigint =>
  BigInt((word >>> low) & (2 ** (high - low + 1) - 1));

function operandField(operand: Operand, word: number): DecodedField {
  const high = operand.low + operand.width - 1;
  const unit = operand.scale > 1 && operand.kind === 'unsigned' ? ` in units of ${operand.scale} bytes` : '';
  return {
    name: operand.name,
    high,
    low: operand.low,
    kind: 'number',
    value: bitsOf(word, high, operand.low),
    meaning: KIND_WORDS[operand.kind] + unit,
    decoded: operandText(operand, word),
  };
}

const fixedField = (word: number, high: number, low: number): DecodedField => ({
  name: 'FIXED',
  high,
  low,
  kind: 'number',
  value: bitsOf(word, high, low),
  meaning: 'decides which instruction it is',
  decoded: null,
});

/** Every bit once, from bit 31 down: the operands, and the fixed bits between them. */
function fieldsOf({ operands }: TagEncoding, word: number): DecodedField[] {
  const placed = operands.filter(({ low }) => low >= 0).sort((a, b) => b.low - a.low);
  const fields: DecodedField[] = [];
  let next = 31;
  for (const operand of placed) {
    const field = operandField(operand, word);
    if (field.high < next) fields.push(fixedField(word, next, field.high + 1));
    fields.push(field);
    next = field.low - 1;
  }
  if (next >= 0) fields.push(fixedField(word, next, 0));
  return fields;
}

function decodeInstruction(value: bigint): Decoded {
  const word = Number(value) | 0;
  const encoding = decodeTagInstruction(word);
  const kind = 'arm64.mte-insn';
  const source = 'Arm ARM (DDI 0487), "A64 Base Instructions", by name';
  if (encoding === null) {
    const field: DecodedField = {
      name: 'WORD',
      high: 31,
      low: 0,
      kind: 'number',
      value,
      meaning: 'not an instruction of the Memory Tagging Extension',
      decoded: null,
    };
    return { kind, title: `word ${hex(value)}`, value, fields: [field], remarks: [], source };
  }
  const needs = encoding.needs === 1 ? 'FEAT_MTE' : 'FEAT_MTE2';
  const remarks = [whatItDoes(encoding), `needs ${needs}, without it the word is UNDEFINED`];
  const title = formatTagInstruction(word) ?? encoding.mnemonic;
  return { kind, title, value, fields: fieldsOf(encoding, word), remarks, source };
}

export const MTE_INSTRUCTION_KIND: DecodeKind = {
  name: 'arm64.mte-insn',
  summary: 'A64 instruction word of the Memory Tagging Extension, disassembled',
  width: 32,
  options: [],
  example: '0x9adf103f',
  decode: decodeInstruction,
};
