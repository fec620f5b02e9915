/**
 * The cases of Linux's tools/testing/selftests/arm64/mte/check_user_mem.c: read, write, readv and writev of a tmpfs file
 * with a buffer a part of which has another tag. The kernel's copy is checked as the program's accesses are: in sync mode
 * it ends at the first wrong granule, in async mode it goes through; no signal comes from it.
 * readv and writev have one iovec there, and are then read and write of its buffer (lib/iov_iter.c,
 * `__import_iovec_ubuf`); the iovec itself is read from the memory of the process.
 */
import { expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT } from '../../../src/kernel/errno.ts';
import { sysPread, sysPwrite } from '../../../src/kernel/mm/file-user-io.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileWrite } from '../../../src/kernel/mm/memfd.ts';
import { copyToUser } from '../../../src/kernel/mm/user-access.ts';
import { type IoVector, iovecFromUser } from '../../../src/kernel/remote/user-buffer.ts';
import { GRANULE, type MteProcess, mteProcess, PAGE, tagOf, withTag } from './mte-process.ts';

const CALLS = ['read', 'write', 'readv', 'writev'] as const;
type Call = (typeof CALLS)[number];
const LENGTH = 2 * PAGE;
const SIZES = [1, 2, 3, 8, 16, 32, PAGE];
const A = 0x41;

/** One call at offset 0 of the file. */
function* callOn(
  process: MteProcess,
  call: Call,
  file: MappedFile,
  vector: bigint,
  pointer: bigint,
  size: number,
): Task<number> {
  const { task } = process;
  let [base, length] = [pointer, BigInt(size)];
  if (call.endsWith('v')) {
    const words = new Uint8Array(new BigUint64Array([pointer, BigInt(size)]).buffer);
    expect(yield* copyToUser(task, vector, words)).toBe(0);
    const [only] = (yield* iovecFromUser(task, vector, 1)) as readonly [IoVector];
    [base, length] = [only.base as bigint, only.length];
  }
  const body = call.startsWith('read') ? sysPread : sysPwrite;
  return yield* body(task, file, base, length, 0n);
}

/** What comes back: the bytes before the first wrong granule, or -EFAULT where it is the first. */
function expectedCount(
  mode: 'sync' | 'async',
  offset: number,
  length: number,
  at: number,
  size: number,
): number {
  const first = Math.max(at, offset);
  if (mode === 'async' || first >= at + size || first >= offset + length) return size;
  return first === at ? -EFAULT : first - at;
}

const CASES = CALLS.flatMap((call) =>
  (['sync', 'async'] as const).flatMap((mode) =>
    (['MAP_SHARED', 'MAP_PRIVATE'] as const).flatMap((map) =>
      [0, GRANULE].flatMap((length) =>
        [PAGE, GRANULE].map((offset) => [call, mode, map, length, offset] as const),
      ),
    ),
  ),
);

it.each(
  CASES.map(
    (each) =>
      [
        `test type: ${each[0]}, MTE_${each[1].toUpperCase()}_ERR, ${each[2]}, tag len: ${each[3]}, tag offset: ${each[4]}`,
        each,
      ] as const,
  ),
)('check_user_mem: %s', (_, [call, mode, map, tagLength, tagOffset]) => {
  const process = mteProcess();
  process.switchMode(mode);
  const file = process.file(0);
  const content = new Uint8Array(LENGTH).fill(A);
  expect(process.syscall(fileWrite(process.task, file, 0, content))).toBe(LENGTH);
  const shared = map === 'MAP_SHARED';
  const pointer = process.allocate(LENGTH, { how: 'mmap', shared, tags: true });
  const vector = process.allocate(GRANULE, { how: 'mmap' });

  // With the right tag the file comes in whole.
  expect(process.syscall(callOn(process, 'read', file, vector, pointer, LENGTH))).toBe(LENGTH);
  expect(process.bytes(pointer, LENGTH)).toEqual(content);

  const wrong = tagLength === 0 ? LENGTH - tagOffset : tagLength;
  const other = (tagOf(pointer) % 15) + 1;
  process.setTags(withTag(pointer + BigInt(tagOffset), other), wrong);
  for (let at = 0; at < GRANULE; at++) {
    for (const size of SIZES) {
      const count = process.syscall(callOn(process, call, file, vector, pointer + BigInt(at), size));
      const expected = expectedCount(mode, tagOffset, wrong, at, size);
      expect({ at, size, count }).toEqual({ at, size, count: expected });
    }
  }
  expect(process.asynchronousFaults()).toBe(0);
});
