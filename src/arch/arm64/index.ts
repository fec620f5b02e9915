/** What a user of the library has of arm64 hardware. The kernel's own arm64 part is in `kernel/`. */
export {
  AT_OPERATIONS,
  type AtOperation,
  atNamed,
  atUndefined,
  executeAt,
} from './address-translation.ts';
export { AtomicOperation } from './atomic-operation.ts';
export { barrierNamed, completes, type DataSynchronizationBarrier } from './barriers.ts';
export { Arm64InvalidationReporter, Arm64LiveTableRules } from './break-before-make.ts';
export {
  blockLayout,
  type DescriptorContext,
  type DescriptorForm,
  descriptorAddress,
  descriptorForm,
  descriptorShift,
  type GranuleShift,
  layoutOfDescriptor,
  pageLayout,
  tableLayout,
} from './entries.ts';
export { explainAccess as explainWalk, explainInstruction } from './explain.ts';
export {
  ExceptionClass,
  faultEsr,
  faultExceptionClass,
  faultFar,
  faultLevel,
  faultStatus,
} from './fault-code.ts';
export { REASON_NAMES, Reason } from './fault-reasons.ts';
export {
  ARM64_COMPLETE,
  ARM64_RECORDED,
  type Arm64Features,
  CORTEX_A72,
  CPU_MODELS,
  type CpuModelName,
  NEOVERSE_N1,
  NEOVERSE_V2,
} from './features.ts';
export {
  memoryAttributeName,
  NORMAL_NON_CACHEABLE,
  Shareability,
  TAGGED_NORMAL,
} from './memory-attributes.ts';
export { Arm64Mmu, Arm64State } from './mmu.ts';
export { assembleTagInstruction } from './mte/assemble.ts';
export {
  decodeTagInstruction,
  encodeTagInstruction,
  executeTagInstruction,
  formatTagInstruction,
  TAG_ENCODINGS,
  type TagEncoding,
  type TagForm,
} from './mte/encodings.ts';
export type { TagCore } from './mte/execute.ts';
export type { Operand } from './mte/operands.ts';
export { chooseNonExcludedTag, seedAfterTag, tagOfSeed } from './mte/random-tag.ts';
export { Arm64TagInstructions, logicalTag, withLogicalTag } from './mte/tag-operations.ts';
export { mrs, msr, type SystemRegister } from './register-access.ts';
export { RegisterFile } from './register-file.ts';
export {
  ESR_EL1,
  ESR_EL1_DATA_ABORT,
  ESR_EL1_INSTRUCTION_ABORT,
  EXCEPTION_CLASSES,
  faultStatusName,
  TCR_EL1,
} from './registers.ts';
export {
  type MaintenanceCosts,
  type MaintenanceObserver,
  ShareabilityDomain,
  type ShareabilityOptions,
  tlbiAndComplete,
} from './shareability-domain.ts';
export type { Arm64MmuOptions } from './state.ts';
export {
  DCZID_EL0,
  FAR_EL1,
  GCR_EL1,
  GMID_EL1,
  MAIR_EL1,
  PAR_EL1,
  PAR_EL1_FAULT,
  PIR_EL1,
  PIRE0_EL1,
  POR_EL0,
  POR_EL1,
  RGSR_EL1,
  SCTLR_EL1,
  TCR2_EL1,
  TFSR_EL1,
  TFSRE0_EL1,
  TTBR0_EL1,
  TTBR1_EL1,
} from './system-registers.ts';
export { type TableShape, tableShape } from './table-shape.ts';
export {
  TLBI_OPERATIONS,
  type TlbiOperation,
  tlbiNamed,
  tlbiUndefined,
} from './tlbi.ts';
export {
  addressOperand,
  asidOperand,
  type RangeOperand,
  rangeOperand,
  rangePages,
  TLBI_ADDRESS,
  TLBI_ASID,
  TLBI_RANGE,
  type TlbiScope,
  tlbiScope,
} from './tlbi-operands.ts';
