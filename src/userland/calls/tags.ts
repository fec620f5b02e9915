/** The calls of `User` for memory tags: instructions, control of checks, a debugger's. What they mean is said there. */
import { Access } from '../../arch/access.ts';
import type { TagInstructions } from '../../arch/tag-instructions.ts';
import type { MemoryTags, TagCheckMode } from '../../arch/thread-state.ts';
import {
  PR_MTE_TAG_SHIFT,
  PR_MTE_TCF_ASYNC,
  PR_MTE_TCF_SYNC,
  PR_TAGGED_ADDR_ENABLE,
} from '../../arch/user-abi.ts';
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { fromHalves, hex, hexAddress, highHalf, lowHalf } from '../../base/u64.ts';
import type { MachineEvent } from '../../hardware/event-sink.ts';
import {
  sysPrctlGetTaggedAddrCtrl,
  sysPrctlSetTaggedAddrCtrl,
  writeTcfPreferred,
} from '../../kernel/process/tagged-address.ts';
import {
  ptracePeekMteTags,
  ptracePokeMteTags,
  type TagTransfer,
} from '../../kernel/remote/ptrace-mte-tags.ts';
import type { SignalInfo } from '../../kernel/signal.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type { TaggedAddressControl } from '../user-tags.ts';
import { anyInstruction } from './memory.ts';
import { doneOrErrno, errnoFailure, type ProcessContext, placeOf, systemCall } from './process-context.ts';
import { signalName } from './signal-names.ts';
import {
  logicalTag,
  type TagInstruction,
  tagInstructionsOf,
  userTagAccess,
  withLogicalTag,
} from './tag-access.ts';

const GRANULE = 16;

function noTags(what: string): InputError {
  return new InputError(`${what}: this machine has no memory tags`, {
    expected: 'arm64 (--arch arm64) and a CPU model with MTE',
  });
}

function instructionsFor(context: ProcessContext, what: string): TagInstructions {
  const tags = tagInstructionsOf(context.task);
  if (tags === null) throw noTags(what);
  return tags;
}

function memoryTagsFor(context: ProcessContext, what: string): MemoryTags {
  const tags = context.task.kernel.arch.memoryTags;
  if (tags === null) throw noTags(what);
  return tags;
}

/** A number from 0 to `limit`. */
function small(value: number, limit: number, what: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= limit) return value;
  throw new InputError(what, { expected: `a whole number from 0 to ${limit}`, found: String(value) });
}

const ALL_TAGS = 0xffff;
const LAST_TAG = 15;

/** What the event of a tag instruction says beside its name. */
type Told = Partial<Pick<TagInstructionEvent, 'tag' | 'value'>>;
type TagInstructionEvent = Extract<MachineEvent, { readonly kind: 'tag-instruction' }>;

function emitInstruction(
  context: ProcessContext,
  name: string,
  address: bigint | null,
  { tag = null, value = null }: Told,
  signal: SignalInfo | null = null,
): void {
  context.run.system.machine.events.emit({
    kind: 'tag-instruction',
    ...placeOf(context),
    task: context.task.name,
    instruction: name,
    address,
    tag,
    value,
    result: signal === null ? 'ok' : signalName(signal.signal),
  });
}

/** An instruction on registers alone: it cannot fault. */
function onRegisters<T>(
  context: ProcessContext,
  name: string,
  address: bigint | null,
  body: (tags: TagInstructions) => T,
  told: (value: T) => Told,
): Task<Outcome<T>> {
  let value: T;
  const run = atomically((): null => {
    // Only now is it certain which CPU the program runs on.
    value = body(tagInstructionsOf(context.task) as TagInstructions);
    return null;
  });
  return anyInstruction(
    context,
    run,
    () => value,
    () => emitInstruction(context, name, address, told(value)),
  );
}

/** An instruction that reaches memory. */
function onMemory<T>(
  context: ProcessContext,
  name: string,
  address: bigint,
  body: TagInstruction,
  value: () => T,
  told: () => Told,
): Task<Outcome<T>> {
  return anyInstruction(context, userTagAccess(context.task, address, body), value, (signal) =>
    emitInstruction(context, name, address, signal === null ? told() : {}, signal),
  );
}

const result = (tags: TagInstructions): bigint => fromHalves(tags.resultHi, tags.resultLo);
/** Of an instruction that makes a pointer. */
const pointer = (value: bigint): Told => ({ value, tag: logicalTag(value) });

export function irg(context: ProcessContext, address: bigint, exclude: number): Task<Outcome<bigint>> {
  instructionsFor(context, 'irg');
  const at = word(address, 'irg: address');
  const mask = small(exclude, ALL_TAGS, 'irg: exclude');
  const make = (tags: TagInstructions): bigint => {
    tags.irg(highHalf(at), lowHalf(at), Access.User, mask);
    return result(tags);
  };
  return onRegisters(context, 'irg', at, make, pointer);
}

/** ADDG's and SUBG's offsets. */
const LARGEST_OFFSET = 1008;

