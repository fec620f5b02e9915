/**
 * Counts states. A state is told by what has happened before it, where the order of steps that commute does not matter:
 * the sum over its steps of a hash of who made the step, which of his it was, and which version of each thing it saw.
 * So two prefixes of runs that are equal up to swaps of neighbours that commute have one hash. Different prefixes may
 * still lead to the same memory; they count as two.
 * The count is an estimate in fixed memory (HyperLogLog): exact for some dozens, then about 1 in 100 off.
 * @see Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog: the analysis of a near-optimal cardinality estimation
 * algorithm", AofA 2007
 */
import { mix } from '../../base/footprint.ts';

const REGISTER_BITS = 14;
const REGISTERS = 1 << REGISTER_BITS;
/** The constant of the estimate for many registers. */
const ALPHA = 0.7213 / (1 + 1.079 / REGISTERS);

export class StateCounter {
  readonly #registers = new Uint8Array(REGISTERS);
  /** Of the registers: the sum of 2^-rank, kept up as they change, and how many are zero. */
  #sum = REGISTERS;
  #empty = REGISTERS;

  /** Counts the state with this hash, in two halves. */
  add(high: number, low: number): void {
    const at = low & (REGISTERS - 1);
    this.#raise(at, Math.clz32(mix(high ^ (low >>> REGISTER_BITS))) + 1);
  }

  /** How many different ones there were. */
  get count(): number {
    const estimate = (ALPHA * REGISTERS * REGISTERS) / this.#sum;
    const few = estimate <= 2.5 * REGISTERS && this.#empty > 0;
    return Math.round(few ? REGISTERS * Math.log(REGISTERS / this.#empty) : estimate);
  }

  /** Two hexadecimal digits for each register, trailing zeros cut off. */
  save(): string {
    let text = '';
    for (const rank of this.#registers) text += rank.toString(16).padStart(2, '0');
    return text.replace(/(?:00)+$/, '');
  }

  restore(text: string): void {
    for (let at = 0; at < text.length / 2 && at < REGISTERS; at++) {
      this.#raise(at, Number.parseInt(text.slice(2 * at, 2 * at + 2), 16) || 0);
    }
  }

  #raise(at: number, rank: number): void {
    const before = this.#registers[at] as number;
    if (rank <= before) return;
    this.#registers[at] = rank;
    this.#sum += 2 ** -rank - 2 ** -before;
    if (before === 0) this.#empty--;
  }
}

/** Slots of the first table; it doubles when half full. */
const FIRST_SLOTS = 256;

/** The hash of the state that a run is in. */
export class StateHash {
  high = 0;
  low = 0;
  /** Which version of each key there is: open addressing. A slot counts only if it is of this run. */
  #keys = new Int32Array(FIRST_SLOTS);
  #versions = new Int32Array(FIRST_SLOTS);
  #runs = new Int32Array(FIRST_SLOTS);
  #used = 0;
  #run = 0;
  /** Steps so far that conflict with every other. */
  #epoch = 0;
  #stepHigh = 0;
  #stepLow = 0;

  /** A run begins. */
  reset(): void {
    this.#run++;
    this.#used = 0;
    this.#epoch = 0;
    this.high = 0;
    this.low = 0;
  }

  /** A step begins. @param actor who makes it: a number, the same in every run */
  begin(actor: number): void {
    this.#stepHigh = mix(actor ^ Math.imul(this.#epoch, 0x85eb_ca6b));
    this.#stepLow = mix(this.#stepHigh ^ 0x5bd1_e995);
    // Its version is the number of its steps so far.
    this.touch(actor, 1);
  }

  /** The step conflicts with every other. */
  touchEverything(): void {
    this.#epoch++;
  }

  /** The step reads (0) or writes (1) what `key` stands for. Each key once. */
  touch(key: number, write: number): void {
    const at = this.#slot(key);
    const version = this.#versions[at] as number;
    // A sum, since the order in which a step touches things does not matter.
    const seen = mix(key ^ Math.imul(version, 0x9e37_79b1) ^ write);
    this.#stepHigh = (this.#stepHigh + seen) | 0;
    this.#stepLow = (this.#stepLow + mix(seen ^ 0x27d4_eb2f)) | 0;
    if (write === 1) this.#versions[at] = version + 1;
  }

  /** The step is complete. */
  end(): void {
    this.high = (this.high + mix(this.#stepHigh)) | 0;
    this.low = (this.low + mix(this.#stepLow ^ this.#stepHigh)) | 0;
  }

  #slot(key: number): number {
    if (2 * this.#used >= this.#keys.length) this.#grow();
    const mask = this.#keys.length - 1;
    let at = mix(key) & mask;
    while (this.#runs[at] === this.#run && this.#keys[at] !== key) at = (at + 1) & mask;
    if (this.#runs[at] !== this.#run) {
      this.#runs[at] = this.#run;
      this.#keys[at] = key;
      this.#versions[at] = 0;
      this.#used++;
    }
    return at;
  }

  #grow(): void {
    const [keys, versions, runs] = [this.#keys, this.#versions, this.#runs];
    const slots = 2 * keys.length;
    this.#keys = new Int32Array(slots);
    this.#versions = new Int32Array(slots);
    this.#runs = new Int32Array(slots);
    this.#used = 0;
    for (let at = 0; at < keys.length; at++) {
      if (runs[at] === this.#run) this.#versions[this.#slot(keys[at] as number)] = versions[at] as number;
    }
  }
}
