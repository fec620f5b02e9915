/**
 * userfaultfd: the process opens it, the supervisor registers, reads and resolves. `collect` asks for the result of a call
 * that was blocked.
 */
import { errnoName } from '../../../kernel/errno.ts';
import type { UserfaultfdContext } from '../../../kernel/mm/userfaultfd/context.ts';
import { userfaultfdCopy } from '../../../kernel/mm/userfaultfd/copy.ts';
import type { FilledRange } from '../../../kernel/mm/userfaultfd/fill-ioctl.ts';
import { EVENT_NUMBERS } from '../../../kernel/mm/userfaultfd/message.ts';
import { userfaultfdPoison } from '../../../kernel/mm/userfaultfd/poison.ts';
import { userfaultfdRead } from '../../../kernel/mm/userfaultfd/read.ts';
import { userfaultfdRegister } from '../../../kernel/mm/userfaultfd/register.ts';
import * as abi from '../../../kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdUnregister } from '../../../kernel/mm/userfaultfd/unregister.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWriteprotect } from '../../../kernel/mm/userfaultfd/write-protect.ts';
import { userfaultfdZeropage } from '../../../kernel/mm/userfaultfd/zeropage.ts';
import { repeatedWord } from '../bytes.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno, values } from './operation.ts';

const FLAGS: Readonly<Record<string, number>> = { USER_MODE_ONLY: abi.UFFD_USER_MODE_ONLY };
const FEATURES: Readonly<Record<string, number>> = { SIGBUS: abi.UFFD_FEATURE_SIGBUS };
const MODES: Readonly<Record<string, number>> = {
  MISSING: Number(abi.UFFDIO_REGISTER_MODE_MISSING),
  WP: Number(abi.UFFDIO_REGISTER_MODE_WP),
  MINOR: Number(abi.UFFDIO_REGISTER_MODE_MINOR),
};

/** Data beyond this is never copied: no range of a trace is as long. */
const SOURCE_LIMIT = 1 << 26;

function open(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  // The recorder reads without waiting.
  const flags = step.args.bits('uflags', FLAGS, 0) | abi.O_NONBLOCK | abi.O_CLOEXEC;
  const context = world.run(task, sysUserfaultfd(task, flags));
  if (typeof context === 'number') return retOrErrno(context);
  const features = BigInt(step.args.bits('features', FEATURES, 0));
  const { error } = world.run(task, userfaultfdApi(task, context, abi.UFFD_API, features));
  if (error !== 0) return retOrErrno(error);
  world.userfaultfds.set(step.pid, context);
  return values({ ret: 'fd' });
}

function contextOf(world: ReplayWorld, step: Step): UserfaultfdContext {
  const context = world.userfaultfds.get(step.pid);
  if (context === undefined) throw world.inputError(step, `process ${step.pid} has no userfaultfd`);
  return context;
}

const rangeOf = ({ args }: Step): readonly [bigint, bigint] => [args.word('addr'), args.word('len')];

function register(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  const mode = BigInt(step.args.bits('mode', MODES));
  const call = userfaultfdRegister(supervisor, contextOf(world, step), ...rangeOf(step), mode);
  const { error, ioctls } = world.run(supervisor, call);
  return retOrErrno(error, { ioctls: `0x${ioctls.toString(16)}` });
}

function unregister(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  return retOrErrno(
    world.run(supervisor, userfaultfdUnregister(supervisor, contextOf(world, step), ...rangeOf(step))),
  );
}

/** The structure's last field was 0 before the call. */
function filled({ error, done }: FilledRange): OperationResult {
  const copy = done ?? 0;
  return values(error === 0 ? { ret: 0, copy } : { errno: errnoName(error), copy });
}

function copy(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  const [start, length] = rangeOf(step);
  const source = repeatedWord(step.args.word('val'), Math.min(Number(length), SOURCE_LIMIT));
  const call = userfaultfdCopy(supervisor, contextOf(world, step), start, source, length, 0n);
  return filled(world.run(supervisor, call));
}

function zeropage(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  const call = userfaultfdZeropage(supervisor, contextOf(world, step), ...rangeOf(step), 0n);
  return filled(world.run(supervisor, call));
}

function poison(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  const call = userfaultfdPoison(supervisor, contextOf(world, step), ...rangeOf(step), 0n);
  return retOrErrno(world.run(supervisor, call).error);
}

function writeProtect(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  const mode = step.args.word('cmode');
  const call = userfaultfdWriteprotect(supervisor, contextOf(world, step), ...rangeOf(step), mode);
  return retOrErrno(world.run(supervisor, call));
}

function event(world: ReplayWorld, step: Step): OperationResult {
  const supervisor = world.actor(0);
  const call = userfaultfdRead(supervisor, contextOf(world, step), abi.UFFD_MSG_BYTES);
  const { result, messages } = world.run(supervisor, call);
  const [message] = messages;
  if (message?.event !== 'pagefault') return retOrErrno(result);
  const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
  return values({
    ret: result,
    event: EVENT_NUMBERS.pagefault,
    flags: hex(message.flags),
    address: hex(message.address),
  });
}

export const userfaultfdOperations: Readonly<Record<string, Operation>> = {
  uffd: { arguments: ['uflags', 'features'], run: open },
  uffd_register: { arguments: ['addr', 'len', 'mode'], run: register },
  uffd_unregister: { arguments: ['addr', 'len'], run: unregister },
  uffd_event: { arguments: [], run: event },
  uffd_copy: { arguments: ['addr', 'len', 'val'], run: copy },
  uffd_zeropage: { arguments: ['addr', 'len'], run: zeropage },
  uffd_wp: { arguments: ['addr', 'len', 'cmode'], run: writeProtect },
  uffd_poison: { arguments: ['addr', 'len'], run: poison },
  collect: { arguments: [], run: (world, step) => world.calls.collect(world.actor(step.pid)) },
};