export function moveTag(
  context: ProcessContext,
  name: 'addg' | 'subg',
  address: bigint,
  bytes: number,
  tagOffset: number,
): Task<Outcome<bigint>> {
  instructionsFor(context, name);
  const at = word(address, `${name}: address`);
  const offset = small(bytes, LARGEST_OFFSET, `${name}: bytes`);
  if (offset % GRANULE !== 0) {
    throw new InputError(`${name}: bytes`, { expected: 'a multiple of 16', found: String(bytes) });
  }
  const further = small(tagOffset, LAST_TAG, `${name}: tagOffset`);
  const make = (tags: TagInstructions): bigint => {
    tags[name](highHalf(at), lowHalf(at), Access.User, offset, further);
    return result(tags);
  };
  return onRegisters(context, name, at, make, pointer);
}

export function subp(context: ProcessContext, address: bigint, other: bigint): Task<Outcome<bigint>> {
  instructionsFor(context, 'subp');
  const at = word(address, 'subp: address');
  const from = word(other, 'subp: other');
  const make = (tags: TagInstructions): bigint => {
    tags.subp(highHalf(at), lowHalf(at), highHalf(from), lowHalf(from));
    return result(tags);
  };
  return onRegisters(context, 'subp', at, make, (value) => ({ value }));
}

export function gmi(context: ProcessContext, address: bigint, mask: Word): Task<Outcome<bigint>> {
  instructionsFor(context, 'gmi');
  const at = word(address, 'gmi: address');
  const old = word(mask, 'gmi: mask');
  const make = (tags: TagInstructions): bigint => {
    tags.gmi(highHalf(at), lowHalf(at), highHalf(old), lowHalf(old));
    return result(tags);
  };
  return onRegisters(context, 'gmi', at, make, (value) => ({ value }));
}

export function ldg(context: ProcessContext, address: bigint): Task<Outcome<bigint>> {
  const at = word(address, 'ldg: address');
  let tag = 0;
  instructionsFor(context, 'ldg');
  const read: TagInstruction = (tags, hi, lo, how) => {
    const fault = tags.ldg(hi, lo, how);
    ({ tag } = tags);
    return fault;
  };
  const value = (): bigint => withLogicalTag(at, tag);
  return onMemory(context, 'ldg', at, read, value, () => pointer(value()));
}

/** STG and its kin. */
export type TagStore = 'stg' | 'st2g' | 'stzg' | 'stz2g';

/** Stores the tag of `from`, as the instruction's first register. */
export function storeTag(
  context: ProcessContext,
  name: TagStore,
  address: bigint,
  from: bigint,
): Task<Outcome<void>> {
  instructionsFor(context, name);
  const at = word(address, `${name}: address`);
  const tag = logicalTag(word(from, `${name}: from`));
  const store: TagInstruction = (tags, hi, lo, how) => tags[name](hi, lo, how, tag);
  return onMemory(context, name, at, store, nothing, () => ({ tag }));
}

const nothing = (): void => undefined;

export function stgp(
  context: ProcessContext,
  address: bigint,
  first: Word,
  second: Word,
): Task<Outcome<void>> {
  instructionsFor(context, 'stgp');
  const at = word(address, 'stgp: address');
  const [a, b] = [word(first, 'stgp: first'), word(second, 'stgp: second')];
  const store: TagInstruction = (tags, hi, lo, how) =>
    tags.stgp(hi, lo, how, highHalf(a), lowHalf(a), highHalf(b), lowHalf(b));
  return onMemory(context, 'stgp', at, store, nothing, () => ({ tag: logicalTag(at) }));
}

/** DC ZVA, DC GVA, DC GZVA: the name of the call, the method of the seam, the instruction. */
const BLOCKS = {
  dcZva: ['zeroBlock', 'dc zva'],
  dcGva: ['tagBlock', 'dc gva'],
  dcGzva: ['tagAndZeroBlock', 'dc gzva'],
} as const;

export function block(
  context: ProcessContext,
  name: keyof typeof BLOCKS,
  address: bigint,
): Task<Outcome<void>> {
  instructionsFor(context, name);
  const at = word(address, `${name}: address`);
  const [method, shown] = BLOCKS[name];
  const make: TagInstruction = (tags, hi, lo, how) => tags[method](hi, lo, how);
  const told = (): Told => (name === 'dcZva' ? {} : { tag: logicalTag(at) });
  return onMemory(context, shown, at, make, nothing, told);
}

export function setTagCheckOverride(context: ProcessContext, on: boolean): Task<Outcome<void>> {
  const memory = memoryTagsFor(context, 'setTagCheckOverride');
  instructionsFor(context, 'setTagCheckOverride');
  const set = (): void => memory.setTagCheckOverride(context.task.cpu, on);
  return onRegisters(context, 'msr tco', null, set, () => ({ value: on ? 1n : 0n }));
}

// --- system calls ---

const MODE_BITS: Readonly<Record<Required<TaggedAddressControl>['mode'], number>> = {
  none: 0,
  sync: PR_MTE_TCF_SYNC,
  async: PR_MTE_TCF_ASYNC,
  both: PR_MTE_TCF_SYNC | PR_MTE_TCF_ASYNC,
};

