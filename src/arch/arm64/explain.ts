/**
 * One access explained: what registers and address decide, every descriptor with its address and all its fields, what
 * caches gave and kept, the rule that decided, and what the processor reports. Made from the events of the one walker
 * (`WalkObserver`), so it is what `translate` does and cannot disagree with it. Plain data; `src/report/walk-text.ts`
 * prints it.
 */
import type { Layout } from '../../base/layout.ts';
import { fromHalves, hex, highHalf, lowHalf } from '../../base/u64.ts';
import { Access, describeAccess } from '../access.ts';
import type {
  ExplainedEntry,
  ExplainedFault,
  ExplainedNote,
  ExplainedRegister,
  ExplainedStep,
  ExplainedTranslation,
  ExplainedWalk,
} from '../explained-walk.ts';
import { FaultKind, type FaultSlot } from '../fault.ts';
import { WalkRecorder, type WalkStep } from '../walk-recorder.ts';
import { SHAREABILITY_WORDS } from './attribute-words.ts';
import { cachedAttributeIndex } from './cached-translation.ts';
import { decodeDescriptor } from './decode-descriptor.ts';
import { decodeEsr } from './decode-syndrome.ts';
import { descriptorForm, layoutOfDescriptor } from './entries.ts';
import {
  choiceLines,
  contextAt,
  regionOf,
  registerWords,
  type TranslationRegion,
  tableIndices,
} from './explain-choices.ts';
import { faultRules, limitWords, lookupLevel, permissionRules } from './explain-rules.ts';
import { tagRules } from './explain-tags.ts';
import { faultEsr, faultFar } from './fault-code.ts';
import { flushEventName } from './invalidation.ts';
import { isDevice, memoryAttributeName, parShareability } from './memory-attributes.ts';
import type { Arm64Mmu } from './mmu.ts';
import { EXCEPTION_CLASSES, TCR_EL1 } from './registers.ts';
import {
  MAIR_EL1,
  PIR_EL1,
  PIRE0_EL1,
  POR_EL0,
  POR_EL1,
  SCTLR_EL1,
  TCR2_EL1,
  TTBR0_EL1,
  TTBR1_EL1,
} from './system-registers.ts';

const AF = 1 << 10;
const AP2 = 1 << 7;

/** What an update of a descriptor did: its low half before and after. */
function updateWords(mmu: Arm64Mmu, oldLow: number, newLow: number): string {
  const changed = oldLow ^ newLow;
  const indirect = mmu.features.s1pie && TCR2_EL1.has(registerWords(mmu.state).tcr2, 'PIE');
  const parts = [
    changed & AF ? 'AF set' : '',
    changed & AP2 ? `${indirect ? 'nDirty' : 'AP[2]'} cleared: writable-dirty` : '',
  ].filter((part) => part !== '');
  return `${parts.join(', ')} by hardware (HA${changed & AP2 ? ', HD' : ''})`;
}

function noteOf(mmu: Arm64Mmu, step: Exclude<WalkStep, { kind: 'entry' | 'begin' }>): ExplainedNote {
  switch (step.kind) {
    case 'update': {
      const text = `level ${lookupLevel(step.level)}: ${updateWords(mmu, step.oldLow, step.newLow)}`;
      return { kind: 'update', level: lookupLevel(step.level), text };
    }
    case 'flush':
      return {
        kind: 'flush',
        level: null,
        text: `${flushEventName(step.scope)}: ${step.dropped} cached entries dropped`,
      };
    case 'fill':
      return {
        kind: 'fill',
        level: lookupLevel(step.level),
        text: `${step.cache}: level ${lookupLevel(step.level)} kept`,
      };
    case 'hit':
      return { kind: 'hit', level: null, text: `${step.cache}: hit` };
    default:
      return {
        kind: 'rewalk',
        level: null,
        text: `${step.cache}: the cached translation does not allow this; walked again`,
      };
  }
}

function entryOf(region: TranslationRegion, step: Extract<WalkStep, { kind: 'entry' }>): ExplainedEntry {
  const level = lookupLevel(step.level);
  const layout = layoutOfDescriptor(step.value, contextAt(region, level));
  const inMemory = step.source === 'memory';
  return {
    kind: 'entry',
    level,
    name: `level ${level} descriptor`,
    source: step.source,
    address: step.address,
    value: step.value,
    form: inMemory ? layout.title : `level ${level} table`,
    summary: inMemory ? layout.format(step.value) : '',
    fields: inMemory ? decodeDescriptor(step.value, contextAt(region, level)).fields : [],
  };
}

