/** Single tag instructions on a small machine: registers in, registers, memory and tags out. */
import {
  encodeTagInstruction,
  executeTagInstruction,
  TAG_ENCODINGS,
  type TagForm,
} from '../../../../src/arch/arm64/mte/encodings.ts';
import { fromHalves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { DATA, type MachineOptions, Memory, SmallMachine } from '../small-machine.ts';

/** Two pages begin here. */
export const VA = 0x40_0000n;
export const ALL_ONES = (1n << 64n) - 1n;

/** The word of an instruction by name: the first row of this form. */
export function word(mnemonic: string, values: readonly number[], form?: TagForm): number {
  const row = TAG_ENCODINGS.find(
    (one) => one.mnemonic === mnemonic && (form === undefined || one.form === form),
  );
  if (row === undefined) throw new Error(`no ${mnemonic} ${form}`);
  return encodeTagInstruction(row, values);
}

export class Program extends SmallMachine {
  set(register: number, value: bigint): this {
    this.registers.set(register, highHalf(value), lowHalf(value));
    return this;
  }

  get(register: number): bigint {
    return fromHalves(this.registers.high(register), this.registers.low(register));
  }

  run(instruction: number, access = 0): string {
    return this.outcome(executeTagInstruction(this, instruction, access));
  }

  tags(from: bigint, count: number): (number | undefined)[] {
    return Array.from({ length: count }, (_, index) => this.tag(from + BigInt(16 * index)));
  }
}

export const program = (options: MachineOptions = {}, memory: Memory = Memory.Tagged): Program =>
  new Program({
    sctlr: { TCF: 0, TCF0: 0, ...options.sctlr },
    tcr: options.tcr ?? {},
    features: options.features ?? {},
  })
    .map(VA, DATA, memory)
    .map(VA + 0x1000n, DATA + 0x5000n, memory) as Program;
