/**
 * A small allocator that tags what it hands out: slots of one size in one mapping with PROT_MTE. A slot gets a tag when
 * it is first handed out, and another one when it is freed; who gets it next uses that one, as in Scudo.
 * Everything is made of what a program has: mmap, prctl, IRG, LDG, ST2G and checked loads and stores.
 * Left out: sizes that differ, memory for the allocator's own records (they are outside the emulated memory), threads.
 */
import { InputError, type Outcome, type Task, type User } from 'tablewalk';
import type { SlotTags, TagPolicy } from './policies.ts';

export const GRANULE = 16;
const ADDRESS = (1n << 56n) - 1n;

/** The logical tag of a pointer. */
export const tagOf = (pointer: bigint): number => Number((pointer >> 56n) & 15n);
/** The pointer without its top byte. */
export const untagged = (pointer: bigint): bigint => pointer & ADDRESS;
/** Bytes that an allocation of `size` bytes has for itself. */
export const rounded = (size: number): number => Math.ceil(size / GRANULE) * GRANULE;

/** The tag check mode of the process; IRG may give every tag but 0. */
export function* enableTagChecks(u: User, mode: 'sync' | 'async' | 'both'): Task<void> {
  yield* u.must(u.setTaggedAddressControl({ mode, tags: 0xfffe }));
}

export class TaggingAllocator {
  readonly #u: User;
  readonly #policy: TagPolicy;
  /** Bytes of a slot, a multiple of two granules. */
  readonly slotBytes: number;
  readonly #slots: number;
  #base = 0n;
  #next = 0;
  /** Freed slots, the last one freed is handed out first. */
  readonly #free: number[] = [];

  /** @param slots at most this many are handed out; one at each end is never used */
  constructor(u: User, policy: TagPolicy, slots: number, slotBytes = 2 * GRANULE) {
    this.#u = u;
    this.#policy = policy;
    this.#slots = slots;
    this.slotBytes = slotBytes;
  }

  *open(): Task<void> {
    const bytes = (this.#slots + 2) * this.slotBytes;
    const mapping = yield* this.#u.must(this.#u.mmap({ bytes, prot: 'rwm' }));
    this.#base = mapping + BigInt(this.slotBytes);
  }

  /** A pointer with the tag of its memory. */
  *allocate(size: number): Task<bigint> {
    if (size > this.slotBytes) throw new InputError(`slots have ${this.slotBytes} bytes, not ${size}`);
    const freed = this.#free.pop();
    if (freed !== undefined) return yield* this.#u.must(this.#u.ldg(this.#addressOf(freed)));
    const slot = this.#next++;
    if (slot >= this.#slots) throw new InputError(`all ${this.#slots} slots are in use`);
    return yield* this.#retag(slot, this.#policy.excludedAtAllocation(yield* this.#around(slot)));
  }

  /**
   * Frees what `pointer` points to. It is looked at through the pointer first, so that the tag check finds a pointer
   * that is not the owner's: a signal then, and nothing is freed.
   */
  *free(pointer: bigint): Task<Outcome<bigint>> {
    const look = yield* this.#u.attempt(this.#u.load(pointer, 1));
    if (!look.ok) return look;
    const slot = Number((untagged(pointer) - this.#base) / BigInt(this.slotBytes));
    const excluded = this.#policy.excludedAtFree(yield* this.#around(slot), tagOf(pointer));
    yield* this.#retag(slot, excluded);
    this.#free.push(slot);
    return look;
  }

  /** Forgets what was freed and goes on at slot `first`, which nobody has had yet. */
  beginAt(first: number): void {
    this.#free.length = 0;
    this.#next = first;
  }

  #addressOf(slot: number): bigint {
    return this.#base + BigInt(slot * this.slotBytes);
  }

  *#around(index: number): Task<SlotTags> {
    const u = this.#u;
    const left = yield* u.must(u.ldg(this.#addressOf(index) - 1n));
    const right = yield* u.must(u.ldg(this.#addressOf(index + 1)));
    return { index, left: tagOf(left), right: tagOf(right) };
  }

  /** A new tag for every granule of a slot: the pointer with it. */
  *#retag(slot: number, excluded: number): Task<bigint> {
    const u = this.#u;
    const pointer = yield* u.must(u.irg(this.#addressOf(slot), excluded));
    for (let at = 0; at < this.slotBytes; at += 2 * GRANULE) yield* u.must(u.st2g(pointer + BigInt(at)));
    return pointer;
  }
}