function controlWord(control: TaggedAddressControl): bigint {
  checkKeys(control, ['enable', 'mode', 'tags'], 'setTaggedAddressControl');
  const { enable = true, mode = 'none', tags = 0 } = control;
  if (!Object.hasOwn(MODE_BITS, mode)) {
    throw new InputError('setTaggedAddressControl: mode', {
      expected: Object.keys(MODE_BITS).join(', '),
      found: String(mode),
    });
  }
  const include = small(tags, ALL_TAGS, 'setTaggedAddressControl: tags');
  return BigInt((enable ? PR_TAGGED_ADDR_ENABLE : 0) | MODE_BITS[mode] | (include << PR_MTE_TAG_SHIFT));
}

export function setTaggedAddressControl(
  context: ProcessContext,
  control: TaggedAddressControl,
): Task<Outcome<void>> {
  memoryTagsFor(context, 'setTaggedAddressControl');
  const bits = controlWord(control);
  const call = sysPrctlSetTaggedAddrCtrl(context.task, bits);
  return systemCall(context, 'prctl', ['PR_SET_TAGGED_ADDR_CTRL', hex(bits)], call, doneOrErrno);
}

export function setTagCheckPreference(context: ProcessContext, mode: TagCheckMode): Task<Outcome<void>> {
  memoryTagsFor(context, 'setTagCheckPreference');
  const { task } = context;
  const path = `/sys/devices/system/cpu/cpu${task.cpu}/mte_tcf_preferred`;
  const write = atomically(() => Math.min(0, writeTcfPreferred(task.kernel, task.cpu, mode)));
  return systemCall(context, 'write', [path, mode], write, doneOrErrno);
}

export function taggedAddressControl(context: ProcessContext): Task<Outcome<Required<TaggedAddressControl>>> {
  memoryTagsFor(context, 'taggedAddressControl');
  const get = atomically(() => sysPrctlGetTaggedAddrCtrl(context.task));
  return systemCall(context, 'prctl', ['PR_GET_TAGGED_ADDR_CTRL'], get, (bits) => {
    if (bits < 0) return errnoFailure(bits);
    const modeBits = bits & MODE_BITS.both;
    const mode = (Object.keys(MODE_BITS) as (keyof typeof MODE_BITS)[]).find(
      (name) => MODE_BITS[name] === modeBits,
    ) as keyof typeof MODE_BITS;
    const tags = (bits >> PR_MTE_TAG_SHIFT) & ALL_TAGS;
    return success({ enable: (bits & PR_TAGGED_ADDR_ENABLE) !== 0, mode, tags });
  });
}

export function peekTags(
  context: ProcessContext,
  pid: number,
  address: bigint,
  granules: number,
): Task<Outcome<Uint8Array>> {
  memoryTagsFor(context, 'peekTags');
  const at = word(address, 'peekTags: address');
  const tags = new Uint8Array(byteCount(granules, 'peekTags: granules'));
  const call = ptracePeekMteTags(context.task, pid, at, tags, tags.length);
  const args = ['PTRACE_PEEKMTETAGS', `${pid}`, hexAddress(at), `${tags.length}`];
  return systemCall(context, 'ptrace', args, call, ({ error, count }: TagTransfer) =>
    error === 0 ? success(tags.slice(0, count)) : errnoFailure(error),
  );
}

export function pokeTags(
  context: ProcessContext,
  pid: number,
  address: bigint,
  tags: Uint8Array,
): Task<Outcome<number>> {
  memoryTagsFor(context, 'pokeTags');
  const at = word(address, 'pokeTags: address');
  const call = ptracePokeMteTags(context.task, pid, at, tags, tags.length);
  const args = ['PTRACE_POKEMTETAGS', `${pid}`, hexAddress(at), `${tags.length}`];
  return systemCall(context, 'ptrace', args, call, ({ error, count }: TagTransfer) =>
    error === 0 ? success(count) : errnoFailure(error),
  );
}

/** With the tags in memory of the caller at `buffer`. */
export function moveTagsAt(
  context: ProcessContext,
  name: 'peekTagsInto' | 'pokeTagsFrom',
  pid: number,
  address: bigint,
  granules: number,
  buffer: bigint,
): Task<Outcome<number>> {
  memoryTagsFor(context, name);
  const at = word(address, `${name}: address`);
  const own = word(buffer, `${name}: buffer`);
  const count = byteCount(granules, `${name}: granules`);
  const [request, move] =
    name === 'peekTagsInto'
      ? (['PTRACE_PEEKMTETAGS', ptracePeekMteTags] as const)
      : (['PTRACE_POKEMTETAGS', ptracePokeMteTags] as const);
  const args = [request, `${pid}`, hexAddress(at), hexAddress(own), `${count}`];
  const call = move(context.task, pid, at, own, count);
  return systemCall(context, 'ptrace', args, call, (moved: TagTransfer) =>
    moved.error === 0 ? success(moved.count) : errnoFailure(moved.error),
  );
}
