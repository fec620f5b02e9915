/**
 * Protection keys of an arm64 CPU without permission overlays (FEAT_S1POE): there is key 0, which every mapping has, and
 * no other.
 * Left out: POR_EL0 and the overlays themselves; no CPU model here has them.
 * @see Linux arch/arm64/include/asm/pkeys.h, `mm_pkey_alloc`, `mm_pkey_is_allocated`; arch/arm64/mm/mmu.c,
 * `arch_set_user_pkey_access`
 */
import type { MmContext, ProtectionKeys, VmFlagBits } from '../../kernel-arch.ts';
import { PKEY_ENOSPC } from '../../protection-keys.ts';

const NO_FLAGS: VmFlagBits = { flags: 0, flagsHigh: 0 };
/** PKEY_DISABLE_ACCESS, _WRITE, _EXECUTE and _READ. */
const ACCESS_MASK = 0xf;

/** Even key 0 can be given back, once. */
export class KeysWithoutOverlays implements ProtectionKeys {
  readonly accessMask = ACCESS_MASK;
  readonly register = null;
  readonly #withoutKey0 = new WeakSet<MmContext>();

  allocate(): number {
    return PKEY_ENOSPC;
  }

  free(context: MmContext, key: number): boolean {
    if (!this.isAllocated(context, key)) return false;
    this.#withoutKey0.add(context);
    return true;
  }

  isAllocated(context: MmContext, key: number): boolean {
    return key === 0 && !this.#withoutKey0.has(context);
  }

  keyOfNewMapping(): number {
    return 0;
  }

  keyForMprotect(
    _cpu: number,
    _context: MmContext,
    _vma: VmFlagBits,
    _executeOnly: boolean,
    key: number,
  ): number {
    return Math.max(0, key);
  }

  vmFlagsOf(): VmFlagBits {
    return NO_FLAGS;
  }

  permits(): boolean {
    return true;
  }

  duplicate(from: MmContext, to: MmContext): void {
    if (this.#withoutKey0.has(from)) this.#withoutKey0.add(to);
  }
}
