/**
 * What a CPU's MMU is made with, and the registers it reads.
 */
import type { Retention, TlbProfile } from '../../hardware/retention.ts';
import type { CpuFeatures } from './features.ts';
import { MTRRS_WRITE_BACK, type Mtrrs } from './memory-type.ts';
import { CR0, CR4, EFER, PAT_AT_RESET } from './registers.ts';

const CR0_AT_FIRST = CR0.half('PE', 'ET', 'NE', 'WP', 'PG').lo;
const CR4_AT_FIRST = CR4.half('PAE').lo;
const EFER_AT_FIRST = EFER.half('LME', 'LMA', 'NXE').lo;

/** The registers that translation reads, as int32 halves where they have 64 bits. */
export class X86State {
  cr0 = CR0_AT_FIRST;
  cr3Hi = 0;
  cr3Lo = 0;
  cr4Hi = 0;
  cr4 = CR4_AT_FIRST;
  efer = EFER_AT_FIRST;
  /** RFLAGS.AC; seen by supervisor accesses only. */
  alignmentCheck = false;
  pkru = 0;
  pkrs = 0;
  /** IA32_PAT and the MTRRs: what accesses are cached as, never where they go. */
  memoryTypes: { readonly pat: bigint; readonly mtrrs: Mtrrs } = {
    pat: PAT_AT_RESET,
    mtrrs: MTRRS_WRITE_BACK,
  };
}

export interface X86MmuOptions {
  readonly features?: CpuFeatures;
  readonly retention?: Retention;
  readonly profile?: TlbProfile;
}
