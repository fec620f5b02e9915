/**
 * Which mappings are of secret memory: the kernel's own ways to user memory turn away from them.
 * @see Linux mm/secretmem.c, `vma_is_secretmem`
 */
import type { VmArea } from './vma.ts';

/** A child's mapping is one as well, though it is not locked. */
export function vmaIsSecretmem({ file }: VmArea): boolean {
  return file !== null && file.mapping.secret !== null;
}
