/** What keeps VMAs and page tables in place while present pages of one VMA are read, and what that costs on shared lines. */
import type { LineCounts } from '../point-meter.ts';
import type { Footprint, Held } from './footprint.ts';
import { type Access, addressOf, PAGE_BYTES, type ProtocolMachine, WORD_BYTES } from './machine.ts';
import { mannerOf } from './manner.ts';

/** A word over the border of two pages, so that all designs take it for themselves, whatever they think of sizes. */
const BORDER = addressOf(1, PAGE_BYTES - WORD_BYTES / 2);
const PAGES_AT_BORDER = 2;

/** The second of two: locks and counts have been used before. */
function readTwice(machine: ProtocolMachine, address: bigint): Access {
  machine.access(address, WORD_BYTES);
  return machine.access(address, WORD_BYTES);
}

export interface SteadyAccess {
  readonly onePage: Access;
  readonly twoPages: Access;
}

export function readPresentPages(machine: ProtocolMachine): SteadyAccess {
  machine.map(0, 4);
  machine.fill(0, 4);
  return { onePage: readTwice(machine, addressOf(0)), twoPages: readTwice(machine, BORDER) };
}

function lockAtCopy({ mmapLock, vma }: Held): string {
  if (mmapLock !== null) return vma ? `mmap_lock ${mmapLock} and VMA read` : `mmap_lock ${mmapLock}`;
  return vma ? 'VMA read' : 'nothing';
}

/**
 * At each copy of a word on two pages: which locks, and whether they were taken once.
 * @param other an access for which a design with a choice may have chosen another lock
 */
export function stabilityText({ footprint }: Access, other: Access): string {
  const { copies, vmaLocks, mmapLocks, sequenceBefore, sequenceAfter } = footprint;
  const kinds = [...new Set(copies.map(lockAtCopy))];
  if (kinds.length > 1) return `${kinds[0]} at the first page, then ${kinds.slice(1).join(', ')}`;
  const [kind] = kinds;
  if (kind === 'nothing')
    return sequenceBefore && sequenceAfter ? 'none; sequence of mmap_lock, validated at the end' : 'nothing';
  const times = Math.max(vmaLocks, mmapLocks);
  const chosen = mannerOf(other) === 'chosen' ? ` or ${other.footprint.copies.map(lockAtCopy).join()}` : '';
  return `${kind}${chosen}, ${times === PAGES_AT_BORDER ? 'per page' : 'whole call'}`;
}

/** What is held wherever page tables are read, and what makes sure that the page was the one when it was taken. */
export function tableLifetimeText({ walks, pages }: Footprint): string {
  const always = (has: (held: Held) => boolean): boolean => walks.length > 0 && walks.every(has);
  const keeps = [
    always(({ mmapLock }) => mmapLock !== null) && 'mmap_lock',
    always(({ vma }) => vma) && 'VMA',
    always(({ interruptsOff }) => interruptsOff) && 'interrupts off',
    always(({ rcu }) => rcu) && 'RCU',
    pages.every(({ held }) => held.tableLock) && 'ptl',
  ].filter((keep) => keep !== false);
  if (pages.every(({ held }) => held.tableLock)) return keeps.join(' + ');
  const again = pages.every(({ lookedAgain }) => lookedAgain);
  return `${keeps.join(' + ')}; ${again ? 'entries read again, no ptl' : 'no ptl, entries not read again'}`;
}

const LINE_NAMES: readonly (readonly [keyof LineCounts, string])[] = [
  ['mmapLock', 'mmap_lock'],
  ['vmaRefcount', 'vm_refcnt'],
  ['pageTableLock', 'ptl'],
  ['pageRefcount', 'page count'],
  ['other', 'other lines'],
];

/** `2 on mmap_lock; per page 1 on ptl, 2 on page count`: from one page and from two. */
export function atomicsText({ onePage, twoPages }: SteadyAccess): string {
  const one = onePage.footprint.lines;
  const two = twoPages.footprint.lines;
  const parts = (count: (line: keyof LineCounts) => number): string =>
    LINE_NAMES.filter(([line]) => count(line) !== 0)
      .map(([line, name]) => `${count(line)} on ${name}`)
      .join(', ');
  const perPage = parts((line) => two[line] - one[line]);
  const once = parts((line) => 2 * one[line] - two[line]);
  return once === '' ? `per page ${perPage}` : `${once}; per page ${perPage}`;
}
