/** Tag instructions of a process, and what a debugger reads and writes of its tags. */
import { Access } from '../../../arch/access.ts';
import type { TagInstructions } from '../../../arch/tag-instructions.ts';
import { atomically, type Task } from '../../../base/task.ts';
import { fromHalves, highHalf, lowHalf } from '../../../base/u64.ts';
import { errnoName } from '../../../kernel/errno.ts';
import { ptracePeekMteTags, ptracePokeMteTags } from '../../../kernel/remote/ptrace-mte-tags.ts';
import type { SignalInfo } from '../../../kernel/signal.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { Unsupported } from '../../../kernel/unsupported.ts';
import { userLoad } from '../../../userland/calls/access.ts';
import {
  logicalTag,
  tagInstructionsOf,
  userTagAccess,
  withLogicalTag,
} from '../../../userland/calls/tag-access.ts';
import { hexBytes } from '../bytes.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { access } from './memory.ts';
import { type Operation, type OperationResult, retOrErrno, values } from './operation.ts';
import { attachTo, detachFrom } from './ptrace.ts';

const GRANULE = 16n;

function tagsOf(task: TaskStruct): TagInstructions {
  const tags = tagInstructionsOf(task);
  if (tags === null) throw new Unsupported('tag instructions on this processor');
  return tags;
}

/** STG or STZG over a range, one granule after the other, with the tag of the address. */
function store(world: ReplayWorld, step: Step, zero: boolean): OperationResult {
  const task = world.actor(step.pid);
  tagsOf(task);
  const [address, length] = [step.args.word('addr'), step.args.word('len')];
  function* granules(): Task<SignalInfo | null> {
    const tag = logicalTag(address);
    for (let done = 0n; done < length; done += GRANULE) {
      const signal = yield* userTagAccess(task, address + done, (tags, hi, lo, how) =>
        zero ? tags.stzg(hi, lo, how, tag) : tags.stg(hi, lo, how, tag),
      );
      if (signal !== null) return signal;
    }
    return null;
  }
  return access(world, step, granules(), (minflt) => ({ ret: 0, minflt }));
}

function load(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  const tags = tagsOf(task);
  const address = step.args.word('addr');
  const body = userTagAccess(task, address, (on, hi, lo, how) => on.ldg(hi, lo, how));
  return access(world, step, body, () => ({ ret: hex(withLogicalTag(address, tags.tag)) }));
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;

function insertRandomTag(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  const tags = tagsOf(task);
  const address = step.args.word('addr');
  const body = atomically(() => {
    tags.irg(highHalf(address), lowHalf(address), Access.User, step.args.count('exclude', 0));
    return fromHalves(tags.resultHi, tags.resultLo);
  });
  return values({ ret: hex(world.countedInUserMode(task, body).result) });
}

/** A load with PSTATE.TCO set around it. */
function readUnchecked(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  tagsOf(task);
  const bytes = new Uint8Array(step.args.count('len', 8));
  function* body(): Task<SignalInfo | null> {
    task.kernel.arch.memoryTags?.setTagCheckOverride(task.cpu, true);
    const signal = yield* userLoad(task, step.args.word('addr'), bytes);
    task.kernel.arch.memoryTags?.setTagCheckOverride(task.cpu, false);
    return signal;
  }
  return access(world, step, body(), (minflt) => ({ ret: bytes.length, value: hexBytes(bytes), minflt }));
}

/** Runs of equal tags: offset in granules, count, tag. */
function tagRuns(tags: Uint8Array): [number, number, number][] {
  const runs: [number, number, number][] = [];
  for (const [at, tag] of tags.entries()) {
    const last = runs.at(-1);
    if (last !== undefined && last[2] === tag) last[1]++;
    else runs.push([at, 1, tag]);
  }
  return runs;
}

/** The digits of `tags` repeated, one tag each; with `high` in bytes whose upper half is not 0, which is ignored. */
function tagBytes(step: Step, length: number): Uint8Array {
  const digits = step.args.text('tags', '') || step.args.word('tags').toString(16);
  const upper = step.args.count('high', 0) === 0 ? 0 : 0xf0;
  return Uint8Array.from(
    { length },
    (_, i) => Number.parseInt(digits[i % digits.length] as string, 16) | upper,
  );
}

/** An address that is no buffer: nothing is mapped there in the supervisor. */
const BAD_BUFFER = 8n;

function remoteTags(world: ReplayWorld, step: Step, write: boolean): OperationResult {
  const supervisor = world.actor(0);
  const pid = world.pidOf(step.pid);
  const length = step.args.count('len');
  const attach = step.args.count('attach', 1) !== 0;
  const failure = attach ? attachTo(world, pid) : 0;
  if (failure < 0) return retOrErrno(failure, {}, { at: 'attach' });
  const bytes = write ? tagBytes(step, length) : new Uint8Array(length);
  const buffer = step.args.count('badbuf', 0) === 0 ? bytes : BAD_BUFFER;
  const request = write ? ptracePokeMteTags : ptracePeekMteTags;
  const { error, count } = world.run(
    supervisor,
    request(supervisor, pid, step.args.word('addr'), buffer, length),
  );
  if (attach) detachFrom(world, pid);
  if (error !== 0) return values({ errno: errnoName(error), iov_len: length });
  return values({ ret: 0, iov_len: count, ...(write ? {} : { tags: tagRuns(bytes.subarray(0, count)) }) });
}

export const tagOperations: Readonly<Record<string, Operation>> = {
  stg: { arguments: ['addr', 'len'], run: (world, step) => store(world, step, false) },
  stzg: { arguments: ['addr', 'len'], run: (world, step) => store(world, step, true) },
  ldg: { arguments: ['addr'], run: load },
  irg: { arguments: ['addr', 'exclude'], run: insertRandomTag },
  read_tco: { arguments: ['addr', 'len'], run: readUnchecked },
  pt_peektags: {
    arguments: ['addr', 'len', 'attach', 'badbuf'],
    run: (world, step) => remoteTags(world, step, false),
  },
  pt_poketags: {
    arguments: ['addr', 'len', 'tags', 'high', 'attach', 'badbuf'],
    run: (world, step) => remoteTags(world, step, true),
  },
};
