/** A read that is interrupted once, at every point there is, by a thread of the target that runs as far as it can. */
import type { Task } from '../../../base/task.ts';
import type { Access, ProtocolMachine } from './machine.ts';

export interface Turns {
  /** A new machine, laid out. */
  readonly machine: () => ProtocolMachine;
  /** First byte of the read, and how many. */
  readonly address: bigint;
  readonly length: number;
  readonly writer: (machine: ProtocolMachine) => Task<unknown>;
}

/** What came of each; null: reader and writer wait for each other. */
export function everyTurn({ machine: make, address, length, writer }: Turns): (Access | null)[] {
  const answers: (Access | null)[] = [];
  for (let steps = 0, ended = false; !ended; steps++) {
    const machine = make();
    const { hand, reader, system } = machine;
    const change = writer(machine);
    const pending = machine.begin(address, length);
    system.loop.start(machine.writer, change);
    for (let i = 0; i < steps; i++) hand.step(reader);
    ended = hand.isOver(reader);
    hand.on(machine.writer);
    answers.push(hand.allToTheEnd([reader, machine.writer]) ? pending.result() : null);
  }
  return answers;
}
