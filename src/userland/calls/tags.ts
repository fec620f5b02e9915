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
import type { Task } from '../../base/task.ts';
import { fromHalves, hex, highHalf, lowHalf } from '../../base/u64.ts';
import {
  sysPrctlGetTaggedAddrCtrl,
  sysPrctlSetTaggedAddrCtrl,
  writeTcfPreferred,
} from '../../kernel/process/tagged-address.ts';
import { takeTagFault } from '../../kernel/process/user-mode.ts';
import {
  ptracePeekMteTags,
  ptracePokeMteTags,
  type TagTransfer,
} from '../../kernel/remote/ptrace-mte-tags.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type { TaggedAddressControl } from '../user-tags.ts';
import { instruction } from './memory.ts';
import {
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  raise,
  returnToUser,
  systemCall,
} from './process-context.ts';
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

/** An instruction on registers alone: it cannot fault. */
function* onRegisters<T>(context: ProcessContext, body: (tags: TagInstructions) => T): Task<Outcome<T>> {
  context.calls++;
  yield context.accessPoint;
  // Only now is it certain which CPU the program runs on.
  const value = body(tagInstructionsOf(context.task) as TagInstructions);
  const late = takeTagFault(context.task);
  const outcome: Outcome<T> = late === null ? success(value) : yield* raise(context, late);
  yield* returnToUser(context);
  if (!context.dead) context.calls--;
  else yield context.task.startPoint;
  return outcome;
}

const result = (tags: TagInstructions): bigint => fromHalves(tags.resultHi, tags.resultLo);

export function irg(context: ProcessContext, address: bigint, exclude: number): Task<Outcome<bigint>> {
  instructionsFor(context, 'irg');
  const at = word(address, 'irg: address');
  const mask = small(exclude, ALL_TAGS, 'irg: exclude');
  return onRegisters(context, (tags) => {
    tags.irg(highHalf(at), lowHalf(at), Access.User, mask);
    return result(tags);
  });
}

/** ADDG's and SUBG's offsets. */
const LARGEST_OFFSET = 1008;

export function addg(
  context: ProcessContext,
  address: bigint,
  bytes: number,
  tagOffset: number,
): Task<Outcome<bigint>> {
  instructionsFor(context, 'addg');
  const at = word(address, 'addg: address');
  const offset = small(bytes, LARGEST_OFFSET, 'addg: bytes');
  if (offset % GRANULE !== 0) {
    throw new InputError('addg: bytes', { expected: 'a multiple of 16', found: String(bytes) });
  }
  const tags = small(tagOffset, LAST_TAG, 'addg: tagOffset');
  return onRegisters(context, (on) => {
    on.addg(highHalf(at), lowHalf(at), Access.User, offset, tags);
    return result(on);
  });
}

export function gmi(context: ProcessContext, address: bigint, mask: Word): Task<Outcome<bigint>> {
  instructionsFor(context, 'gmi');
  const at = word(address, 'gmi: address');
  const old = word(mask, 'gmi: mask');
  return onRegisters(context, (tags) => {
    tags.gmi(highHalf(at), lowHalf(at), highHalf(old), lowHalf(old));
    return result(tags);
  });
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
  return instruction(context, 'read', at, GRANULE, userTagAccess(context.task, at, read), () =>
    withLogicalTag(at, tag),
  );
}

/** STG and its kin: name, granules, and whether the data is zeroed. */
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
  const bytes = name === 'stg' || name === 'stzg' ? GRANULE : 2 * GRANULE;
  const store: TagInstruction = (tags, hi, lo, how) => tags[name](hi, lo, how, tag);
  return instruction(context, 'write', at, bytes, userTagAccess(context.task, at, store), () => undefined);
}

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
  return instruction(context, 'write', at, GRANULE, userTagAccess(context.task, at, store), () => undefined);
}

/** DC ZVA, DC GVA, DC GZVA, as methods of the seam. */
export type BlockInstruction = 'zeroBlock' | 'tagBlock' | 'tagAndZeroBlock';

export function block(
  context: ProcessContext,
  method: BlockInstruction,
  name: string,
  address: bigint,
): Task<Outcome<void>> {
  instructionsFor(context, name);
  const at = word(address, `${name}: address`);
  const make: TagInstruction = (tags, hi, lo, how) => tags[method](hi, lo, how);
  return instruction(context, 'write', at, GRANULE, userTagAccess(context.task, at, make), () => undefined);
}

export function setTagCheckOverride(context: ProcessContext, on: boolean): Task<Outcome<void>> {
  const memory = memoryTagsFor(context, 'setTagCheckOverride');
  instructionsFor(context, 'setTagCheckOverride');
  return onRegisters(context, () => memory.setTagCheckOverride(context.task.cpu, on));
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
  // biome-ignore lint/correctness/useYield: one store to a variable of the CPU
  function* write(): Task<number> {
    return Math.min(0, writeTcfPreferred(task.kernel, task.cpu, mode));
  }
  return systemCall(context, 'write', [path, mode], write(), doneOrErrno);
}

export function taggedAddressControl(context: ProcessContext): Task<Outcome<Required<TaggedAddressControl>>> {
  memoryTagsFor(context, 'taggedAddressControl');
  return systemCall(context, 'prctl', ['PR_GET_TAGGED_ADDR_CTRL'], get(context), (bits) => {
    if (bits < 0) return errnoFailure(bits);
    const modeBits = bits & MODE_BITS.both;
    const mode = (Object.keys(MODE_BITS) as (keyof typeof MODE_BITS)[]).find(
      (name) => MODE_BITS[name] === modeBits,
    ) as keyof typeof MODE_BITS;
    const tags = (bits >> PR_MTE_TAG_SHIFT) & ALL_TAGS;
    return success({ enable: (bits & PR_TAGGED_ADDR_ENABLE) !== 0, mode, tags });
  });
}

// biome-ignore lint/correctness/useYield: a task reads its own word
function* get(context: ProcessContext): Task<number> {
  return sysPrctlGetTaggedAddrCtrl(context.task);
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
  const args = ['PTRACE_PEEKMTETAGS', `${pid}`, hex(at), `${tags.length}`];
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
  const args = ['PTRACE_POKEMTETAGS', `${pid}`, hex(at), `${tags.length}`];
  return systemCall(context, 'ptrace', args, call, ({ error, count }: TagTransfer) =>
    error === 0 ? success(count) : errnoFailure(error),
  );
}
