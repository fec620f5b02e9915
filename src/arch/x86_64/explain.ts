/**
 * One translation explained: every entry with its address and all its fields, what caches gave and kept, the rule that
 * decided, and what the processor reports. Made from the events of the one walker (`WalkObserver`), so it is what
 * `translate` does and cannot disagree with it. Plain data; `src/report/walk-text.ts` prints it.
 */
import type { Layout } from '../../base/layout.ts';
import { fromHalves, hex, highHalf, lowHalf } from '../../base/u64.ts';
import { Access, describeAccess } from '../access.ts';
import { decodeWith } from '../decode-kind.ts';
import type {
  ExplainedEntry,
  ExplainedFault,
  ExplainedNote,
  ExplainedRegister,
  ExplainedTranslation,
  ExplainedWalk,
} from '../explained-walk.ts';
import { FaultKind, type FaultSlot } from '../fault.ts';
import { WalkRecorder, type WalkStep } from '../walk-recorder.ts';
import { Entry, entryLayout, LEVEL_NAMES, mapsPage, PTE } from './entries.ts';
import { combineRights, fieldWords, permissionRules, reservedRule } from './explain-rules.ts';
import { faultCr2, faultErrorCode, faultVector, Vector } from './fault-code.ts';
import { FLUSH_EVENT_NAMES } from './invalidation.ts';
import { effectiveMemoryType, memoryTypeName } from './memory-type.ts';
import type { X86Mmu } from './mmu.ts';
import { REASON_NAMES } from './permissions.ts';
import { CR0, CR3, CR4, EFER, PAGE_FAULT_ERROR } from './registers.ts';

/** What a step says in words, for steps that are not entries. */
function noteOf(step: Exclude<WalkStep, { kind: 'entry' | 'begin' }>): ExplainedNote {
  if (step.kind === 'update') {
    const set = step.newLow & ~step.oldLow;
    const flags = [set & Entry.A ? 'A' : '', set & Entry.D ? 'D' : ''].filter((flag) => flag !== '');
    return {
      kind: 'update',
      level: step.level,
      text: `${LEVEL_NAMES[step.level]}: ${flags.join(' and ')} set`,
    };
  }
  if (step.kind === 'flush') {
    const name = FLUSH_EVENT_NAMES[step.scope] ?? `flush ${step.scope}`;
    return { kind: 'flush', level: null, text: `${name}: ${step.dropped} cached entries dropped` };
  }
  if (step.kind === 'fill') {
    return { kind: 'fill', level: step.level, text: `${step.cache}: ${LEVEL_NAMES[step.level]} kept` };
  }
  const text = step.kind === 'hit' ? 'hit' : 'the cached translation does not allow this; walked again';
  return { kind: step.kind, level: null, text: `${step.cache}: ${text}` };
}

function entryOf(step: Extract<WalkStep, { kind: 'entry' }>): ExplainedEntry {
  const fromMemory = step.source === 'memory';
  const leaf = fromMemory && PTE.has(step.value, 'P') && mapsPage(step.level, lowHalf(step.value));
  const layout = entryLayout(step.level, leaf || step.level === 1);
  const fields = fromMemory ? decodeWith('', layout, step.value, '', fieldWords).fields : [];
  return {
    kind: 'entry',
    level: step.level,
    name: LEVEL_NAMES[step.level] ?? `level ${step.level}`,
    source: step.source,
    address: step.address,
    value: step.value,
    form: layout.title,
    summary: layout.format(step.value),
    fields,
  };
}

const VECTOR_NAMES: Readonly<Record<number, string>> = {
  [Vector.StackFault]: '#SS',
  [Vector.GeneralProtection]: '#GP',
  [Vector.PageFault]: '#PF',
  [Vector.MachineCheck]: '#MC',
};

function explainFault(fault: Readonly<FaultSlot>): ExplainedFault {
  const vector = faultVector(fault);
  const value = BigInt(faultErrorCode(fault));
  const isPageFault = vector === Vector.PageFault;
  const name = VECTOR_NAMES[vector] ?? `vector ${vector}`;
  const fields = isPageFault ? decodeWith('', PAGE_FAULT_ERROR, value, '').fields : [];
  const summary = isPageFault ? PAGE_FAULT_ERROR.format(value) : '';
  const cr2 = faultCr2(fault);
  return {
    kind: 'fault',
    name,
    headline: `${name}(${hex(value)}) ${summary}`.trimEnd(),
    syndrome: { name: 'error code', value, summary, fields },
    address: cr2 === undefined ? null : { name: 'CR2', value: cr2 },
  };
}

