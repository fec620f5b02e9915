/**
 * A stack whose frames are tagged as LLVM's stack tagging does it: a frame gets a random tag (IRG), each variable the
 * next one (ADDG), and its granules with it (STG); what a function leaves behind gets the tag of the stack pointer, 0.
 * @see Kostya Serebryany et al., "Memory Tagging and how it improves C/C++ memory safety", arXiv:1802.09517
 */
import type { Task, User } from 'tablewalk';
import { GRANULE } from './allocator.ts';

export class TaggedStack {
  readonly #u: User;
  readonly #bytes: number;
  #stackPointer = 0n;

  constructor(u: User, bytes: number) {
    this.#u = u;
    this.#bytes = bytes;
  }

  *open(): Task<void> {
    const base = yield* this.#u.must(this.#u.mmap({ bytes: this.#bytes, prot: 'rwm' }));
    this.#stackPointer = base + BigInt(this.#bytes);
  }

  /** Calls a function with so many variables of 16 bytes: the pointers to them, upwards in memory. */
  *enter(variables: number): Task<readonly bigint[]> {
    const u = this.#u;
    this.#stackPointer -= BigInt(variables * GRANULE);
    const frame = yield* u.must(u.irg(this.#stackPointer));
    const pointers: bigint[] = [];
    for (let k = 0; k < variables; k++) {
      const pointer = yield* u.must(u.addg(frame, k * GRANULE, k));
      yield* u.must(u.stg(pointer));
      pointers.push(pointer);
    }
    return pointers;
  }

  /** Returns from it. */
  *leave(variables: number): Task<void> {
    for (let k = 0; k < variables; k++) {
      yield* this.#u.must(this.#u.stg(this.#stackPointer));
      this.#stackPointer += BigInt(GRANULE);
    }
  }
}
