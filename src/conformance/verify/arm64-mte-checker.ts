/** Runs tag instructions of the vectors and compares registers, flags, tags and data with what was recorded. */
import { Access } from '../../arch/access.ts';
import { explainInstruction } from '../../arch/arm64/explain.ts';
import { executeTagInstruction, formatTagInstruction } from '../../arch/arm64/mte/encodings.ts';
import type { TagCore } from '../../arch/arm64/mte/execute.ts';
import { Arm64TagInstructions } from '../../arch/arm64/mte/tag-operations.ts';
import { RegisterFile, SP } from '../../arch/arm64/register-file.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { FaultKind } from '../../arch/fault.ts';
import { type Halves, hexHalves } from '../../base/u64.ts';
import type { TagMemory } from '../../hardware/tag-memory.ts';
import type { Arm64VectorMachine } from './arm64-machine.ts';
import {
  type DataWindow,
  type MteInstructionStep,
  REGISTER_NAMES,
  type RegisterList,
  TAG_WORDS,
  type TagList,
} from './arm64-mte-fields.ts';
import {
  type Arm64Outcome,
  arm64OutcomeText,
  sameArm64Outcome,
  sameWord,
  wordText,
} from './arm64-outcome.ts';
import type { Arm64AccessStep } from './arm64-vector.ts';
import { bytesText } from './data-probe.ts';
import type { Mismatch } from './vector-runner.ts';

/** Registers that the vectors give: x0 to x7, and the stack pointer last. */
const registerNumber = (index: number): number => (index === REGISTER_NAMES.length - 1 ? SP : index);
/** What the registers hold that the vectors do not name: they may not change. */
const UNNAMED = 0x5a5a_0000;

const DONE: Arm64Outcome = { kind: 'done' };

export class MteChecker {
  private readonly machine: Arm64VectorMachine;
  private readonly tags: TagMemory;
  private readonly registers = new RegisterFile();
  private readonly core: TagCore;
  /** The tags that the vector speaks of, and the windows of data, to be put back to zero. */
  private listed: TagList = new Int32Array(0);
  private window: DataWindow | null = null;
  private step: MteInstructionStep | null = null;

  constructor(machine: Arm64VectorMachine) {
    this.machine = machine;
    const { mmu, memory } = machine;
    if (memory.tags === null) throw new Error('the machine has no tags');
    this.tags = memory.tags;
    this.core = { mmu, instructions: new Arm64TagInstructions(mmu), registers: this.registers };
  }

  loadTags(list: TagList): void {
    this.listed = list;
    this.window = null;
    this.step = null;
    for (let at = 0; at < list.length; at += TAG_WORDS) {
      this.tags.setTag(list[at] as number, list[at + 1] as number, list[at + 2] as number);
    }
  }

  /** After the last step: everything the vector speaks of back to zero. Tags that no step may change are compared. */
  finish(wrong: Mismatch[]): void {
    if (this.step === null) this.compareTags(this.listed, wrong);
    for (let at = 0; at < this.listed.length; at += TAG_WORDS) {
      this.tags.setTag(this.listed[at] as number, this.listed[at + 1] as number, 0);
    }
    if (this.step !== null) this.forgiveUnlisted(this.step);
    if (this.window !== null) this.writeWindow(this.window.address, new Uint8Array(this.window.bytes.length));
  }

  /** The two bits of TFSR_EL1 and TFSRE0_EL1 after an access. */
  checkStatus({ tfsr, tfsre0 }: NonNullable<Arm64AccessStep['tagStatus']>, wrong: Mismatch[]): void {
    const { state } = this.machine.mmu;
    if (state.tfsr !== tfsr) wrong.push(numbers('TFSR_EL1', tfsr, state.tfsr));
    if (state.tfsre0 !== tfsre0) wrong.push(numbers('TFSRE0_EL1', tfsre0, state.tfsre0));
  }

  run(step: MteInstructionStep): Mismatch[] {
    this.prepare(step);
    const kind = this.execute(step);
    const wrong: Mismatch[] = [];
    const got = kind === FaultKind.None ? DONE : kind === null ? NOT_DECODED : this.machine.faultOutcome();
    if (!sameArm64Outcome(step.expect, got)) {
      wrong.push({ what: 'outcome', expected: arm64OutcomeText(step.expect), got: outcomeText(got) });
    }
    this.compareRegisters(step, wrong);
    this.compareTags(step.tagsAfter, wrong);
    if (step.dataAfter !== null) this.compareData(step.dataAfter, wrong);
    const name = formatTagInstruction(step.encoding)?.split(' ')[0];
    if (name !== step.name && !(name === 'cmpp' && step.name === 'subps')) {
      wrong.push({ what: 'instruction', expected: step.name, got: name ?? 'none' });
    }
    return wrong;
  }

  /** The walk of the instruction's access; null when it makes none. */
  explain(step: MteInstructionStep): ExplainedWalk | null {
    this.prepare(step);
    return explainInstruction(this.machine.mmu, () => this.execute(step), accessOf(step));
  }

  private execute(step: MteInstructionStep): FaultKind | null {
    return executeTagInstruction(this.core, step.encoding, accessOf(step));
  }

