/** What Linux keeps of a task on x86-64 that a memory access depends on. @see arch/x86/include/asm/processor.h */

import { ThreadState } from '../../thread-state.ts';
import { PKRU } from '../registers.ts';

type KeyName = (typeof PKRU.names)[number];

/** `init_pkru_value`: every key but 0 is closed. */
export const INIT_PKRU = PKRU.half(
  ...PKRU.names.filter((name): name is KeyName => name.startsWith('AD') && name !== 'AD0'),
).lo;

export class X86ThreadState extends ThreadState {
  /** `thread.pkru`: of the task while it does not run; then the CPU's register is the true one. */
  pkru: number;

  constructor(name: string, pkru: number) {
    super(name);
    this.pkru = pkru;
  }
}
