/** Lists of table entries as the vectors hold them. */

/** [physical address, value] pairs, four int32 each: address high, low, value high, low. */
export type MemoryList = Int32Array;

export const NO_MEMORY: MemoryList = new Int32Array(0);
