import type { VmArea } from '../../../src/kernel/mm/vma.ts';

/** Changes a VMA that is in a tree as no path of the kernel may: nobody is kept out meanwhile. */
export function pokeVma(vma: VmArea | null | undefined, change: (vma: VmArea) => void): void {
  if (vma === null || vma === undefined) throw new Error('no VMA to change');
  const { refcount } = vma;
  vma.refcount = 0;
  change(vma);
  vma.refcount = refcount;
}
