/** Bytes as traces write them: words repeated over a length, and lists of the parts that are not zero. */

/** `length` bytes of the little-endian word `value`, repeated: byte i is `value >> 8 * (i % 8)`. */
export function repeatedWord(value: bigint, length: number): Uint8Array {
  const word = Uint8Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = word[i % 8] as number;
  return bytes;
}

/** Two digits a byte, in memory order. */
export const hexBytes = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** How many zero bytes end a run of non-zero ones. */
const GAP = 8;

/** The runs of `bytes` that hold something: `offset+length hex`, a long run that repeats one word only once. */
export function nonZeroRuns(bytes: Uint8Array): string[] {
  const runs: string[] = [];
  let start = -1;
  let last = -1;
  for (let i = 0; i <= bytes.length; i++) {
    const set = i < bytes.length && bytes[i] !== 0;
    if (start >= 0 && (i === bytes.length || (set && i - last > GAP))) {
      runs.push(showRun(bytes, start, last + 1));
      start = -1;
    }
    if (!set) continue;
    if (start < 0) start = i;
    last = i;
  }
  return runs;
}

function showRun(bytes: Uint8Array, start: number, end: number): string {
  const run = bytes.subarray(start, end);
  const repeats = run.length > 16 && run.every((byte, i) => byte === run[i % 8]);
  return `${start}+${run.length} ${hexBytes(repeats ? run.subarray(0, 8) : run)}${repeats ? '…' : ''}`;
}

/**
 * The first `length` bytes that a trace's `nz` list stands for: [offset, length, hex], the hex repeated over the
 * length. `undefined` when it is no such list.
 */
export function expandNonZero(list: unknown, length: number): Uint8Array | undefined {
  if (!Array.isArray(list)) return undefined;
  const bytes = new Uint8Array(length);
  for (const entry of list as unknown[]) {
    if (!Array.isArray(entry)) return undefined;
    const [offset, count, hex] = entry as unknown[];
    if (!isCount(offset) || !isCount(count) || typeof hex !== 'string' || !/^([0-9a-f]{2})+$/.test(hex))
      return undefined;
    const pattern = Array.from({ length: hex.length / 2 }, (_, i) =>
      Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16),
    );
    const end = Math.min(offset + count, length);
    for (let i = offset; i < end; i++) bytes[i] = pattern[(i - offset) % pattern.length] as number;
  }
  return bytes;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
