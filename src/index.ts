/**
 * The public interface: scenarios and what runs them, the MMU by itself, and the texts of reports. Nothing here needs
 * Node: readers of vector, trace and core files are in the command line.
 */

// The MMU by itself.
export { Access, accessOf } from './arch/access.ts';
export * as arm64 from './arch/arm64/index.ts';
export type { Decoded, DecodedField, DecodeOptions } from './arch/decode-kind.ts';
export type { ExplainedWalk } from './arch/explained-walk.ts';
export { FAULT_KIND_NAMES, FaultKind, type FaultSlot } from './arch/fault.ts';
export type { Mmu } from './arch/mmu.ts';
export { architectureNamed } from './arch/registry.ts';
export { DECODE_KINDS, decodeWord } from './arch/registry-decode-kinds.ts';
export type { WalkObserver } from './arch/walk-observer.ts';
export * as x86_64 from './arch/x86_64/index.ts';
// Words and addresses.
export { InputError, type InputErrorDetails } from './base/input-error.ts';
export { addressBits, bit, bits, ignoredBits, Layout, reservedBits } from './base/layout.ts';
export type { SchedPoint, SharedObject, Task } from './base/task.ts';
export { fromHalves, type Halves, hex, highHalf, lowHalf } from './base/u64.ts';
// Checks over raw sequences of table writes, invalidations and barriers.
export {
  BreakBeforeMake,
  type BreakBeforeMakeViolation,
  describeViolation,
} from './check/break-before-make.ts';
// The machine.
export { COST_PROFILES, type CostProfile } from './hardware/cost-profile.ts';
export { EventCollector, type EventKind, EventSink, type MachineEvent } from './hardware/event-sink.ts';
export { PhysicalMemory } from './hardware/physical-memory.ts';
export { type Retention, TLB_PROFILES, type TlbProfile } from './hardware/retention.ts';
export { TAG_GRANULE, TagMemory } from './hardware/tag-memory.ts';
export type { LockdepReport } from './kernel/lock/lockdep.ts';
export type { MapsEntry, SmapsEntry } from './kernel/mm/smaps.ts';
export type { SmapsRollup } from './kernel/remote/proc-pid-smaps.ts';
export type { KernelWarning } from './kernel/warnings.ts';
// Reports.
export { decodeText } from './report/decode-text.ts';
// Exploring.
export { exploreText } from './report/explore-text.ts';
export { scenarioSummary, scenarioText } from './report/scenario-text.ts';
export { type ScheduleTimeline, scheduleTimelineText } from './report/schedule-timeline.ts';
export { timelineText } from './report/timeline-text.ts';
export { walkText } from './report/walk-text.ts';
// Scenarios.
export type { Candidate, Policy, RunView } from './sched/policy/policy.ts';
export type { ExploreCheckpoint } from './userland/explore/checkpoint.ts';
export type { ExploreConfig } from './userland/explore/config.ts';
export {
  type ExploreProgress,
  type ExploreResult,
  exploreScenario,
  type Finding,
} from './userland/explore/explore.ts';
export type { ByteSize, KernelBug, MachineSettings } from './userland/machine-settings.ts';
export type { HugePagePoolView, PageView, SwapView } from './userland/memory-view.ts';
export type { ErrnoFailure, Failure, Outcome, SignalFailure, Success } from './userland/outcome.ts';
export type {
  DmaMapArguments,
  DmaUnmapArguments,
  DriverName,
  DriverOptions,
  FixedRequestArguments,
  MemoryRegionArguments,
  VduseUmemArguments,
  VhostMapArguments,
  XdpUmemArguments,
} from './userland/pin-arguments.ts';
export type { MemoryRange } from './userland/ranges.ts';
export type { RemoteAccessView } from './userland/remote-access-view.ts';
export type { RunConfig } from './userland/run-config.ts';
export {
  type ProgramResult,
  runScenario,
  type ScenarioResult,
} from './userland/run-scenario.ts';
export { type Assertion, defineScenario, type Program, type Scenario } from './userland/scenario.ts';
export type { ScenarioOutcome } from './userland/scenario-outcome.ts';
export type { ReportCell, ReportColumn, ReportSection, ReportTable } from './userland/scenario-report.ts';
export type { Share, SharedValue } from './userland/share.ts';
export { createSystem, type System, type SystemArchitecture, type SystemOptions } from './userland/system.ts';
export type { ExecArguments, MmapArguments, User, WaitResult } from './userland/user.ts';
export type { DeviceArguments, KvmArguments, KvmPageFaults, KvmSlot } from './userland/user-devices.ts';
export type {
  FallocateArguments,
  HugePageSize,
  MemfdArguments,
  OpenArguments,
  SealName,
} from './userland/user-files.ts';
export type {
  FaultInKind,
  FixupFaultArguments,
  FolioPinArguments,
  FolioPinResult,
  GupArguments,
  GupResult,
} from './userland/user-gup.ts';
export type {
  Advice,
  KeyRights,
  LimitArguments,
  MlockallArguments,
  MremapArguments,
  MsyncArguments,
  RemapFilePagesArguments,
} from './userland/user-mappings.ts';
export type {
  LegacyPinArguments,
  LegacyPinResult,
  PageVmaArguments,
  VmaContentView,
  VmaUseView,
} from './userland/user-pins.ts';
export type { VectorRead } from './userland/user-remote.ts';
export type {
  UffdCopyArguments,
  UffdEvent,
  UffdFeature,
  UffdFillArguments,
  UffdMoveArguments,
  UffdPoll,
  UffdRange,
  UffdRegisterArguments,
  UffdWriteProtectArguments,
  Userfaultfd,
  UserfaultfdArguments,
} from './userland/userfaultfd.ts';
export type { VmaLockView } from './userland/vma-lock-view.ts';
export {
  noBreakBeforeMakeViolation,
  noLockOrderViolation,
  noStaleTranslation,
  type PagemapRun,
  type ProcessView,
  type VmaView,
  type WorldView,
} from './userland/world-view.ts';
