/**
 * What one step touched, as numbers: the run loop clears it before the step and puts the step's own point in; whoever
 * reads or changes what other tasks may change adds a key. Two steps whose footprints do not conflict commute: a search
 * then tries one order of them only. A key left out hides schedules from such a search; one too many costs it time.
 * Left out: sizes (a key stands for the whole thing, or for whatever part its owner gives a key of its own).
 */
import { PointKind, type SchedPoint, type SharedObject } from './task.ts';

/** Beyond so many the step conflicts with every other. */
const MOST_KEYS = 512;
/** Keys among which a new one is looked for before it is added: most steps have fewer. */
const NEAR = 12;

export class Footprint {
  /** Set by the run loop for the time of a run, where its policy asks. Producers look here first. */
  enabled = false;
  /** How many of `keys` and `writes` are the step's. */
  count = 0;
  readonly keys = new Int32Array(MOST_KEYS);
  /** 1 where the key was written, 0 where only read. */
  readonly writes = new Uint8Array(MOST_KEYS);
  /** It conflicts with every other step. */
  everything = false;

  clear(): void {
    this.count = 0;
    this.everything = false;
  }

  /** The step looks at what `key` stands for. */
  read(key: number): void {
    this.#add(key, 0);
  }

  /** The step changes it. */
  write(key: number): void {
    this.#add(key, 1);
  }

  readObject(object: SharedObject): void {
    this.#add(objectKey(object), 0);
  }

  writeObject(object: SharedObject): void {
    this.#add(objectKey(object), 1);
  }

  /** The point's object. The end of a wait counts as a change of what was waited for. */
  addPoint(point: SchedPoint): void {
    this.#add(pointKey(point), point.kind === PointKind.Read ? 0 : 1);
  }

  #add(key: number, write: 0 | 1): void {
    if (!this.enabled) return;
    const { keys, writes, count } = this;
    const from = count > NEAR ? count - NEAR : 0;
    for (let at = count - 1; at >= from; at--) {
      if (keys[at] !== key) continue;
      if (write === 1) writes[at] = 1;
      return;
    }
    if (count === MOST_KEYS) {
      this.everything = true;
      return;
    }
    keys[count] = key;
    writes[count] = write;
    this.count = count + 1;
  }
}

/** The key of the point's object. */
export function pointKey(point: SchedPoint): number {
  if (point.footprintKey === 0) point.footprintKey = objectKey(point.object);
  return point.footprintKey;
}

/** The key of a shared object: a hash of its name, kept in the object. Two names with one key only cost time. */
export function objectKey(object: SharedObject): number {
  if (object.footprintKey === 0) object.footprintKey = hashText(object.name);
  return object.footprintKey;
}

/**
 * The key of number `number` of a kind of thing (the data of a frame, an entry of a table).
 * @param space tells the kinds apart: a constant of whoever makes the keys
 * @param number a whole number from 0 to 2^53 - 1
 */
export function numberKey(space: number, number: number): number {
  // Halves by arithmetic: a frame number has up to 52 bits.
  const low = number % 0x1_0000_0000;
  const high = (number - low) / 0x1_0000_0000;
  return mix(mix(Math.imul(space, 0x9e37_79b1) ^ high) ^ low);
}

/** A 32-bit finaliser (MurmurHash3's): every bit of the result depends on every bit of `value`. */
export function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return hash ^ (hash >>> 16);
}

/** FNV-1a over UTF-16 units, mixed; never 0. */
export function hashText(text: string): number {
  let hash = 0x811c_9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x0100_0193);
  return mix(hash) || 1;
}
