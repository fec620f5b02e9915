/**
 * Who touched what last, while a run is gone through step by step: for each key the last write, and the reads since then,
 * the last of each actor. Open addressing and chains in arrays that are used again.
 */
const FIRST_SLOTS = 512;
const FIRST_READS = 512;

export class Touches {
  #keys = new Int32Array(FIRST_SLOTS);
  #passes = new Int32Array(FIRST_SLOTS);
  /** Step of the last write, -1: none; head of the chain of reads, -1: none. */
  #lastWrite = new Int32Array(FIRST_SLOTS);
  #readHead = new Int32Array(FIRST_SLOTS);
  #used = 0;
  #pass = 0;
  /** Reads: step, actor, next of the chain. */
  #readStep = new Int32Array(FIRST_READS);
  #readActor = new Int32Array(FIRST_READS);
  #readNext = new Int32Array(FIRST_READS);
  #reads = 0;
  /** The steps that the last `read` or `write` conflicts with. */
  found = new Int32Array(16);
  foundCount = 0;

  reset(): void {
    this.#pass++;
    this.#used = 0;
    this.#reads = 0;
  }

  /** Step `step` of `actor` reads `key`: conflicts with the last write. They are added to `found`. */
  read(key: number, step: number, actor: number): void {
    const slot = this.#slot(key);
    const write = this.#lastWrite[slot] as number;
    if (write >= 0) this.add(write);
    for (let read = this.#readHead[slot] as number; read >= 0; read = this.#readNext[read] as number) {
      if (this.#readActor[read] !== actor) continue;
      this.#readStep[read] = step;
      return;
    }
    this.#addRead(slot, step, actor);
  }

  /** Step `step` writes `key`: conflicts with the last write and all reads since then. */
  write(key: number, step: number): void {
    const slot = this.#slot(key);
    const write = this.#lastWrite[slot] as number;
    if (write >= 0) this.add(write);
    for (let read = this.#readHead[slot] as number; read >= 0; read = this.#readNext[read] as number) {
      this.add(this.#readStep[read] as number);
    }
    this.#lastWrite[slot] = step;
    this.#readHead[slot] = -1;
  }

  /** Puts a step into `found`, where latest come first and each is once. */
  add(step: number): void {
    if (this.foundCount === this.found.length) {
      const found = new Int32Array(2 * this.foundCount);
      found.set(this.found);
      this.found = found;
    }
    const { found } = this;
    let at = this.foundCount;
    while (at > 0 && (found[at - 1] as number) < step) at--;
    if (at > 0 && found[at - 1] === step) return;
    found.copyWithin(at + 1, at, this.foundCount);
    found[at] = step;
    this.foundCount++;
  }

  #addRead(slot: number, step: number, actor: number): void {
    if (this.#reads === this.#readStep.length) this.#growReads();
    const read = this.#reads++;
    this.#readStep[read] = step;
    this.#readActor[read] = actor;
    this.#readNext[read] = this.#readHead[slot] as number;
    this.#readHead[slot] = read;
  }

  #slot(key: number): number {
    if (2 * this.#used >= this.#keys.length) this.#growSlots();
    const mask = this.#keys.length - 1;
    // Keys are hashes already.
    let at = (key ^ (key >>> 15)) & mask;
    while (this.#passes[at] === this.#pass && this.#keys[at] !== key) at = (at + 1) & mask;
    if (this.#passes[at] !== this.#pass) {
      this.#passes[at] = this.#pass;
      this.#keys[at] = key;
      this.#lastWrite[at] = -1;
      this.#readHead[at] = -1;
      this.#used++;
    }
    return at;
  }

  #growSlots(): void {
    const [keys, passes, lastWrite, readHead] = [this.#keys, this.#passes, this.#lastWrite, this.#readHead];
    const slots = 2 * keys.length;
    this.#keys = new Int32Array(slots);
    this.#passes = new Int32Array(slots);
    this.#lastWrite = new Int32Array(slots);
    this.#readHead = new Int32Array(slots);
    this.#used = 0;
    for (let at = 0; at < keys.length; at++) {
      if (passes[at] !== this.#pass) continue;
      const slot = this.#slot(keys[at] as number);
      this.#lastWrite[slot] = lastWrite[at] as number;
      this.#readHead[slot] = readHead[at] as number;
    }
  }

  #growReads(): void {
    const length = 2 * this.#reads;
    this.#readStep = grown(this.#readStep, length);
    this.#readActor = grown(this.#readActor, length);
    this.#readNext = grown(this.#readNext, length);
  }
}

function grown(from: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(length);
  to.set(from);
  return to;
}
