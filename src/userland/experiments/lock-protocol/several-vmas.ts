/**
 * A read over two VMAs, alone and beside a thread of the target that replaces first the one and then the other. What was
 * never mapped at the same time must not come out of one read.
 */
import type { Task } from '../../../base/task.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC } from '../../../kernel/mm/mman.ts';
import { sysMmap } from '../../../kernel/mm/mmap.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { userStore } from '../../calls/access.ts';
import {
  type Access,
  addressOf,
  PAGE_BYTES,
  type ProtocolMachine,
  READ_WRITE,
  WORD_BYTES,
} from './machine.ts';
import { leftText, mannerOf } from './manner.ts';
import { everyTurn } from './turns.ts';

/** Pages of each of the two. */
const PAGES = 2;
const OLD = 1;
const NEW = 8;
/** The last bytes of the first VMA and the first bytes of the second. */
const WORD_AT = addressOf(PAGES - 1, PAGE_BYTES - WORD_BYTES / 2);
const ALL_BYTES = 2 * PAGES * PAGE_BYTES;

/** First and last byte of each page say to which layout it belongs. */
function* mark(thread: TaskStruct, page: number, layout: number): Task<void> {
  for (let i = 0; i < PAGES; i++) {
    yield* userStore(thread, addressOf(page + i), Uint8Array.of(layout));
    yield* userStore(thread, addressOf(page + i, PAGE_BYTES - 1), Uint8Array.of(layout));
  }
}

const rightsAt = (page: number): number => (page === 0 ? READ_WRITE : READ_WRITE | PROT_EXEC);

/** The rights keep the two apart. */
function layOut(machine: ProtocolMachine): ProtocolMachine {
  const { target } = machine;
  for (const page of [0, PAGES]) {
    machine.map(page, PAGES, MAP_PRIVATE, rightsAt(page));
    machine.run(target, mark(target, page, OLD));
  }
  return machine;
}

/** The first VMA is new, and in use, before the second one is. */
function* replaceBoth({ writer }: ProtocolMachine): Task<void> {
  for (const page of [0, PAGES]) {
    const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
    yield* sysMmap(writer, addressOf(page), BigInt(PAGES * PAGE_BYTES), rightsAt(page), flags, null, 0n);
    yield* mark(writer, page, NEW);
  }
}

export interface SeveralVmas {
  /** A word over the border, and all of both. */
  readonly word: Access;
  readonly all: Access;
  /** Did a read show an old page of the first beside a new one of the second, which were never there together? */
  readonly wordTears: boolean;
  readonly allTears: boolean;
}

/** @param make a new machine, with nothing mapped */
export function readSeveralVmas(make: () => ProtocolMachine): SeveralVmas {
  const machine = (): ProtocolMachine => layOut(make());
  const tears = (address: bigint, length: number, before: number, after: number): boolean =>
    everyTurn({ machine, address, length, writer: replaceBoth }).some(
      (answer) => answer !== null && answer.buffer[before] === OLD && answer.buffer[after] === NEW,
    );
  return {
    word: machine().access(WORD_AT, WORD_BYTES),
    all: machine().access(addressOf(0), ALL_BYTES),
    wordTears: tears(WORD_AT, WORD_BYTES, WORD_BYTES / 2 - 1, WORD_BYTES / 2),
    allTears: tears(addressOf(0), ALL_BYTES, 0, ALL_BYTES - 1),
  };
}

const whether = (tears: boolean): string => (tears ? 'may tear' : 'consistent');

export function severalVmasText({ word, all, wordTears, allTears }: SeveralVmas): string {
  if (mannerOf(word) === 'left') return `${leftText(word)}, ${whether(wordTears || allTears)}`;
  if (mannerOf(all) !== 'left') return `yes, ${whether(wordTears || allTears)}`;
  return `two at a border, ${whether(wordTears)}; else ${leftText(all)}, ${whether(allTears)}`;
}
