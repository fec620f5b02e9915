/** What the rest of the project uses of x86-64 hardware. The kernel's own x86-64 part is in `kernel/`. */
export { type ControlRegisters, currentPcid, type PrivilegedFault } from './control-registers.ts';
export { explainWalk } from './explain.ts';
export { faultCr2, faultErrorCode, faultVector, Vector } from './fault-code.ts';
export {
  CPU_MODELS,
  type CpuFeatures,
  type CpuModelName,
  INTEL_COMPLETE,
  INTEL_RECORDED,
  type Vendor,
} from './features.ts';
export {
  effectiveMemoryType,
  MemoryType,
  MTRRS_WRITE_BACK,
  type Mtrrs,
  memoryTypeName,
} from './memory-type.ts';
export { X86Mmu, type X86MmuOptions, X86State } from './mmu.ts';
export { Msr } from './model-specific-registers.ts';
export {
  controlRegisters,
  invlpg,
  invpcid,
  movToCr0,
  movToCr3,
  movToCr4,
  setAlignmentCheck,
  wrmsr,
  wrpkru,
} from './privileged.ts';
