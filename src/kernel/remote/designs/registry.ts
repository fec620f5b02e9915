/** Every design by its name. */
import type { RemoteAccessDesign } from '../design.ts';
import { DESIGN_NAMES, type DesignName } from '../design-names.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';
import { v1VmaLockPerPage } from './v1-vma-lock-per-page.ts';
import { v2InterruptsOff } from './v2-interrupts-off.ts';
import { v3OneVma } from './v3-one-vma.ts';
import { v4GupOnLockedVma } from './v4/v4-gup-on-locked-vma.ts';
import { v5GupFast } from './v5-gup-fast.ts';
import { v6Speculation } from './v6-speculation.ts';
import { n1RcuLookup } from './wrong/n1-rcu-lookup.ts';
import { n2KeptPointer } from './wrong/n2-kept-pointer.ts';
import { n3LocklessWalk } from './wrong/n3-lockless-walk.ts';
import { n4MmapLockInside } from './wrong/n4-mmap-lock-inside.ts';

const byName: Readonly<Record<DesignName, RemoteAccessDesign>> = {
  v0: v0MmapLock,
  v1: v1VmaLockPerPage,
  v2: v2InterruptsOff,
  v3: v3OneVma,
  v4: v4GupOnLockedVma,
  v5: v5GupFast,
  v6: v6Speculation,
  n1: n1RcuLookup,
  n2: n2KeptPointer,
  n3: n3LocklessWalk,
  n4: n4MmapLockInside,
};

/** In the order of their names: what is and was proposed, then what is wrong. */
export const DESIGNS: readonly RemoteAccessDesign[] = DESIGN_NAMES.map((name) => byName[name]);

export function designNamed(name: DesignName): RemoteAccessDesign {
  return byName[name];
}
