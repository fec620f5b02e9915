/** Every design by its name. */
import type { RemoteAccessDesign } from '../design.ts';
import { DESIGN_NAMES, type DesignName } from '../design-names.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';

const byName: Readonly<Record<DesignName, RemoteAccessDesign>> = {
  v0: v0MmapLock,
};

/** In the order of their names: what is and was proposed, then what is wrong. */
export const DESIGNS: readonly RemoteAccessDesign[] = DESIGN_NAMES.map((name) => byName[name]);

export function designNamed(name: DesignName): RemoteAccessDesign {
  return byName[name];
}
