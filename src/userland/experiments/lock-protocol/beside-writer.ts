/** Is a read held up by a thread of the target that holds mmap_lock for writing, and does it matter what that one changes? */
import { holdMmapLock } from './absent-and-written.ts';
import { addressOf, type ProtocolMachine, WORD_BYTES } from './machine.ts';

const FAR = 4096;

export interface BesideWriter {
  /** While another VMA is being changed. */
  readonly elsewhere: boolean;
  /** While the VMA that is read is. */
  readonly same: boolean;
}

function isHeldUp(machine: ProtocolMachine, page: number): boolean {
  const { hand, reader, writer } = machine;
  machine.map(0, 2);
  machine.fill(0, 2);
  machine.map(FAR, 2);
  machine.fill(FAR, 2);
  holdMmapLock(machine, page);
  machine.begin(addressOf(1), WORD_BYTES);
  hand.on(reader);
  const heldUp = !hand.isOver(reader);
  if (!hand.allToTheEnd([reader, writer])) throw new Error('a read beside mprotect does not come to its end');
  return heldUp;
}

/** @param make a new machine, with nothing mapped */
export function readBesideWriter(make: () => ProtocolMachine): BesideWriter {
  return { elsewhere: isHeldUp(make(), FAR), same: isHeldUp(make(), 1) };
}

export function besideWriterText({ elsewhere, same }: BesideWriter): string {
  if (elsewhere) return 'yes';
  return same ? 'only if that VMA is write-locked' : 'no';
}
