/**
 * The arm64 hardware vectors: one line of the file as a typed value. A single access and a tag instruction become a
 * sequence of one step, so that everything after the parser knows only steps. Lists stay flat int32 arrays.
 */
import type { Halves } from '../../base/u64.ts';
import { FieldReader, type Place } from '../json-fields.ts';
import { type MteInstructionStep, parseMteInstruction, parseTags, type TagList } from './arm64-mte-fields.ts';
import { type Arm64Outcome, flag, parseArm64Fault } from './arm64-outcome.ts';
import { type MemoryList, NO_MEMORY } from './memory-list.ts';

const ACCESS_KINDS = ['read', 'write', 'fetch', 'readUnpriv', 'writeUnpriv', 'atomic', 'dczva'] as const;
export type AccessKind = (typeof ACCESS_KINDS)[number];

/** The AT instructions whose results are recorded, by their name in `at`. */
const AT_NAMES = ['s1e1r', 's1e1w', 's1e0r', 's1e0w', 's1e1rp', 's1e1wp'] as const;
export type AtName = (typeof AT_NAMES)[number];

export interface Arm64AccessStep {
  readonly op: 'access';
  readonly va: Halves;
  readonly kind: AccessKind;
  /** Bytes. */
  readonly size: number;
  readonly el: 0 | 1;
  readonly pan: boolean;
  readonly expect: Arm64Outcome;
  /** PAR_EL1 of the AT instruction that matches the access; null where none is recorded. */
  readonly par: Halves | null;
  /** Where the bytes of the second page are, for an access that crosses pages. */
  readonly pa2: Halves | null;
  /** PAR_EL1 of AT instructions under the same state. */
  readonly at: readonly (readonly [AtName, Halves])[];
  /** TFSR_EL1 and TFSRE0_EL1 after the access; null where they are not recorded. */
  readonly tagStatus: { readonly tfsr: number; readonly tfsre0: number } | null;
  /** Descriptors that change, relative to the state just before the step; no other listed one may. */
  readonly memoryAfter: MemoryList;
  /** Updates that are permitted and not required, any subset of them. */
  readonly memoryMay: MemoryList;
  /** Setting the Access flag of the leaf descriptors that were used is permitted and not required. */
  readonly afterUnpredictable: boolean;
}

const STEP_OPS = ['access', 'write64', 'dsbIsb', 'tlbi', 'setTtbr'] as const;
const TLBI_OPERATION = /^(?:vmalle1|aside1|r?va(?:a|l|al)?e1)(?:is|os)?$/;

export type Arm64Step =
  | Arm64AccessStep
  | MteInstructionStep
  /** A plain store to a descriptor: no invalidation implied. */
  | { readonly op: 'write64'; readonly pa: Halves; readonly value: Halves }
  | { readonly op: 'dsbIsb' }
  /** `arg` is Xt; null for the forms that have none. */
  | { readonly op: 'tlbi'; readonly what: string; readonly arg: Halves | null }
  | { readonly op: 'setTtbr'; readonly ttbr0: Halves; readonly ttbr1: Halves };

export interface Arm64Cpu {
  readonly sctlr: Halves;
  readonly tcr: Halves;
  readonly tcr2: Halves;
  readonly ttbr0: Halves;
  readonly ttbr1: Halves;
  readonly mair: Halves;
  readonly pir: Halves;
  readonly pire0: Halves;
  readonly porEl1: Halves;
  readonly porEl0: Halves;
  readonly uao: boolean;
  readonly tco: boolean;
}

/** As the report counts them. */
type Arm64Kind =
  | 'translations'
  | 'permission indirections'
  | 'MTE accesses'
  | 'MTE instructions'
  | 'TLB sequences';

export interface Arm64Vector {
  readonly id: string;
  readonly kind: Arm64Kind;
  readonly cpu: Arm64Cpu;
  /** Names of `cpu.features`. */
  readonly features: readonly string[];
  readonly memory: MemoryList;
  /** Allocation Tags before the first step. */
  readonly tags: TagList;
  readonly steps: readonly Arm64Step[];
  readonly labels: readonly string[];
}

/** @throws InputError naming file, line and field for anything that is not such a vector */
export function parseArm64Vector(value: unknown, place: Place): Arm64Vector {
  const fields = new FieldReader(value, place);
  const kind = kindOf(fields);
  const cpu = fields.object('cpu');
  return {
    id: fields.text('id'),
    kind,
    features: cpu.texts('features'),
    cpu: parseCpu(cpu, kind),
    memory: fields.wordPairs('memory'),
    tags: parseTags(
      fields,
      kind === 'MTE instructions' ? 'mteTagsBefore' : kind === 'MTE accesses' ? 'mteTags' : null,
    ),
    steps: parseSteps(fields, cpu, kind),
    labels: fields.texts('labels'),
  };
}

/** What a vector is: by its `kind`, or by what it brings along. */
function kindOf(fields: FieldReader): Arm64Kind {
  if (fields.has('kind')) {
    const kind = fields.oneOf('kind', ['mteInsn', 'tlbSeq'] as const);
    return kind === 'mteInsn' ? 'MTE instructions' : 'TLB sequences';
  }
  if (fields.has('mteTags')) return 'MTE accesses';
  return fields.object('cpu').has('pir') ? 'permission indirections' : 'translations';
}

const ZERO: Readonly<Halves> = { hi: 0, lo: 0 };

