/** What a design says of itself (`serves`) beside what it did. */
import type { DesignServes, RemoteAccessDesign, Serves } from '../../../kernel/remote/design.ts';
import type { Access } from './machine.ts';

export type ClaimedRuns = Readonly<Record<keyof DesignServes, Access>>;

/** Does a run bear the claim out? */
function bears(claim: Serves, { footprint, fallbacks, moved, buffer }: Access): boolean {
  if (moved !== buffer.length) return false;
  const { movedBeforeMmapLock } = footprint;
  if (claim === true) return movedBeforeMmapLock === null;
  if (claim === 'mmap_lock') return movedBeforeMmapLock === 0;
  return movedBeforeMmapLock !== null && fallbacks.size > 0;
}

/** Names of the claims that a run contradicts. */
export function contradictions({ serves }: RemoteAccessDesign, runs: ClaimedRuns): (keyof DesignServes)[] {
  return (Object.keys(serves) as (keyof DesignServes)[]).filter((name) => !bears(serves[name], runs[name]));
}
