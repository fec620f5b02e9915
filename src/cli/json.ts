/**
 * One object as JSON: 64-bit words become hexadecimal strings, bytes a string of two digits each, maps objects. What a
 * scenario's program returns may be anything, and must not end the command: what JSON cannot say becomes its text.
 */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(plain(value, []), null, 2)}\n`;
}

function plain(value: unknown, inside: readonly object[]): unknown {
  if (typeof value === 'bigint') return value < 0n ? String(value) : `0x${value.toString(16)}`;
  if (typeof value === 'function' || typeof value === 'symbol') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (inside.includes(value)) return '(itself)';
  if (value instanceof Uint8Array) return Array.from(value, twoDigits).join('');
  const within = [...inside, value];
  if (value instanceof Map) return plainEntries(value.entries(), within);
  if (Array.isArray(value) || value instanceof Set || ArrayBuffer.isView(value)) {
    return Array.from(value as Iterable<unknown>, (item) => plain(item, within));
  }
  return plainEntries(Object.entries(value), within);
}

function plainEntries(entries: Iterable<readonly [unknown, unknown]>, inside: readonly object[]): object {
  return Object.fromEntries(Array.from(entries, ([key, item]) => [String(key), plain(item, inside)]));
}

const twoDigits = (byte: number): string => byte.toString(16).padStart(2, '0');