/**
 * A sequence names EL and PAN at each access, and neither UAO nor TCO: both are 0. Permission registers that are not given
 * are 0; those of indirection come together.
 */
function parseCpu(cpu: FieldReader, kind: Arm64Kind): Arm64Cpu {
  const single = kind !== 'TLB sequences';
  const indirect = cpu.has('pir') || cpu.has('pire0');
  const optional = (name: string): Halves => (cpu.has(name) ? cpu.word(name) : ZERO);
  return {
    sctlr: cpu.word('sctlr'),
    tcr: cpu.word('tcr'),
    tcr2: cpu.word('tcr2'),
    ttbr0: cpu.word('ttbr0'),
    ttbr1: cpu.word('ttbr1'),
    mair: cpu.word('mair'),
    pir: indirect ? cpu.word('pir') : ZERO,
    pire0: indirect ? cpu.word('pire0') : ZERO,
    porEl1: optional('por_el1'),
    porEl0: optional('por_el0'),
    uao: single && flag(cpu, 'uao'),
    tco: single && flag(cpu, 'tco'),
  };
}

function parseSteps(fields: FieldReader, cpu: FieldReader, kind: Arm64Kind): Arm64Step[] {
  if (kind === 'TLB sequences') return fields.objects('steps').map(parseStep);
  if (kind === 'MTE instructions') return [parseMteInstruction(fields, cpu)];
  return [parseAccess(fields.object('access'), fields, cpu)];
}

function parseStep(step: FieldReader): Arm64Step {
  const op = step.oneOf('op', STEP_OPS);
  switch (op) {
    case 'access':
      return parseAccess(step, step, step);
    case 'write64':
      return { op, pa: step.word('pa'), value: step.word('value') };
    case 'dsbIsb':
      return { op };
    case 'setTtbr':
      return { op, ttbr0: step.word('ttbr0'), ttbr1: step.word('ttbr1') };
    case 'tlbi': {
      const what = step.text('what');
      if (!TLBI_OPERATION.test(what)) step.fail(['what'], 'a TLBI operation at EL1, as "vae1is"', what);
      return { op, what, arg: what.startsWith('vmall') ? null : step.word('arg') };
    }
  }
}

/** A single keeps EL and PAN with the registers and the expectation beside the access; a step has all in one place. */
function parseAccess(access: FieldReader, outcome: FieldReader, state: FieldReader): Arm64AccessStep {
  const expect = outcome.object('expect');
  const kind = access.oneOf('kind', ACCESS_KINDS);
  const after = outcome.wordPairs('memoryAfter');
  const unpredictable =
    outcome.has('memoryAfterUnpredictable') && outcome.boolean('memoryAfterUnpredictable');
  if (unpredictable && after.length > 0) {
    outcome.fail(
      ['memoryAfter'],
      'an empty list beside memoryAfterUnpredictable',
      outcome.value['memoryAfter'],
    );
  }
  return {
    op: 'access',
    va: access.word('va'),
    kind,
    size: parseSize(access, kind),
    el: state.integer('el', 0, 1) === 0 ? 0 : 1,
    pan: flag(state, 'pan'),
    expect: parseAccessOutcome(expect),
    par: expect.has('par') ? expect.word('par') : null,
    pa2: outcome.has('pa2') ? outcome.word('pa2') : null,
    at: outcome.has('at') ? parseAt(outcome.object('at')) : [],
    tagStatus: parseTagStatus(expect, outcome),
    memoryAfter: after,
    memoryMay: outcome.has('memoryMay') ? outcome.wordPairs('memoryMay') : NO_MEMORY,
    afterUnpredictable: unpredictable,
  };
}

const DATA_SIZES: readonly number[] = [1, 2, 4, 8, 16];
const SIZES: Readonly<Record<AccessKind, readonly number[]>> = {
  read: DATA_SIZES,
  write: DATA_SIZES,
  readUnpriv: [1, 2, 4, 8],
  writeUnpriv: [1, 2, 4, 8],
  fetch: [4],
  atomic: [8],
  dczva: [64],
};

function parseSize(access: FieldReader, kind: AccessKind): number {
  const size = access.integer('size', 1, 64);
  const sizes = SIZES[kind];
  if (!sizes.includes(size)) access.fail(['size'], `${sizes.join(', ')} bytes of a ${kind}`, size);
  return size;
}

function parseAt(at: FieldReader): [AtName, Halves][] {
  const results: [AtName, Halves][] = [];
  for (const name of Object.keys(at.value)) {
    if (!(AT_NAMES as readonly string[]).includes(name)) {
      at.fail([name], `one of ${AT_NAMES.join(', ')}`, at.value[name]);
    }
    results.push([name as AtName, at.word(name)]);
  }
  return results;
}

function parseTagStatus(expect: FieldReader, outcome: FieldReader): Arm64AccessStep['tagStatus'] {
  if (!outcome.has('mteTags')) return null;
  return { tfsr: tagFlags(expect, 'tfsr'), tfsre0: tagFlags(expect, 'tfsre0') };
}

/** TF0 and TF1. */
function tagFlags(expect: FieldReader, key: string): number {
  const { hi, lo } = expect.word(key);
  if (hi !== 0 || (lo & ~3) !== 0) expect.fail([key], 'bits 1 and 0 at most', expect.value[key]);
  return lo;
}

function parseAccessOutcome(expect: FieldReader): Arm64Outcome {
  return expect.has('pa') ? { kind: 'address', address: expect.word('pa') } : parseArm64Fault(expect);
}
