/**
 * The table entries that a vector speaks of: put into memory before it, compared after every step, put back to zero
 * after it. No entry but those may change; others are not looked at.
 */

import { hexHalves } from '../../base/u64.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { MemoryList } from './memory-list.ts';
import type { Mismatch } from './vector-runner.ts';

/** Words of one entry in a list: address high, low, value high, low. */
const WORDS = 4;

export class EntryMemory {
  readonly #memory: PhysicalMemory;
  /** The entries in use and what they held when last looked at. */
  #entries: Int32Array = new Int32Array(64 * WORDS);
  #count = 0;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  /** Puts the entries of a fresh vector into memory. */
  load(list: MemoryList): void {
    for (let at = 0; at < list.length; at += WORDS) {
      const value = this.#place(list[at] as number, list[at + 1] as number);
      this.#set(value, list[at + 2] as number, list[at + 3] as number);
      this.#write(value);
    }
  }

  /** Everything back to zero. */
  clear(): void {
    for (let at = 0; at < this.#count * WORDS; at += WORDS) {
      this.#memory.write64(this.#entries[at] as number, this.#entries[at + 1] as number, 0, 0);
    }
    this.#count = 0;
  }

  /** A step stored to this entry: from now on it is watched, with its new value. */
  stored(hi: number, lo: number, valueHi: number, valueLo: number): void {
    this.#set(this.#place(hi, lo), valueHi, valueLo);
  }

  /**
   * Looks at every entry after a step: those of `after` must hold their new value, those of `may` their old or their
   * new one, all others their old one. What is in memory is the old value of the next step.
   * @returns the entries that are wrong, undefined when none is
   */
  compare(after: MemoryList, may: MemoryList): Mismatch[] | undefined {
    let wrong: Mismatch[] | undefined;
    for (let at = 0; at < after.length; at += WORDS)
      this.#place(after[at] as number, after[at + 1] as number);
    const entries = this.#entries;
    const memory = this.#memory;
    for (let at = 0; at < this.#count * WORDS; at += WORDS) {
      const hi = entries[at] as number;
      const lo = entries[at + 1] as number;
      memory.read64(hi, lo);
      const must = findEntry(after, hi, lo);
      const source = must >= 0 ? after : entries;
      const want = must >= 0 ? must : at;
      const same = source[want + 2] === memory.hi && source[want + 3] === memory.lo;
      if (!same && !holds(may, findEntry(may, hi, lo), memory.hi, memory.lo)) {
        wrong ??= [];
        wrong.push({
          what: `entry ${hexHalves(hi, lo)}`,
          expected: hexHalves(source[want + 2] as number, source[want + 3] as number),
          got: hexHalves(memory.hi, memory.lo),
        });
      }
      entries[at + 2] = memory.hi;
      entries[at + 3] = memory.lo;
    }
    return wrong;
  }

  /** Where the entry of an address stands, made (with value 0) when it is new. */
  #place(hi: number, lo: number): number {
    for (let at = 0; at < this.#count * WORDS; at += WORDS) {
      if (this.#entries[at + 1] === lo && this.#entries[at] === hi) return at;
    }
    const at = this.#count * WORDS;
    if (at === this.#entries.length) {
      const wider = new Int32Array(at * 2);
      wider.set(this.#entries);
      this.#entries = wider;
    }
    this.#count++;
    this.#entries[at] = hi;
    this.#entries[at + 1] = lo;
    this.#set(at, 0, 0);
    return at;
  }

  #set(at: number, valueHi: number, valueLo: number): void {
    this.#entries[at + 2] = valueHi;
    this.#entries[at + 3] = valueLo;
  }

  #write(at: number): void {
    const entries = this.#entries;
    const [hi, lo] = [entries[at] as number, entries[at + 1] as number];
    this.#memory.write64(hi, lo, entries[at + 2] as number, entries[at + 3] as number);
  }
}

function findEntry(list: MemoryList, hi: number, lo: number): number {
  for (let at = 0; at < list.length; at += WORDS) {
    if (list[at + 1] === lo && list[at] === hi) return at;
  }
  return -1;
}

const holds = (list: MemoryList, at: number, valueHi: number, valueLo: number): boolean =>
  at >= 0 && list[at + 2] === valueHi && list[at + 3] === valueLo;
