/**
 * Runs arm64 vectors: loads registers, descriptors and tags, makes each step, compares its outcome bit by bit and
 * everything in memory exactly. The vector that differs is run once more up to that step, observed, so that its walk can
 * be shown.
 */
import { describeAccess } from '../../arch/access.ts';
import type { Arm64Features } from '../../arch/arm64/features.ts';
import type { Arm64Mmu } from '../../arch/arm64/mmu.ts';
import { TCR_EL1 } from '../../arch/arm64/registers.ts';
import { SCTLR_EL1 } from '../../arch/arm64/system-registers.ts';
import { tableShape } from '../../arch/arm64/table-shape.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { InputError } from '../../base/input-error.ts';
import { fromHalves, type Halves, hex } from '../../base/u64.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { Place } from '../json-fields.ts';
import { accessFlagUpdates } from './access-flag-updates.ts';
import { Arm64VectorMachine, accessBits } from './arm64-machine.ts';
import { instructionText, MteChecker } from './arm64-mte-checker.ts';
import { arm64OutcomeText, sameArm64Outcome, wordText } from './arm64-outcome.ts';
import {
  type Arm64AccessStep,
  type Arm64Step,
  type Arm64Vector,
  type AtName,
  parseArm64Vector,
} from './arm64-vector.ts';
import { type VectorFeatures, vectorFeatures } from './arm64-vector-features.ts';
import { type DataEffect, DataProbe } from './data-probe.ts';
import { EntryMemory } from './entry-memory.ts';
import { NO_MEMORY } from './memory-list.ts';
import {
  differenceAt,
  type ExplainedVector,
  type Mismatch,
  type VectorArchitecture,
  type VectorDifference,
  type VectorOutcome,
  type VectorRunner,
} from './vector-runner.ts';

const EFFECTS: Readonly<Record<Arm64AccessStep['kind'], DataEffect>> = {
  read: 'read',
  readUnpriv: 'read',
  fetch: 'read',
  write: 'write',
  writeUnpriv: 'write',
  atomic: 'add',
  dczva: 'zero',
};

/** Runs the vectors of one processor. */
class VectorBench {
  private readonly machine: Arm64VectorMachine;
  private readonly entries: EntryMemory;
  private readonly data: DataProbe;
  private readonly mte: MteChecker;

  constructor(retention: Retention, features: Arm64Features) {
    this.machine = new Arm64VectorMachine(retention, features);
    this.entries = new EntryMemory(this.machine.memory);
    this.data = new DataProbe(this.machine.memory);
    this.mte = new MteChecker(this.machine);
  }

  run(vector: Arm64Vector, place: Place & { readonly line: number }): VectorOutcome {
    const { id, kind, labels: tags, steps } = vector;
    this.load(vector);
    for (let index = 0; index < steps.length; index++) {
      const mismatches = this.step(vector, steps[index] as Arm64Step);
      if (mismatches.length === 0) continue;
      const difference = this.difference(vector, index, mismatches, place);
      return { id, kind, tags, steps: index + 1, difference };
    }
    const stray = this.strayStores();
    const difference = stray.length === 0 ? null : this.difference(vector, steps.length - 1, stray, place);
    return { id, kind, tags, steps: steps.length, difference };
  }

  /**
   * Runs a vector up to a step and makes that step observed.
   * @param index of the step, from 0
   */
  explain(
    vector: Arm64Vector,
    index: number,
  ): { readonly state: readonly string[]; readonly walk: ExplainedWalk | null } {
    this.load(vector);
    for (const step of vector.steps.slice(0, index)) this.step(vector, step);
    const walk = this.explainStep(vector.steps[index] as Arm64Step);
    return { state: walk === null ? registerLines(this.machine.mmu) : [], walk };
  }

  private explainStep(step: Arm64Step): ExplainedWalk | null {
    if (step.op === 'access') return this.machine.explainAccess(step);
    return step.op === 'mteInsn' ? this.mte.explain(step) : null;
  }

  private load(vector: Arm64Vector): void {
    // Whatever the last one left behind, also when it failed half way.
    this.machine.memory.clear();
    this.entries.clear();
    this.entries.load(vector.memory);
    this.mte.loadTags(vector.tags);
    this.machine.load(vector.cpu);
  }

  private step(vector: Arm64Vector, step: Arm64Step): readonly Mismatch[] {
    switch (step.op) {
      case 'access':
        return this.access(vector, step);
      case 'mteInsn': {
        const wrong = this.mte.run(step);
        return [...wrong, ...(this.entries.compare(NO_MEMORY, NO_MEMORY) ?? [])];
      }
      case 'write64':
        this.machine.store(step.pa, step.value);
        this.entries.stored(step.pa.hi, step.pa.lo, step.value.hi, step.value.lo);
        break;
      case 'tlbi':
        this.machine.tlbi(step.what, step.arg);
        break;
      case 'setTtbr':
        this.machine.setTtbr(step.ttbr0, step.ttbr1);
        break;
      case 'dsbIsb':
        this.machine.dsbIsb();
        break;
    }
    return this.entries.compare(NO_MEMORY, NO_MEMORY) ?? NO_MISMATCH;
  }

