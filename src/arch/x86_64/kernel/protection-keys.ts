/**
 * Protection keys on x86-64: 16 per address space, two bits each in the thread's PKRU. Memory that is mapped for
 * execution only gets a key of its own, whose data access the thread that maps it takes away from itself; threads that
 * have been there before keep theirs.
 * Left out: PKRU at signal delivery (handlers of guests do not run).
 * @see Linux arch/x86/mm/pkeys.c, arch/x86/include/asm/pkeys.h, arch/x86/kernel/fpu/xstate.c, `arch_set_user_pkey_access`
 */
import type { KeyRightsRegister, MmContext, ProtectionKeys, VmFlagBits } from '../../kernel-arch.ts';
import { PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE, PKEY_EINVAL, PKEY_ENOSPC } from '../../protection-keys.ts';
import { VmAccess } from '../../vm-access.ts';
import { pkruAllows } from './fault-entry.ts';
import { NO_VM_FLAGS, vmaPkey } from './protection-map.ts';
import type { X86MmContext } from './tlb-state.ts';

const KEYS = 16;
const BITS_PER_KEY = 2;
const NO_KEY = -1;
/** The generic numbers happen to be those of PKRU's two bits. */
const RIGHTS = PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE;
const ACCESS = VmAccess.Read | VmAccess.Write | VmAccess.Exec;

/** On a CPU that has keys. */
export class X86ProtectionKeys implements ProtectionKeys {
  readonly accessMask = RIGHTS;
  readonly register: KeyRightsRegister;

  /** @param register PKRU of each CPU */
  constructor(register: KeyRightsRegister) {
    this.register = register;
  }

  allocate(cpu: number, context: MmContext, rights: number): number {
    const key = takeKey(context as X86MmContext);
    if (key === NO_KEY) return PKEY_ENOSPC;
    this.#setRights(cpu, key, rights);
    return key;
  }

  free(context: MmContext, key: number): boolean {
    if (!this.isAllocated(context, key)) return false;
    (context as X86MmContext).pkeyAllocationMap &= ~(1 << key);
    return true;
  }

  isAllocated(context: MmContext, key: number): boolean {
    const { pkeyAllocationMap, executeOnlyPkey } = context as X86MmContext;
    if (key < 0 || key >= KEYS || key === executeOnlyPkey) return false;
    return (pkeyAllocationMap & (1 << key)) !== 0;
  }

  keyOfNewMapping(cpu: number, context: MmContext, executeOnly: boolean): number {
    return executeOnly ? Math.max(0, this.#executeOnlyKey(cpu, context as X86MmContext)) : 0;
  }

  keyForMprotect(
    cpu: number,
    context: MmContext,
    vma: VmFlagBits,
    executeOnly: boolean,
    key: number,
  ): number {
    if (key !== -1) return key;
    const own = vmaPkey(vma.flagsHigh);
    if (executeOnly) {
      const closed = this.#executeOnlyKey(cpu, context as X86MmContext);
      return closed > 0 ? closed : own;
    }
    const wasExecuteOnly = (vma.flags & ACCESS) === VmAccess.Exec;
    return wasExecuteOnly && own === (context as X86MmContext).executeOnlyPkey ? 0 : own;
  }

  vmFlagsOf(key: number): VmFlagBits {
    return { flags: 0, flagsHigh: key };
  }

  permits(cpu: number, key: number, write: boolean): boolean {
    return pkruAllows(this.register.read(cpu), key, write);
  }

  duplicate(from: MmContext, to: MmContext): void {
    const { pkeyAllocationMap, executeOnlyPkey } = from as X86MmContext;
    Object.assign(to, { pkeyAllocationMap, executeOnlyPkey });
  }

  /** @see arch/x86/mm/pkeys.c, `__execute_only_pkey` */
  #executeOnlyKey(cpu: number, context: X86MmContext): number {
    const fresh = context.executeOnlyPkey === NO_KEY;
    const key = fresh ? takeKey(context) : context.executeOnlyPkey;
    if (key === NO_KEY) return NO_KEY;
    if (!fresh && !pkruAllows(this.register.read(cpu), key, false)) return key;
    this.#setRights(cpu, key, PKEY_DISABLE_ACCESS);
    context.executeOnlyPkey = key;
    return key;
  }

  #setRights(cpu: number, key: number, rights: number): void {
    const shift = key * BITS_PER_KEY;
    this.register.write(cpu, (this.register.read(cpu) & ~(RIGHTS << shift)) | (rights << shift));
  }
}

/** The lowest free key; -1 when none is. @see `mm_pkey_alloc` */
function takeKey(context: X86MmContext): number {
  const free = ~context.pkeyAllocationMap & ((1 << KEYS) - 1);
  if (free === 0) return NO_KEY;
  const key = 31 - Math.clz32(free & -free);
  context.pkeyAllocationMap |= 1 << key;
  return key;
}

/** On a CPU without: a key is taken and given back, as its rights cannot be set. */
export const NO_X86_KEYS: ProtectionKeys = {
  accessMask: RIGHTS,
  register: null,
  allocate: () => PKEY_EINVAL,
  free: () => false,
  isAllocated: () => false,
  keyOfNewMapping: () => 0,
  keyForMprotect: () => 0,
  vmFlagsOf: () => NO_VM_FLAGS,
  permits: () => true,
  duplicate: () => {},
};
