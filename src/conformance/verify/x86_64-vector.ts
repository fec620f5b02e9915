/**
 * The x86-64 hardware vectors: one line of the file as a typed value. A single access becomes a sequence of one step,
 * so that everything after the parser knows only steps. Memory lists stay flat int32 arrays: physical address high,
 * low, value high, low for each entry.
 */
import type { Halves } from '../../base/u64.ts';
import { FieldReader, type Place } from '../json-fields.ts';
import { type MemoryList, NO_MEMORY } from './memory-list.ts';

const ACCESS_KINDS = ['read', 'write', 'fetch'] as const;
type AccessKind = (typeof ACCESS_KINDS)[number];
const SEGMENTS = ['ds', 'ss'] as const;

/** What an access or a privileged instruction must give, and what the model gave. */
export type Outcome =
  | { readonly kind: 'address'; readonly address: Halves }
  | { readonly kind: 'done' }
  | {
      readonly kind: 'fault';
      readonly vector: number;
      readonly errorCode: number;
      /** For #PF only: CR2 is untouched by the others. */
      readonly cr2?: Halves;
    };

export interface AccessStep {
  readonly op: 'access';
  readonly va: Halves;
  readonly kind: AccessKind;
  readonly segment: 'ds' | 'ss';
  readonly cpl: number;
  readonly ac: boolean;
  readonly expect: Outcome;
  /** Entries that change, relative to the state just before the step; no other listed entry may. */
  readonly memoryAfter: MemoryList;
  /** Accessed-flag updates that a faulting walk may make, any subset of them. */
  readonly memoryMay: MemoryList;
}

const REGISTER_OPS = ['movcr0', 'movcr3', 'movcr4', 'wrpkru'] as const;
type RegisterOp = (typeof REGISTER_OPS)[number];
const STEP_OPS = ['access', 'write64', 'invlpg', 'invpcid', ...REGISTER_OPS] as const;

export type VectorStep =
  | AccessStep
  /** A plain store to a table entry: no invalidation implied. */
  | { readonly op: 'write64'; readonly pa: Halves; readonly value: Halves }
  | { readonly op: 'invlpg'; readonly va: Halves; readonly expect: Outcome }
  | {
      readonly op: 'invpcid';
      readonly type: number;
      /** Bits 63:0 of the descriptor. */
      readonly pcid: Halves;
      readonly va: Halves;
      readonly expect: Outcome;
    }
  | { readonly op: RegisterOp; readonly value: Halves; readonly expect: Outcome };

export interface VectorCpu {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly pkru: bigint;
  readonly pkrs: bigint;
  readonly maxPhysAddr: number;
  /** CPUID has 1-GiB pages. */
  readonly page1g: boolean;
}

export interface X86Vector {
  readonly id: string;
  readonly sequence: boolean;
  readonly cpu: VectorCpu;
  readonly memory: MemoryList;
  readonly steps: readonly VectorStep[];
  readonly tags: readonly string[];
}

/** @throws InputError naming file, line and field for anything that is not such a vector */
export function parseX86Vector(value: unknown, place: Place): X86Vector {
  const fields = new FieldReader(value, place);
  const cpu = fields.object('cpu');
  const sequence = fields.has('steps');
  const steps = sequence ? fields.objects('steps').map(parseStep) : [parseSingle(fields, cpu)];
  return {
    id: fields.text('id'),
    sequence,
    cpu: parseCpu(cpu),
    memory: fields.wordPairs('memory'),
    steps,
    tags: fields.texts('tags'),
  };
}

function parseCpu(cpu: FieldReader): VectorCpu {
  return {
    cr0: cpu.hex('cr0'),
    cr3: cpu.hex('cr3'),
    cr4: cpu.hex('cr4'),
    efer: cpu.hex('efer'),
    pkru: cpu.hex('pkru'),
    pkrs: cpu.hex('pkrs'),
    maxPhysAddr: cpu.integer('maxPhysAddr', 32, 52),
    page1g: cpu.boolean('pge1g'),
  };
}

/** A single keeps CPL and AC with the registers, and the expectation beside the access. */
function parseSingle(fields: FieldReader, cpu: FieldReader): AccessStep {
  return parseAccess(fields.object('access'), fields, cpu);
}

function parseAccess(access: FieldReader, outcome: FieldReader, state: FieldReader): AccessStep {
  return {
    op: 'access',
    va: access.word('va'),
    kind: access.oneOf('kind', ACCESS_KINDS),
    segment: access.oneOf('seg', SEGMENTS),
    cpl: state.integer('cpl', 0, 3),
    ac: state.integer('ac', 0, 1) === 1,
    expect: parseAccessOutcome(outcome.object('expect')),
    memoryAfter: outcome.wordPairs('memoryAfter'),
    memoryMay: outcome.has('memoryMay') ? outcome.wordPairs('memoryMay') : NO_MEMORY,
  };
}

function parseStep(step: FieldReader): VectorStep {
  const op = step.oneOf('op', STEP_OPS);
  switch (op) {
    case 'access':
      return parseAccess(step, step, step);
    case 'write64':
      return { op, pa: step.word('pa'), value: step.word('value') };
    case 'invlpg':
      return { op, va: step.word('va'), expect: parseInstructionOutcome(step.object('expect')) };
    case 'invpcid': {
      const type = step.integer('type', 0, Number.MAX_SAFE_INTEGER);
      const expect = parseInstructionOutcome(step.object('expect'));
      return { op, type, pcid: step.word('pcid'), va: step.word('va'), expect };
    }
    default: {
      const value = step.word('value');
      if (op === 'wrpkru' && value.hi !== 0) step.fail(['value'], 'the 32 bits of EAX', step.value['value']);
      return { op, value, expect: parseInstructionOutcome(step.object('expect')) };
    }
  }
}

function parseAccessOutcome(expect: FieldReader): Outcome {
  return expect.has('pa') ? { kind: 'address', address: expect.word('pa') } : parseFault(expect);
}

function parseInstructionOutcome(expect: FieldReader): Outcome {
  if (!expect.has('ok')) return parseFault(expect);
  if (!expect.boolean('ok')) expect.fail(['ok'], 'true, or a fault instead', false);
  return { kind: 'done' };
}

function parseFault(expect: FieldReader): Outcome {
  if (!expect.has('fault')) expect.fail(['fault'], 'a fault, or "pa" or "ok" instead', undefined);
  const fault = expect.object('fault');
  const vector = fault.integer('vector', 0, 31);
  const code = fault.word('errorCode');
  if (code.hi !== 0) fault.fail(['errorCode'], 'a 32-bit error code', fault.value['errorCode']);
  return fault.has('cr2')
    ? { kind: 'fault', vector, errorCode: code.lo, cr2: fault.word('cr2') }
    : { kind: 'fault', vector, errorCode: code.lo };
}
