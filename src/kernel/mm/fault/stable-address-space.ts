/** @see Linux include/linux/oom.h, `check_stable_address_space` */
import { MMF_UNSTABLE, type MmStruct } from '../mm.ts';
import { VM_FAULT_SIGBUS } from './fault-flags.ts';

/** SIGBUS when the mm is being taken apart (a fork that failed half-way, the OOM reaper): contents cannot be relied on. */
export function checkStableAddressSpace(mm: MmStruct): number {
  return (mm.flagBits & MMF_UNSTABLE) !== 0 ? VM_FAULT_SIGBUS : 0;
}
