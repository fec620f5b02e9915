/** The Access flags that an access may set and need not: where the architecture leaves it open. */
import type { MemoryList } from './memory-list.ts';
import { NO_MEMORY } from './memory-list.ts';

const VALID = 1;
const TABLE_OR_PAGE = 2;
const AF = 1 << 10;
const WORDS = 4;

/**
 * Every listed leaf descriptor with a clear Access flag, with the flag set. A descriptor with bits 1:0 = 0b11 is a table
 * if another one lies in the granule it names, a page otherwise; vectors list every descriptor of the walk.
 * @param granule bytes
 */
export function accessFlagUpdates(memory: MemoryList, granule: number): MemoryList {
  const updates: number[] = [];
  for (let at = 0; at < memory.length; at += WORDS) {
    const low = memory[at + 3] as number;
    if ((low & VALID) === 0 || (low & AF) !== 0) continue;
    if ((low & TABLE_OR_PAGE) !== 0 && namesTable(memory, at, granule)) continue;
    updates.push(memory[at] as number, memory[at + 1] as number, memory[at + 2] as number, low | AF);
  }
  return updates.length === 0 ? NO_MEMORY : Int32Array.from(updates);
}

/** Tables lie below 2^48, so the bits of an address above do not matter here. */
function namesTable(memory: MemoryList, entry: number, granule: number): boolean {
  const low = (memory[entry + 3] as number) & -granule;
  const high = (memory[entry + 2] as number) & 0xffff;
  for (let at = 0; at < memory.length; at += WORDS) {
    if (memory[at] === high && ((memory[at + 1] as number) & -granule) === low) return true;
  }
  return false;
}