  private access(vector: Arm64Vector, step: Arm64AccessStep): readonly Mismatch[] {
    const { machine, data } = this;
    const { expect, kind, size } = step;
    const wrong: Mismatch[] = [];
    if (expect.kind === 'address') data.plant(EFFECTS[kind], expect.address, size, step.pa2);
    const got = machine.access(step, data.stored);
    if (!sameArm64Outcome(expect, got)) {
      wrong.push({ what: 'outcome', expected: arm64OutcomeText(expect), got: arm64OutcomeText(got) });
    } else if (expect.kind === 'address') this.checkLoaded(step, wrong);
    if (expect.kind === 'address') push(wrong, data.finish());
    const may = step.afterUnpredictable
      ? accessFlagUpdates(vector.memory, granuleBytes(machine.mmu, step.va.hi))
      : NO_MEMORY;
    const entries = this.entries.compare(step.memoryAfter, may.length > 0 ? may : step.memoryMay);
    if (entries !== undefined) wrong.push(...entries);
    if (step.tagStatus !== null) this.mte.checkStatus(step.tagStatus, wrong);
    this.checkAddressTranslation(vector, step, wrong);
    return wrong;
  }

  /** What a load or an atomic access returned: the bytes planted where it had to read. */
  private checkLoaded({ kind, size }: Arm64AccessStep, wrong: Mismatch[]): void {
    const effect = EFFECTS[kind];
    if (effect !== 'read' && effect !== 'add') return;
    const { loaded } = this.machine;
    for (let index = 0; index < size; index++) {
      if (loaded[index] === this.data.readByte(effect, index)) continue;
      const wanted = Uint8Array.from({ length: size }, (_, at) => this.data.readByte(effect, at));
      wrong.push({ what: 'bytes read', expected: hexBytes(wanted), got: hexBytes(loaded.subarray(0, size)) });
      return;
    }
  }

  /**
   * AT instructions under the state before the access: `at`, and `par`, the result of the one that matches the access.
   * They change no descriptor, as the recorded machine's do not.
   */
  private checkAddressTranslation(vector: Arm64Vector, step: Arm64AccessStep, wrong: Mismatch[]): void {
    const { at, par } = step;
    if (at.length === 0 && par === null) return;
    if (step.memoryAfter.length > 0 || step.afterUnpredictable) {
      this.entries.clear();
      this.entries.load(vector.memory);
    }
    for (const [name, result] of at) this.checkPar(`AT ${name.toUpperCase()}`, name, step.va, result, wrong);
    if (par !== null) this.checkPar('PAR_EL1', matchingAt(step, vector.cpu.uao), step.va, par, wrong);
    const entries = this.entries.compare(NO_MEMORY, NO_MEMORY);
    if (entries !== undefined) wrong.push(...entries);
  }

  private checkPar(what: string, name: AtName, va: Halves, result: Halves, wrong: Mismatch[]): void {
    const got = this.machine.addressTranslation(name, va);
    if (((got.lo ^ result.lo) & ~UNCOMPARED_PAR) === 0 && got.hi === result.hi) return;
    wrong.push({ what, expected: wordText(result), got: wordText(got) });
  }

  /** Nothing may be left in memory once everything the vector speaks of is back to zero. */
  private strayStores(): readonly Mismatch[] {
    const wrong: Mismatch[] = [];
    this.entries.clear();
    this.mte.finish(wrong);
    const { memory } = this.machine;
    const address = memory.releaseZeroFrames();
    if (address !== undefined) wrong.push({ what: `memory at ${hex(address)}`, ...WRITTEN });
    const granule = memory.tags?.findNonZero();
    if (granule !== undefined) wrong.push({ what: `tag of ${hex(granule)}`, ...WRITTEN });
    return wrong;
  }

  private difference(
    vector: Arm64Vector,
    index: number,
    mismatches: readonly Mismatch[],
    place: Place & { readonly line: number },
  ): VectorDifference {
    const operation = operationText(vector.steps[index] as Arm64Step);
    return differenceAt(vector, index, place, { ...this.explain(vector, index), operation, mismatches });
  }
}

const WRITTEN = { expected: 'unchanged', got: 'written' };
const NO_MISMATCH: readonly Mismatch[] = [];
/** NS (bit 9) and bit 10 of PAR_EL1, which the vectors leave open. */
const UNCOMPARED_PAR = 0x600;

function push(wrong: Mismatch[], mismatch: Mismatch | undefined): void {
  if (mismatch !== undefined) wrong.push(mismatch);
}

/** Bytes of a granule of the half that an address is in. */
const granuleBytes = ({ state, features }: Arm64Mmu, hi: number): number =>
  2 ** tableShape(state, features, (hi & BIT_55) !== 0).granule;
