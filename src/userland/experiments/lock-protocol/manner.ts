/** How a design came by its pages: under its own lock, by mmap_lock that it took itself, or by leaving it to today's code. */
import type { Access } from './machine.ts';

/**
 * `own`: mmap_lock was not touched. `chosen`: mmap_lock was taken by a design that goes on itself, without another look-up.
 * `today`: by today's code, which is what it is. `left`: to today's code, for a reason that was counted.
 */
export type Manner = 'own' | 'chosen' | 'today' | 'left';

export function mannerOf({ footprint, fallbacks }: Access): Manner {
  if (footprint.movedBeforeMmapLock === null) return 'own';
  if (fallbacks.size === 0) return 'today';
  // Today's code looks the VMA up for itself, and GUP again; whoever goes on with the VMA it has, does not.
  return footprint.lookUpsUnderMmapLock <= 1 ? 'chosen' : 'left';
}

export const reasonsOf = ({ fallbacks }: Access): string => [...fallbacks.keys()].join(', ');

/** `falls back (absent page)`, and with what it should not. */
export function leftText(access: Access): string {
  const inside = access.footprint.bothLocks ? ', the VMA locked meanwhile' : '';
  return `falls back (${reasonsOf(access)})${inside}`;
}

/** With `own` and `today` in the words of the row. */
export function mannerText(access: Access, own: string, today = own): string {
  switch (mannerOf(access)) {
    case 'own':
      return own;
    case 'today':
      return today;
    case 'chosen':
      return `in its lock function, by mmap_lock (${reasonsOf(access)})`;
    default:
      return leftText(access);
  }
}
