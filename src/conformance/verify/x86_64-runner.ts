/**
 * Runs x86-64 vectors: loads registers and entries, makes each step, compares its outcome bit by bit and the entries
 * exactly. The vector that differs is run once more up to that step, observed, so that its walk can be shown.
 */
import { describeAccess } from '../../arch/access.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { explainWalk } from '../../arch/x86_64/explain.ts';
import type { X86Mmu } from '../../arch/x86_64/mmu.ts';
import { CR0, CR4, EFER } from '../../arch/x86_64/registers.ts';
import { InputError } from '../../base/input-error.ts';
import { fromHalves, type Halves, hexHalves } from '../../base/u64.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { Place } from '../json-fields.ts';
import { EntryMemory } from './entry-memory.ts';
import { outcomeText, sameOutcome } from './outcome.ts';
import {
  differenceAt,
  type ExplainedVector,
  type Mismatch,
  type VectorArchitecture,
  type VectorDifference,
  type VectorOutcome,
  type VectorRunner,
} from './vector-runner.ts';
import { accessBits, VectorMachine } from './x86_64-machine.ts';
import { type Outcome, parseX86Vector, type VectorStep, type X86Vector } from './x86_64-vector.ts';

const NOTHING = new Int32Array(0);

export class X86VectorRunner implements VectorRunner {
  readonly #machine: VectorMachine;
  readonly #entries: EntryMemory;

  constructor(retention: Retention) {
    this.#machine = new VectorMachine(retention);
    this.#entries = new EntryMemory(this.#machine.memory);
  }

  run(value: unknown, place: Place & { readonly line: number }): VectorOutcome {
    const vector = parseX86Vector(value, place);
    const { id, sequence, tags, steps } = vector;
    const kind = sequence ? 'sequences' : 'single accesses';
    this.#load(vector);
    for (let index = 0; index < steps.length; index++) {
      const mismatches = this.#step(steps[index] as VectorStep);
      if (mismatches === undefined) continue;
      const difference = this.#difference(vector, index, mismatches, place);
      return { id, kind, tags, steps: index + 1, difference };
    }
    return { id, kind, tags, steps: steps.length, difference: null };
  }

  /**
   * Runs a vector up to a step and makes that step observed.
   * @param index of the step, from 0
   */
  explain(
    vector: X86Vector,
    index: number,
  ): { readonly state: string[]; readonly walk: ExplainedWalk | null } {
    this.#runUpTo(vector, index);
    const { mmu } = this.#machine;
    const step = vector.steps[index] as VectorStep;
    if (step.op !== 'access') return { state: [...keyLines(mmu), ...registerLines(mmu)], walk: null };
    mmu.setAlignmentCheck(step.ac);
    return {
      state: keyLines(mmu),
      walk: explainWalk(mmu, fromHalves(step.va.hi, step.va.lo), accessBits(step)),
    };
  }

  /** What a step gives after the ones before it. @param index from 0 */
  outcome(vector: X86Vector, index: number): Outcome {
    this.#runUpTo(vector, index);
    return this.#machine.step(vector.steps[index] as VectorStep);
  }

  #runUpTo(vector: X86Vector, index: number): void {
    this.#load(vector);
    for (const step of vector.steps.slice(0, index)) this.#step(step);
  }

  #load(vector: X86Vector): void {
    this.#entries.clear();
    this.#entries.load(vector.memory);
    this.#machine.load(vector.cpu);
  }

  #step(step: VectorStep): Mismatch[] | undefined {
    const got = this.#machine.step(step);
    if (step.op === 'write64') {
      this.#entries.stored(step.pa.hi, step.pa.lo, step.value.hi, step.value.lo);
      return this.#entries.compare(NOTHING, NOTHING);
    }
    const wrong =
      step.op === 'access'
        ? this.#entries.compare(step.memoryAfter, step.memoryMay)
        : this.#entries.compare(NOTHING, NOTHING);
    if (sameOutcome(step.expect, got)) return wrong;
    const outcome = { what: 'outcome', expected: outcomeText(step.expect), got: outcomeText(got) };
    return [outcome, ...(wrong ?? [])];
  }

  #difference(
    vector: X86Vector,
    index: number,
    mismatches: readonly Mismatch[],
    place: Place & { readonly line: number },
  ): VectorDifference {
    const operation = operationText(vector.steps[index] as VectorStep);
    return differenceAt(vector, index, place, { ...this.explain(vector, index), operation, mismatches });
  }
}

export const X86_64_VECTORS: VectorArchitecture = {
  name: 'x86_64',
  createRunner: (retention) => new X86VectorRunner(retention),
  explain: explainStep,
};

function explainStep(value: unknown, place: Place, step?: number): ExplainedVector {
  const vector = parseX86Vector(value, place);
  const { id, steps } = vector;
  const index = step === undefined ? steps.findLastIndex(({ op }) => op === 'access') : step - 1;
  const chosen = steps[index];
  if (chosen?.op !== 'access') {
    const accesses = steps.flatMap(({ op }, at) => (op === 'access' ? [at + 1] : []));
    throw new InputError(`vector ${id} has no access at step ${step}`, {
      file: place.file,
      expected: `one of the accesses: ${accesses.join(', ')}`,
      found:
        chosen === undefined
          ? `${steps.length} ${steps.length === 1 ? 'step' : 'steps'}`
          : operationText(chosen),
    });
  }
  const { state, walk } = new X86VectorRunner('profile').explain(vector, index);
  if (walk === null) throw new Error(`step ${index + 1} of ${id} is an access and was not translated`);
  return {
    id,
    step: index + 1,
    steps: steps.length,
    operation: operationText(chosen),
    state,
    walk,
    recorded: outcomeText(chosen.expect),
  };
}

/** What decides beside the control registers. */
function keyLines({ state, features }: X86Mmu): string[] {
  const keys = `PKRU ${hexHalves(0, state.pkru)}, PKRS ${hexHalves(0, state.pkrs)}`;
  return [`${keys}, MAXPHYADDR ${features.maxPhysAddr}${features.page1g ? '' : ', no 1-GiB pages'}`];
}

function registerLines({ state }: X86Mmu): string[] {
  return [
    `CR3 = ${hexHalves(state.cr3Hi, state.cr3Lo)}`,
    `CR0: ${CR0.format(fromHalves(0, state.cr0))}`,
    `CR4: ${CR4.format(fromHalves(state.cr4Hi, state.cr4))}`,
    `EFER: ${EFER.format(fromHalves(0, state.efer))}`,
  ];
}

const wordText = ({ hi, lo }: Halves): string => hexHalves(hi, lo);

/** A step in words. */
function operationText(step: VectorStep): string {
  switch (step.op) {
    case 'access':
      return `${describeAccess(accessBits(step))} of ${wordText(step.va)}, CPL ${step.cpl}, AC ${step.ac ? 1 : 0}`;
    case 'write64':
      return `store ${wordText(step.value)} to the entry at ${wordText(step.pa)}`;
    case 'invlpg':
      return `INVLPG ${wordText(step.va)}`;
    case 'invpcid':
      return `INVPCID type ${step.type}, descriptor ${wordText(step.pcid)} ${wordText(step.va)}`;
    case 'wrpkru':
      return `WRPKRU ${wordText(step.value)}`;
    default:
      return `MOV to ${step.op.slice(3).toUpperCase()}, ${wordText(step.value)}`;
  }
}