const BIT_55 = 1 << 23;

/** The registers, for a step that translates nothing. */
const registerLines = ({ state }: Arm64Mmu): string[] => [
  `TTBR0_EL1 = ${hex(fromHalves(state.ttbr0Hi, state.ttbr0Lo))}, TTBR1_EL1 = ${hex(fromHalves(state.ttbr1Hi, state.ttbr1Lo))}`,
  `TCR_EL1: ${TCR_EL1.format(fromHalves(state.tcrHi, state.tcrLo))}`,
  `SCTLR_EL1: ${SCTLR_EL1.format(fromHalves(state.sctlrHi, state.sctlrLo))}`,
];

const hexBytes = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** The AT instruction that asks what the access asked; for a fetch, the one for reads. */
function matchingAt({ kind, el }: Arm64AccessStep, uao: boolean): AtName {
  const unprivileged = el === 0 || ((kind === 'readUnpriv' || kind === 'writeUnpriv') && !uao);
  const write = EFFECTS[kind] !== 'read';
  return unprivileged ? (write ? 's1e0w' : 's1e0r') : write ? 's1e1w' : 's1e1r';
}

export class Arm64VectorRunner implements VectorRunner {
  private readonly retention: Retention;
  /** By the features added to the recorded machine. */
  private readonly benches = new Map<string, VectorBench>();

  constructor(retention: Retention) {
    this.retention = retention;
  }

  run(value: unknown, place: Place & { readonly line: number }): VectorOutcome {
    const vector = parseArm64Vector(value, place);
    const processor = vectorFeatures(vector.features);
    if (processor.unknown.length === 0) return this.benchOf(processor).run(vector, place);
    const { id, kind, labels: tags } = vector;
    return { id, kind, tags, steps: 0, difference: null, unsupported: processor.unknown };
  }

  /**
   * Runs a vector up to a step and makes that step observed.
   * @param index of the step, from 0
   * @throws InputError when it names a feature that the model does not know
   */
  explain(vector: Arm64Vector, index: number, { file }: Place): ExplainedWalk | null {
    const processor = vectorFeatures(vector.features);
    if (processor.unknown.length === 0) return this.benchOf(processor).explain(vector, index).walk;
    throw new InputError(`vector ${vector.id} names features that are not built`, {
      file,
      found: processor.unknown.join(', '),
    });
  }

  private benchOf({ features, added }: VectorFeatures): VectorBench {
    let bench = this.benches.get(added);
    if (bench === undefined) {
      bench = new VectorBench(this.retention, features);
      this.benches.set(added, bench);
    }
    return bench;
  }
}

export const ARM64_VECTORS: VectorArchitecture = {
  name: 'arm64',
  createRunner: (retention) => new Arm64VectorRunner(retention),
  explain: explainStep,
};

function explainStep(value: unknown, place: Place, step?: number): ExplainedVector {
  const vector = parseArm64Vector(value, place);
  const { id, steps } = vector;
  const index = step === undefined ? steps.findLastIndex(isWalked) : step - 1;
  const chosen = steps[index];
  const walk = chosen === undefined ? null : new Arm64VectorRunner('profile').explain(vector, index, place);
  if (chosen === undefined || walk === null || (chosen.op !== 'access' && chosen.op !== 'mteInsn')) {
    const accesses = steps.flatMap(({ op }, at) => (op === 'access' ? [at + 1] : []));
    throw new InputError(`vector ${id} makes no access${step === undefined ? '' : ` at step ${step}`}`, {
      file: place.file,
      expected: accesses.length === 0 ? 'a vector that does' : `one of the accesses: ${accesses.join(', ')}`,
      found:
        chosen === undefined
          ? `${steps.length} ${steps.length === 1 ? 'step' : 'steps'}`
          : operationText(chosen),
    });
  }
  return {
    id,
    step: index + 1,
    steps: steps.length,
    operation: operationText(chosen),
    state: [],
    walk,
    recorded: arm64OutcomeText(chosen.expect),
  };
}

const isWalked = ({ op }: Arm64Step): boolean => op === 'access' || op === 'mteInsn';

/** A step in words. */
function operationText(step: Arm64Step): string {
  switch (step.op) {
    case 'access':
      return `${describeAccess(accessBits(step))} of ${step.size} ${step.size === 1 ? 'byte' : 'bytes'} at ${wordText(step.va)}, EL${step.el}`;
    case 'mteInsn':
      return instructionText(step);
    case 'write64':
      return `store ${wordText(step.value)} to the descriptor at ${wordText(step.pa)}`;
    case 'dsbIsb':
      return 'DSB SY, ISB';
    case 'tlbi':
      return `TLBI ${step.what.toUpperCase()}${step.arg === null ? '' : `, ${wordText(step.arg)}`}`;
    case 'setTtbr':
      return `TTBR0_EL1 = ${wordText(step.ttbr0)}, TTBR1_EL1 = ${wordText(step.ttbr1)}, ISB`;
  }
}