/** Everything that happened, with what a second page starts from and what tables limit below them. */
function explainSteps(
  mmu: Arm64Mmu,
  recorded: readonly WalkStep[],
  region: TranslationRegion,
): ExplainedStep[] {
  const steps: ExplainedStep[] = [];
  let begun = 0;
  for (const step of recorded) {
    if (step.kind === 'begin') {
      if (++begun > 1)
        steps.push({ kind: 'choice', level: null, text: `the second page, from ${hex(step.address)}` });
      continue;
    }
    if (step.kind !== 'entry') {
      steps.push(noteOf(mmu, step));
      continue;
    }
    steps.push(entryOf(region, step));
    const form = descriptorForm(step.value, contextAt(region, lookupLevel(step.level)));
    const table = form === 'table' || step.source !== 'memory';
    const limits = table ? limitWords(mmu, region, step.value) : null;
    if (limits !== null) steps.push({ kind: 'choice', level: lookupLevel(step.level), text: limits });
  }
  return steps;
}

const summarized = (name: string, layout: Layout, value: bigint): ExplainedRegister => ({
  name,
  value,
  summary: layout.format(value),
});

/** PSTATE as SPSR_EL1 holds it: M[3:2], PAN, UAO, TCO. */
function pstateOf({ state }: Arm64Mmu, access: number): ExplainedRegister {
  const el = (access & Access.User) !== 0 ? 0 : 1;
  const flags = [state.pan ? 'PAN' : '', state.uao ? 'UAO' : '', state.tco ? 'TCO' : ''].filter(
    (flag) => flag !== '',
  );
  const bits = (el << 2) | (state.pan ? 1 << 22 : 0) | (state.uao ? 1 << 23 : 0) | (state.tco ? 1 << 25 : 0);
  return { name: 'PSTATE', value: BigInt(bits), summary: [`EL${el}`, ...flags].join(' ') };
}

/** The registers that decide; those of features that are off are left out. */
function explainedRegisters(mmu: Arm64Mmu, access: number): ExplainedRegister[] {
  const words = registerWords(mmu.state);
  const indirect = TCR2_EL1.has(words.tcr2, 'PIE');
  const overlaid = TCR2_EL1.has(words.tcr2, 'POE') || TCR2_EL1.has(words.tcr2, 'E0POE');
  return [
    pstateOf(mmu, access),
    summarized('SCTLR_EL1', SCTLR_EL1, words.sctlr),
    summarized('TCR_EL1', TCR_EL1, words.tcr),
    ...(words.tcr2 === 0n ? [] : [summarized('TCR2_EL1', TCR2_EL1, words.tcr2)]),
    summarized('TTBR0_EL1', TTBR0_EL1, words.ttbr0),
    summarized('TTBR1_EL1', TTBR1_EL1, words.ttbr1),
    summarized('MAIR_EL1', MAIR_EL1, words.mair),
    ...(indirect
      ? [summarized('PIR_EL1', PIR_EL1, words.pir), summarized('PIRE0_EL1', PIRE0_EL1, words.pire0)]
      : []),
    ...(overlaid
      ? [summarized('POR_EL1', POR_EL1, words.por1), summarized('POR_EL0', POR_EL0, words.por0)]
      : []),
  ];
}

function explainTranslation(mmu: Arm64Mmu, { ds, half }: TranslationRegion): ExplainedTranslation {
  const attribute = mmu.memoryAttribute;
  const shareability = mmu.shareability;
  const effective = parShareability(attribute, shareability);
  const from = ds ? `TCR_EL1.SH${half}, as DS = 1` : 'SH of the descriptor';
  const why =
    effective === shareability
      ? `by ${from}`
      : `as ${isDevice(attribute) ? 'Device' : 'Non-cacheable'} memory always is`;
  return {
    kind: 'translation',
    physicalAddress: fromHalves(mmu.paHi, mmu.paLo),
    pageBytes: 1n << BigInt(mmu.pageShift),
    memoryType: memoryAttributeName(attribute),
    memoryTypeRule:
      `MAIR_EL1 Attr${cachedAttributeIndex(mmu.dataHi)} = ${hex(attribute)}; ` +
      `${SHAREABILITY_WORDS[effective] ?? 'reserved'} ${why}${mmu.tagged ? '; Tagged' : ''}`,
  };
}

