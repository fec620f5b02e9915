/**
 * The bytes that an access must reach: planted before it, looked at after it, put back. So a physical address is proven
 * by what the access really reads or writes there, and a store beyond its bytes is seen.
 */
import { type Halves, hexHalves } from '../../base/u64.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { Mismatch } from './vector-runner.ts';

/** What an access does to its bytes. */
export type DataEffect = 'read' | 'write' | 'add' | 'zero';

/** The widest: a zeroed block with what is looked at on both sides. */
const MOST_BYTES = 128;
/** Bytes on both sides of a zeroed block that must stay. */
const GUARD = 32;

/** What a store of the vectors writes: byte `at` of the data. Never 0, so that a missing store is seen. */
const storedByte = (at: number): number => ((at * 29 + 17) & 0x7f) | 0x80;
/** What memory holds before an access that reads or zeroes. */
const plantedByte = (at: number): number => ((at * 37 + 11) & 0x7f) | 0x40;

/** The operand of every atomic addition, as halves. */
export const ADDEND: Readonly<Halves> = { hi: 0x1020304, lo: 0x5060708 };

export class DataProbe {
  /** The data of every store: a writer takes as many as it has to write. */
  readonly stored: Uint8Array = Uint8Array.from({ length: 64 }, (_, at) => storedByte(at));
  private readonly memory: PhysicalMemory;
  private readonly before = new Uint8Array(MOST_BYTES);
  private readonly wanted = new Uint8Array(MOST_BYTES);
  private readonly found = new Uint8Array(MOST_BYTES);
  /** First byte of the first run, and where the run of the second page starts. */
  private first: Halves = { hi: 0, lo: 0 };
  private second: Halves | null = null;
  /** Bytes of both runs, and of the first one. */
  private length = 0;
  private firstLength = 0;
  /** Where the access itself starts in the bytes. */
  private start = 0;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
  }

  /**
   * @param at where the first byte of the access must be
   * @param size bytes
   * @param next where it goes on in the next page, null when it does not
   */
  plant(effect: DataEffect, at: Halves, size: number, next: Halves | null): void {
    this.place(effect, at, size, next);
    this.transfer('read', this.before);
    const { wanted, before, length, start } = this;
    wanted.set(before);
    // Bytes that are a descriptor as well stay as they are: the walk needs them.
    const free = isZero(before, length);
    if (effect !== 'write' && free) {
      for (let index = 0; index < length; index++) wanted[index] = plantedByte(index);
      this.transfer('write', wanted);
    }
    if (effect === 'write') for (let index = 0; index < size; index++) wanted[index] = storedByte(index);
    if (effect === 'zero') wanted.fill(0, start, start + size);
    if (effect === 'add') addTo(wanted, start);
  }

  /** Bytes `0` to `size - 1` of the access as they must be read: what was planted, before any change. */
  readByte(effect: DataEffect, index: number): number {
    return isZero(this.before, this.length)
      ? effect === 'write'
        ? 0
        : plantedByte(this.start + index)
      : (this.before[this.start + index] as number);
  }

  /** Compares after the access and puts back what was there before `plant`. */
  finish(): Mismatch | undefined {
    const { wanted, found, length } = this;
    this.transfer('read', found);
    this.transfer('write', this.before);
    for (let index = 0; index < length; index++) {
      if (wanted[index] !== found[index]) return this.mismatch();
    }
    return undefined;
  }

  private mismatch(): Mismatch {
    const text = (bytes: Uint8Array): string => bytesText(bytes.subarray(0, this.length));
    return {
      what: `data at ${hexHalves(this.first.hi, this.first.lo)}`,
      expected: text(this.wanted),
      got: text(this.found),
    };
  }

  private place(effect: DataEffect, { hi, lo }: Halves, size: number, next: Halves | null): void {
    this.second = next;
    this.start = 0;
    if (effect === 'zero') {
      const block = (lo & -size) >>> 0;
      const below = Math.min(GUARD, block & 0xfff);
      const above = Math.min(GUARD, 0x1000 - (block & 0xfff) - size);
      this.start = below;
      this.first = { hi, lo: (block - below) | 0 };
      this.length = below + size + above;
      this.firstLength = this.length;
      return;
    }
    this.first = { hi, lo };
    this.length = size;
    this.firstLength = next === null ? size : Math.min(size, 0x1000 - (lo & 0xfff));
  }

  /** Moves the bytes of both runs between memory and `bytes`. */
  private transfer(how: 'read' | 'write', bytes: Uint8Array): void {
    this.transferRun(how, this.first, bytes.subarray(0, this.firstLength));
    if (this.second !== null && this.firstLength < this.length) {
      this.transferRun(how, this.second, bytes.subarray(this.firstLength, this.length));
    }
  }

  /** A run may go over from one frame of 4 KiB to the next, inside a larger page. */
  private transferRun(how: 'read' | 'write', { hi, lo }: Halves, bytes: Uint8Array): void {
    const frame = hi * 0x100000 + (lo >>> 12);
    const offset = lo & 0xfff;
    const inFirst = Math.min(bytes.length, 0x1000 - offset);
    this.transferFrame(how, frame, offset, inFirst === bytes.length ? bytes : bytes.subarray(0, inFirst));
    if (inFirst < bytes.length) this.transferFrame(how, frame + 1, 0, bytes.subarray(inFirst));
  }

  private transferFrame(how: 'read' | 'write', frame: number, offset: number, bytes: Uint8Array): void {
    const done =
      how === 'read'
        ? this.memory.readBytes(frame, offset, bytes)
        : this.memory.writeBytes(frame, offset, bytes);
    if (!done) throw new Error(`no memory at frame 0x${frame.toString(16)}`);
  }
}

function isZero(bytes: Uint8Array, length: number): boolean {
  for (let index = 0; index < length; index++) if (bytes[index] !== 0) return false;
  return true;
}

/** Adds `ADDEND` to the 8 bytes at `start`, little-endian. */
function addTo(bytes: Uint8Array, start: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, 8);
  const low = view.getUint32(0, true) + ADDEND.lo;
  const carry = low > 0xffff_ffff ? 1 : 0;
  view.setUint32(0, low, true);
  view.setUint32(4, view.getUint32(4, true) + ADDEND.hi + carry, true);
}

/** Hexadecimal digits, the lowest address first. */
export const bytesText = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
