/**
 * What goes wrong beside a thread of the target that runs at every point of a read, if something does: the mistakes that the
 * wrong designs are known for, tried with all of them.
 */
import type { Task } from '../../../base/task.ts';
import { MADV_DONTNEED } from '../../../kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../kernel/mm/madvise/madvise.ts';
import { PROT_NONE, PROT_READ } from '../../../kernel/mm/mman.ts';
import { sysMprotect } from '../../../kernel/mm/mprotect.ts';
import { rootTable } from '../../../kernel/mm/page-table-alloc.ts';
import { userStore } from '../../calls/access.ts';
import { addressOf, PAGE_BYTES, type ProtocolMachine } from './machine.ts';
import { everyTurn, type Turns } from './turns.ts';

const PAGES = 2;
const SECRET = 9;
const ELSEWHERE = 4;
const BYTES = PAGES * PAGE_BYTES;

export interface Hazards {
  /** Bytes that were stored after mprotect(PROT_NONE) had returned. */
  readonly afterProtNone: boolean;
  /** Bytes of a page that had become another one's. */
  readonly foreignPage: boolean;
  /** Reader and writer wait for each other. */
  readonly deadlock: boolean;
}

function frameAt({ system, mm }: ProtocolMachine, page: number): number {
  const { pageTables } = system.kernel;
  if (!pageTables.lookupPte(rootTable(mm), Number(addressOf(page) >> 12n))) throw new Error('not mapped');
  return pageTables.frame(pageTables.lastLevel);
}

/** Nobody may read the last page any more; then it holds something else. */
function forbid(machine: ProtocolMachine): Task<void> {
  const { writer, system } = machine;
  const frame = frameAt(machine, PAGES - 1);
  return (function* (): Task<void> {
    yield* sysMprotect(writer, addressOf(0), BigInt(BYTES), PROT_NONE);
    system.machine.memory.writeBytes(frame, 0, Uint8Array.of(SECRET));
  })();
}

/** The first page is given back, and its frame is the next that is used. */
function* discardAndReuse({ writer }: ProtocolMachine): Task<void> {
  yield* sysMadvise(writer, addressOf(0), BigInt(PAGE_BYTES), MADV_DONTNEED);
  yield* userStore(writer, addressOf(ELSEWHERE), Uint8Array.of(SECRET));
}

const changeRights = ({ writer }: ProtocolMachine): Task<unknown> =>
  sysMprotect(writer, addressOf(0), BigInt(BYTES), PROT_READ);

/** @param make a new machine, with nothing mapped */
export function findHazards(make: () => ProtocolMachine): Hazards {
  const machine =
    (present: number): Turns['machine'] =>
    () => {
      const made = make();
      made.map(0, 8);
      made.fill(0, present);
      return made;
    };
  const turns = (present: number, writer: Turns['writer'], pages = PAGES): ReturnType<typeof everyTurn> =>
    everyTurn({ machine: machine(present), address: addressOf(0), length: pages * PAGE_BYTES, writer });
  const last = BYTES - PAGE_BYTES;
  return {
    // One page for who lets go between pages, two for who lets go after the first.
    afterProtNone: turns(PAGES, forbid).some((answer) => answer?.buffer[last] === SECRET),
    foreignPage: turns(1, discardAndReuse, 1).some((answer) => answer?.buffer[0] === SECRET),
    deadlock: turns(0, changeRights, 1).some((answer) => answer === null),
  };
}