function explainFault(fault: Readonly<FaultSlot>): ExplainedFault {
  const value = faultEsr(fault);
  const decoded = decodeEsr(value);
  const name = EXCEPTION_CLASSES[Number((value >> 26n) & 0x3fn)] ?? 'exception';
  const words = decoded.remarks[0] ?? name;
  return {
    kind: 'fault',
    name,
    headline: `${words.startsWith(name) ? words : name}: ESR_EL1 = ${hex(value)}`,
    syndrome: { name: 'ESR_EL1', value, summary: words, fields: decoded.fields },
    address:
      fault.kind === FaultKind.Undefined || fault.kind === FaultKind.Trapped
        ? null
        : { name: 'FAR_EL1', value: faultFar(fault) },
  };
}

/**
 * Makes one access's translation (with all its effects: Access flag, dirty state, fills, tag check) and explains it; no
 * data is moved. The MMU's observer is told nothing meanwhile and is in place again afterwards.
 * @param address 64 bits @param access `Access` bits
 * @param length bytes of the access; it may cross into the next page
 */
export function explainAccess(mmu: Arm64Mmu, address: bigint, access: number, length = 1): ExplainedWalk {
  const recorder = new WalkRecorder();
  const before = mmu.observer;
  mmu.observer = recorder;
  const kind = mmu.translateAccess(highHalf(address), lowHalf(address), access, length);
  mmu.observer = before;
  return explained(mmu, recorder.steps, { address, access, length, kind });
}

/** As `explainAccess`, of the access that `make` makes: an instruction that forms its address itself. */
export function explainInstruction(
  mmu: Arm64Mmu,
  make: () => FaultKind | null,
  access: number,
): ExplainedWalk | null {
  const recorder = new WalkRecorder();
  const before = mmu.observer;
  mmu.observer = recorder;
  const kind = make();
  mmu.observer = before;
  const begin = recorder.steps.find((step) => step.kind === 'begin');
  if (kind === null || begin === undefined) return null;
  return explained(mmu, recorder.steps, {
    address: begin.address,
    access: begin.access | access,
    length: 1,
    kind,
  });
}

/** The tag check of every byte: of the whole block of DC ZVA, of both pages of an access that crosses one. */
function checkedTags(mmu: Arm64Mmu, address: bigint, access: number, length: number): string[] {
  const physical = fromHalves(mmu.paHi, mmu.paLo);
  const block = (access & Access.ZeroBlock) !== 0;
  const base = block ? physical & ~(BigInt(length) - 1n) : physical;
  if (!mmu.crossesPage) return tagRules(mmu, address, access, length, base);
  const inFirst = 0x1000 - Number(address & 0xfffn);
  const second = fromHalves(mmu.secondPaHi, mmu.secondPaLo);
  return [
    ...tagRules(mmu, address, access, inFirst, base),
    ...tagRules(mmu, address, access, length - inFirst, second).map((rule) => `in the second page, ${rule}`),
  ];
}

interface MadeAccess {
  readonly address: bigint;
  readonly access: number;
  readonly length: number;
  /** `FaultKind`. */
  readonly kind: number;
}

function explained(mmu: Arm64Mmu, steps: readonly WalkStep[], made: MadeAccess): ExplainedWalk {
  const { address, access, length, kind } = made;
  const region = regionOf(mmu.state, mmu.features, address);
  const faulted = kind !== FaultKind.None;
  const choices = choiceLines(mmu, region, access).map(
    (text): ExplainedNote => ({ kind: 'choice', level: null, text }),
  );
  const outcome = faulted ? explainFault(mmu.fault) : explainTranslation(mmu, region);
  const rules = faulted
    ? faultRules(mmu.fault, mmu, region, steps)
    : permissionRules(mmu, region, steps, access, address);
  const checked =
    outcome.kind === 'translation' || mmu.fault.kind === FaultKind.TagCheck
      ? checkedTags(mmu, address, access, length)
      : [];
  return {
    address,
    access,
    accessWords: describeAccess(access),
    indices: tableIndices(region, address),
    granuleBytes: 1n << BigInt(region.granule),
    registers: explainedRegisters(mmu, access),
    steps: [...choices, ...explainSteps(mmu, steps, region)],
    rules: [...rules, ...checked],
    outcome,
  };
}
