/** The pure JavaScript half of bigint-buffer, which has no declaration of its own. `bytes.ts` is its only user. */
declare module 'bigint-buffer/dist/browser.js' {
  /** `width` bytes, least significant first. Takes the low end of a number that is too wide, silently. */
  export function toBufferLE(value: bigint, width: number): Uint8Array;
  /** `width` bytes, most significant first. Drops the *low* end of a number that is too wide, silently. */
  export function toBufferBE(value: bigint, width: number): Uint8Array;
  export function toBigIntLE(bytes: Uint8Array): bigint;
  export function toBigIntBE(bytes: Uint8Array): bigint;
}