  private prepare(step: MteInstructionStep): void {
    this.step = step;
    const { registers } = this;
    const { mmu } = this.machine;
    const { state } = mmu;
    registers.words.fill(UNNAMED);
    registers.nzcv = 0;
    for (let index = 0; index < REGISTER_NAMES.length; index++) {
      const { hi, lo } = wordAt(step.registers, index);
      registers.set(registerNumber(index), hi, lo);
    }
    [state.gcrHi, state.gcrLo] = [step.gcr.hi, step.gcr.lo];
    [state.rgsrHi, state.rgsrLo] = [step.rgsr.hi, step.rgsr.lo];
    state.pan = step.pan;
    mmu.updateControls();
    if (step.data !== null) {
      this.window = step.data;
      this.writeWindow(step.data.address, step.data.bytes);
    }
  }

  private compareRegisters(step: MteInstructionStep, wrong: Mismatch[]): void {
    const { registers } = this;
    const { state } = this.machine.mmu;
    REGISTER_NAMES.forEach((name, index) => {
      const number = registerNumber(index);
      const got = { hi: registers.high(number), lo: registers.low(number) };
      const wanted = wordAt(step.registersAfter, index);
      if (!sameWord(wanted, got)) wrong.push(words(name, wanted, got));
    });
    for (let number = REGISTER_NAMES.length - 1; number < SP; number++) {
      const got = { hi: registers.high(number), lo: registers.low(number) };
      if (got.hi === UNNAMED && got.lo === UNNAMED) continue;
      wrong.push({ what: `x${number}`, expected: 'unchanged', got: wordText(got) });
    }
    const rgsr = { hi: state.rgsrHi, lo: state.rgsrLo };
    if (!sameWord(step.rgsrAfter, rgsr)) wrong.push(words('RGSR_EL1', step.rgsrAfter, rgsr));
    const gcr = { hi: state.gcrHi, lo: state.gcrLo };
    if (!sameWord(step.gcr, gcr)) wrong.push(words('GCR_EL1', step.gcr, gcr));
    const flags = step.nzcvAfter ?? 0;
    if (registers.nzcv !== flags) wrong.push(numbers('NZCV', flags, registers.nzcv));
  }

  private compareTags(list: TagList, wrong: Mismatch[]): void {
    for (let at = 0; at < list.length; at += TAG_WORDS) {
      const hi = list[at] as number;
      const lo = list[at + 1] as number;
      const got = this.tags.tag(hi, lo);
      if (got !== list[at + 2])
        wrong.push(numbers(`tag of ${hexHalves(hi, lo)}`, list[at + 2] as number, got));
    }
  }

  private compareData({ address, bytes }: DataWindow, wrong: Mismatch[]): void {
    const got = new Uint8Array(bytes.length);
    this.readWindow(address, got);
    if (bytes.every((byte, at) => byte === got[at])) return;
    wrong.push({ what: `data at ${wordText(address)}`, expected: bytesText(bytes), got: bytesText(got) });
  }

  /**
   * ST2G and STZ2G on the last granule of the block write the next one too, which the vectors do not list.
   * Nothing else outside the list may have a tag.
   */
  private forgiveUnlisted({ name }: MteInstructionStep): void {
    const { listed, tags } = this;
    if (listed.length === 0 || (name !== 'st2g' && name !== 'stz2g')) return;
    const last = listed.length - TAG_WORDS;
    const lo = ((listed[last + 1] as number) + 16) | 0;
    const hi = lo === 0 ? (listed[last] as number) + 1 : (listed[last] as number);
    tags.setTag(hi, lo, 0);
  }

  private writeWindow({ hi, lo }: Halves, bytes: Uint8Array): void {
    if (!this.machine.memory.writeBytes(hi * 0x100000 + (lo >>> 12), lo & 0xfff, bytes)) {
      throw new Error(`no memory at ${hexHalves(hi, lo)}`);
    }
  }

  private readWindow({ hi, lo }: Halves, bytes: Uint8Array): void {
    this.machine.memory.readBytes(hi * 0x100000 + (lo >>> 12), lo & 0xfff, bytes);
  }
}

const NOT_DECODED: Arm64Outcome = { kind: 'fault', esr: { hi: 0, lo: 0 }, far: { hi: 0, lo: 0 } };
const outcomeText = (outcome: Arm64Outcome): string =>
  outcome === NOT_DECODED ? 'not a tag instruction' : arm64OutcomeText(outcome);

const accessOf = ({ el }: MteInstructionStep): number => (el === 0 ? Access.User : 0);

const wordAt = (list: RegisterList, index: number): Halves => ({
  hi: list[index * 2] as number,
  lo: list[index * 2 + 1] as number,
});

const words = (what: string, expected: Halves, got: Halves): Mismatch => ({
  what,
  expected: wordText(expected),
  got: wordText(got),
});

const numbers = (what: string, expected: number, got: number): Mismatch => ({
  what,
  expected: `${expected}`,
  got: `${got}`,
});

/** An instruction in words: `irg x1, sp, at EL1`. */
export const instructionText = ({ encoding, el }: MteInstructionStep): string =>
  `${formatTagInstruction(encoding) ?? `word ${hexHalves(0, encoding)}`} at EL${el}`;
