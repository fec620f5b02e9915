/**
 * Random access to the bytes of a file, plain or gzip. A plain file is read where it is asked for, so that a core of
 * many GiB costs nothing until a page of it is needed. A gzip file is unpacked once; parts that are all zero, which
 * fill most of a memory dump, are not kept.
 */
import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { InputError } from '../../base/input-error.ts';

export interface ByteSource {
  readonly file: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Copies `target.length` bytes from byte `offset` on into `target`; the caller has checked that they lie within
   * `size`.
   */
  read(offset: number, target: Uint8Array): void;
  close(): void;
}

/** Bytes of one kept part of an unpacked gzip file. */
const PART_BYTES = 1 << 20;

/** Bytes of a file on disk. */
class PlainSource implements ByteSource {
  readonly file: string;
  readonly size: number;
  readonly #descriptor: number;

  constructor(file: string, descriptor: number) {
    this.file = file;
    this.size = fstatSync(descriptor).size;
    this.#descriptor = descriptor;
  }

  read(offset: number, target: Uint8Array): void {
    const count = readSync(this.#descriptor, target, 0, target.length, offset);
    if (count !== target.length) {
      throw new InputError(`the file became shorter while it was read, at byte ${offset + count}`, {
        file: this.file,
      });
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** Bytes in memory, in parts of `PART_BYTES`; a part that is not there is all zero. */
class PartsSource implements ByteSource {
  readonly file: string;
  readonly size: number;
  readonly #parts: readonly (Uint8Array | undefined)[];

  constructor(file: string, size: number, parts: readonly (Uint8Array | undefined)[]) {
    this.file = file;
    this.size = size;
    this.#parts = parts;
  }

  read(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const within = at % PART_BYTES;
      const count = Math.min(PART_BYTES - within, target.length - done);
      const part = this.#parts[Math.floor(at / PART_BYTES)];
      if (part === undefined) target.fill(0, done, done + count);
      else target.set(part.subarray(within, within + count), done);
      done += count;
    }
  }

  close(): void {}
}

/** Collects a stream into parts. */
class PartsBuilder {
  readonly parts: (Uint8Array | undefined)[] = [];
  size = 0;
  #part = new Uint8Array(PART_BYTES);
  #fill = 0;

  append(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const count = Math.min(PART_BYTES - this.#fill, bytes.length - done);
      this.#part.set(bytes.subarray(done, done + count), this.#fill);
      this.#fill += count;
      done += count;
      if (this.#fill === PART_BYTES) this.finishPart();
    }
    this.size += bytes.length;
  }

  finishPart(): void {
    if (this.#fill === 0) return;
    const words = new Uint32Array(this.#part.buffer);
    const empty = words.every((word) => word === 0);
    this.parts.push(empty ? undefined : this.#part);
    if (empty) this.#part.fill(0, 0, this.#fill);
    else this.#part = new Uint8Array(PART_BYTES);
    this.#fill = 0;
  }
}

/** The bytes of memory that a test or another reader already holds. */
export function bytesInMemory(file: string, bytes: Uint8Array): ByteSource {
  const builder = new PartsBuilder();
  builder.append(bytes);
  builder.finishPart();
  return new PartsSource(file, builder.size, builder.parts);
}

/**
 * Opens a file; gzip is told by its first two bytes (RFC 1952, "Member header and trailer"), not by the name.
 * @throws InputError for a gzip file that is damaged or ends early, and the system's error for a file that cannot be read
 */
export async function openBytes(file: string): Promise<ByteSource> {
  const descriptor = openSync(file, 'r');
  const magic = new Uint8Array(2);
  let count = 0;
  try {
    count = readSync(descriptor, magic, 0, 2, 0);
  } catch (error) {
    closeSync(descriptor);
    throw Object.assign(error as Error, { path: file });
  }
  if (count < 2 || magic[0] !== 0x1f || magic[1] !== 0x8b) return new PlainSource(file, descriptor);
  closeSync(descriptor);
  return unpack(file);
}

async function unpack(file: string): Promise<ByteSource> {
  const builder = new PartsBuilder();
  const packed = createReadStream(file);
  const unpacked = packed.pipe(createGunzip());
  packed.once('error', (error) => unpacked.destroy(error));
  try {
    for await (const bytes of unpacked) builder.append(bytes as Buffer);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code !== 'Z_BUF_ERROR' && code !== 'Z_DATA_ERROR') throw error;
    const what = code === 'Z_BUF_ERROR' ? 'ends too early: the file is truncated' : 'is damaged';
    throw new InputError(`the gzip data ${what}, after ${builder.size} unpacked bytes`, { file });
  }
  builder.finishPart();
  return new PartsSource(file, builder.size, builder.parts);
}