function explainTranslation(mmu: X86Mmu): ExplainedTranslation {
  const pageBytes = 1n << BigInt(mmu.pageShift);
  const index = mmu.memoryTypeIndex;
  const physicalAddress = fromHalves(mmu.paHi, mmu.paLo);
  const { pat, mtrrs } = mmu.state.memoryTypes;
  const answer = effectiveMemoryType({
    vendor: mmu.features.vendor,
    cr0: fromHalves(0, mmu.state.cr0),
    pat,
    mtrrs,
    patBit: (index & 4) !== 0,
    pcd: (index & 2) !== 0,
    pwt: (index & 1) !== 0,
    address: physicalAddress,
    pageBytes,
  });
  const from = `IA32_PAT field PA${index} is ${memoryTypeName(answer.patType)}, MTRRs say ${memoryTypeName(answer.mtrr.type)} (${answer.mtrr.rule})`;
  const cd = answer.cacheDisabled ? '; CR0.CD = 1 makes it UC' : '';
  const unknown = answer.undefinedByManual ? '; the manual does not define the type here' : '';
  return {
    kind: 'translation',
    physicalAddress,
    pageBytes,
    memoryType: memoryTypeName(answer.type),
    memoryTypeRule: from + cd + unknown,
  };
}

function notCanonicalRule(fault: Readonly<FaultSlot>, mmu: X86Mmu): string {
  const cr3 = fromHalves(mmu.state.cr3Hi, mmu.state.cr3Lo);
  const cr4 = fromHalves(mmu.state.cr4Hi, mmu.state.cr4);
  const la57 = CR4.has(cr4, 'LA57');
  const masking = CR4.has(cr4, 'LAM_SUP') || CR3.has(cr3, 'LAM_U48') || CR3.has(cr3, 'LAM_U57');
  const exempt = (fault.access & (Access.Fetch | Access.Implicit)) !== 0;
  const lam = !masking
    ? ''
    : exempt
      ? '; linear-address masking is for explicit data accesses'
      : ', nor is it after masking';
  return `the address is not canonical: bits 63:${la57 ? 56 : 47} are not all the same (CR4.LA57 = ${la57 ? 1 : 0})${lam}`;
}

/** The rules that made it fail. */
function faultRules(fault: Readonly<FaultSlot>, mmu: X86Mmu): string[] {
  const name = LEVEL_NAMES[fault.level] ?? '';
  const value = fromHalves(fault.entryHi, fault.entryLo);
  if (fault.kind === FaultKind.NotCanonical) return [notCanonicalRule(fault, mmu)];
  if (fault.kind === FaultKind.NotPresent) return [`${name}: P = 0, so there is no translation`];
  if (fault.kind === FaultKind.Reserved) return reservedRule(fault.level, value, mmu);
  if (fault.kind === FaultKind.Bus) {
    return [
      fault.level === 0 ? 'no memory at the physical address' : `no memory where the ${name} should be`,
    ];
  }
  return reasonRules(fault.reasons);
}

/** The words of every `Reason` bit that is one. */
function reasonRules(reasons: number): string[] {
  const rules: string[] = [];
  for (let bit = 1; bit <= reasons; bit <<= 1) {
    const rule = (reasons & bit) !== 0 ? REASON_NAMES[bit] : undefined;
    if (rule !== undefined) rules.push(rule);
  }
  return rules;
}

function indicesOf(address: bigint, levels: number): { name: string; index: number }[] {
  const indices: { name: string; index: number }[] = [];
  for (let level = levels; level >= 1; level--) {
    const index = Number((address >> BigInt(12 + 9 * (level - 1))) & 0x1ffn);
    indices.push({ name: LEVEL_NAMES[level] ?? '', index });
  }
  return indices;
}

const summarized = (name: string, layout: Layout, value: bigint): ExplainedRegister => ({
  name,
  value,
  summary: layout.format(value),
});

/**
 * Makes one access's translation (with all its effects: accessed and dirty flags, fills) and explains it.
 * The MMU's observer is told nothing meanwhile and is in place again afterwards.
 * @param address 64 bits @param access `Access` bits
 */
export function explainWalk(mmu: X86Mmu, address: bigint, access: number): ExplainedWalk {
  const recorder = new WalkRecorder();
  const before = mmu.observer;
  mmu.observer = recorder;
  const kind = mmu.translate(highHalf(address), lowHalf(address), access);
  mmu.observer = before;
  const { state } = mmu;
  const cr4 = fromHalves(state.cr4Hi, state.cr4);
  const faulted = kind !== FaultKind.None;
  const steps = recorder.steps
    .filter((step) => step.kind !== 'begin')
    .map((step) => (step.kind === 'entry' ? entryOf(step) : noteOf(step)));
  const rules = faulted
    ? faultRules(mmu.fault, mmu)
    : permissionRules(combineRights(recorder.steps), access, mmu);
  return {
    address,
    access,
    accessWords: describeAccess(access),
    indices: indicesOf(address, CR4.has(cr4, 'LA57') ? 5 : 4),
    granuleBytes: 0x1000n,
    registers: [
      { name: 'CR3', value: fromHalves(state.cr3Hi, state.cr3Lo), summary: null },
      summarized('CR0', CR0, fromHalves(0, state.cr0)),
      summarized('CR4', CR4, cr4),
      summarized('EFER', EFER, fromHalves(0, state.efer)),
    ],
    steps,
    rules,
    outcome: faulted ? explainFault(mmu.fault) : explainTranslation(mmu),
  };
}
