/**
 * Where a system call's data goes to or comes from: addresses in the caller's own memory, or bytes that stand for a
 * buffer outside everything modelled (a supervisor that is not itself under test).
 * @see Linux lib/iov_iter.c, `copy_page_to_iter`, `copy_page_from_iter`, `iovec_from_user`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINVAL } from '../errno.ts';
import { accessOk, copyFromUser, copyToUser } from '../mm/user-access.ts';
import type { TaskStruct } from '../task-struct.ts';

/** An address in the caller's memory, or the bytes themselves. */
export type UserBuffer = bigint | Uint8Array;

/** One `struct iovec`. */
export interface IoVector {
  readonly base: UserBuffer;
  /** Bytes, as the 64-bit word that user space passes. */
  readonly length: bigint;
}

/** An iovec array: given, or to be read from the caller's memory at this address. */
export type IoVectorArray = readonly IoVector[] | bigint;

/** `UIO_MAXIOV`. */
const UIO_MAXIOV = 1024;
/** The most bytes that one call moves: a page less than 2 GiB. */
export const MAX_RW_COUNT = 0x7fff_f000n;

/**
 * Copies `length` bytes to the caller's buffer at `at`. Returns the bytes NOT copied.
 */
export function* putToUser(
  current: TaskStruct,
  to: UserBuffer,
  at: number,
  source: Uint8Array,
  length: number,
): Task<number> {
  if (typeof to === 'bigint') return yield* copyToUser(current, to + BigInt(at), source.subarray(0, length));
  const room = to.length - at;
  const bytes = length < room ? length : room;
  to.set(source.subarray(0, bytes), at);
  return length - bytes;
}

/** Copies `length` bytes from the caller's buffer at `at`. Returns the bytes NOT copied. */
export function* getFromUser(
  current: TaskStruct,
  from: UserBuffer,
  at: number,
  target: Uint8Array,
  length: number,
): Task<number> {
  if (typeof from === 'bigint')
    return yield* copyFromUser(current, target.subarray(0, length), from + BigInt(at));
  const room = from.length - at;
  const bytes = length < room ? length : room;
  target.set(from.subarray(at, at + bytes));
  return length - bytes;
}

/** The 16 bytes of a `struct iovec` as user space lays them out, little endian. */
function ioVectorOf(words: DataView, index: number): IoVector {
  return { base: words.getBigUint64(index * 16, true), length: words.getBigUint64(index * 16 + 8, true) };
}

/**
 * `count` iovecs, or -EINVAL (count above UIO_MAXIOV, a length that is negative as ssize_t) or -EFAULT. `count` 0 reads
 * nothing and is an empty array.
 */
export function* iovecFromUser(
  current: TaskStruct,
  array: IoVectorArray,
  count: number,
): Task<readonly IoVector[] | number> {
  if (count === 0) return [];
  if (count > UIO_MAXIOV) return -EINVAL;
  let vectors: readonly IoVector[];
  if (typeof array === 'bigint') {
    const bytes = new Uint8Array(count * 16);
    if ((yield* copyFromUser(current, bytes, array)) !== 0) return -EFAULT;
    const words = new DataView(bytes.buffer);
    vectors = Array.from({ length: count }, (_, index) => ioVectorOf(words, index));
  } else {
    // An array shorter than its count runs into memory that is not there.
    if (array.length < count) return -EFAULT;
    vectors = array.slice(0, count);
  }
  for (const { length } of vectors) if (BigInt.asIntN(64, length) < 0n) return -EINVAL;
  return vectors;
}

/** The buffers of a vector one after the other, with how much of them is left (`struct iov_iter`). */
export class IovIterator {
  readonly #vectors: readonly IoVector[];
  readonly #lengths: readonly number[];
  #index = 0;
  #offset = 0;
  /** Bytes left (`iov_iter_count`). */
  count: number;

  private constructor(vectors: readonly IoVector[], lengths: readonly number[], count: number) {
    this.#vectors = vectors;
    this.#lengths = lengths;
    this.count = count;
  }

  /**
   * -EFAULT when a buffer reaches out of user space. Lengths beyond MAX_RW_COUNT in all are cut.
   * @see Linux lib/iov_iter.c, `__import_iovec`
   */
  static over(current: TaskStruct, vectors: readonly IoVector[]): IovIterator | number {
    const lengths: number[] = [];
    let total = 0n;
    for (const { base, length } of vectors) {
      if (typeof base === 'bigint' && !accessOk(current, base, length)) return -EFAULT;
      const cut = length > MAX_RW_COUNT - total ? MAX_RW_COUNT - total : length;
      lengths.push(Number(cut));
      total += cut;
    }
    return new IovIterator(vectors, lengths, Number(total));
  }

  /** Copies into the buffers. Returns the bytes copied: less than asked at a buffer that cannot be written. */
  *copyTo(current: TaskStruct, source: Uint8Array): Task<number> {
    return yield* this.#copy(current, source, putToUser);
  }

  /** Copies out of the buffers. Returns the bytes copied. */
  *copyFrom(current: TaskStruct, target: Uint8Array): Task<number> {
    return yield* this.#copy(current, target, getFromUser);
  }

  *#copy(current: TaskStruct, bytes: Uint8Array, copy: typeof putToUser): Task<number> {
    let copied = 0;
    while (copied < bytes.length && this.count > 0) {
      const vector = this.#vectors[this.#index] as IoVector;
      const left = (this.#lengths[this.#index] as number) - this.#offset;
      if (left === 0) {
        this.#index += 1;
        this.#offset = 0;
        continue;
      }
      const wanted = Math.min(left, bytes.length - copied);
      const part = bytes.subarray(copied, copied + wanted);
      const done = wanted - (yield* copy(current, vector.base, this.#offset, part, wanted));
      copied += done;
      this.#offset += done;
      this.count -= done;
      if (done < wanted) break;
    }
    return copied;
  }
}
