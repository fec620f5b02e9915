/** Calls of a process that watches its own memory with userfaultfd; faults are answered by `Program.resolve`. */
import type { Task } from '../../../../src/base/task.ts';
import type { UserfaultfdContext } from '../../../../src/kernel/mm/userfaultfd/context.ts';
import { userfaultfdContinue } from '../../../../src/kernel/mm/userfaultfd/continue.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import { userfaultfdMove } from '../../../../src/kernel/mm/userfaultfd/move.ts';
import { userfaultfdPoison } from '../../../../src/kernel/mm/userfaultfd/poison.ts';
import { userfaultfdRegister } from '../../../../src/kernel/mm/userfaultfd/register.ts';
import {
  O_NONBLOCK,
  UFFD_API,
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_UNMAP,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_WP_ASYNC,
  UFFD_FEATURE_WP_UNPOPULATED,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdUnregister } from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../../src/kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import { userfaultfdZeropage } from '../../../../src/kernel/mm/userfaultfd/zeropage.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf } from '../process-world.ts';
import type { Program } from './program.ts';
import { type Call, pick } from './step.ts';

const FEATURES = [
  0,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_WP_UNPOPULATED,
  UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP,
  UFFD_FEATURE_WP_ASYNC,
];
const HUGE = 512;

const bytes = (pages: number): bigint => BigInt(pages) << 12n;

function* open(world: Program, task: TaskStruct, choice: number): Task<unknown> {
  if (task.mm === null || world.uffdOf(task) !== null) return null;
  const context = yield* sysUserfaultfd(task, O_NONBLOCK);
  if (typeof context === 'number') return context;
  world.contexts.add(context);
  return yield* userfaultfdApi(task, context, UFFD_API, BigInt(pick(FEATURES, choice)));
}

/** A call on the caller's own userfaultfd, if it has one. */
function* onOwn(
  world: Program,
  task: TaskStruct,
  body: (context: UserfaultfdContext) => Task<unknown>,
): Task<unknown> {
  const context = world.uffdOf(task);
  return context === null ? null : yield* body(context);
}

/** Filled pages are whole huge ones where those of a pool may be. */
const source = (pages: number): Uint8Array => new Uint8Array(Math.min(pages, HUGE) * 4096).fill(7);

export const uffdCalls = {
  uffdOpen: (world, task, [, , , , , choice]) => open(world, task, choice),
  uffdRegister: (world, task, [, , page, pages, , choice]) =>
    onOwn(world, task, (context) =>
      userfaultfdRegister(task, context, addressOf(page), bytes(pages), BigInt(1 + (choice % 7))),
    ),
  uffdUnregister: (world, task, [, , page, pages]) =>
    onOwn(world, task, (context) => userfaultfdUnregister(task, context, addressOf(page), bytes(pages))),
  uffdProtect: (world, task, [, , page, pages, , choice]) =>
    onOwn(world, task, (context) =>
      userfaultfdWriteprotect(task, context, addressOf(page), bytes(pages), BigInt(choice % 2)),
    ),
  uffdCopy: (world, task, [, , page, pages, , choice]) =>
    onOwn(world, task, (context) => {
      const from = source(pages);
      const mode = choice % 3 === 0 ? 2n : 0n;
      return userfaultfdCopy(task, context, addressOf(page), from, BigInt(from.length), mode);
    }),
  uffdZero: (world, task, [, , page, pages]) =>
    onOwn(world, task, (context) => userfaultfdZeropage(task, context, addressOf(page), bytes(pages), 0n)),
  uffdContinue: (world, task, [, , page, pages, , choice]) =>
    onOwn(world, task, (context) =>
      userfaultfdContinue(task, context, addressOf(page), bytes(pages), choice % 3 === 0 ? 2n : 0n),
    ),
  uffdPoison: (world, task, [, , page, pages]) =>
    onOwn(world, task, (context) => userfaultfdPoison(task, context, addressOf(page), bytes(pages), 0n)),
  uffdMove: (world, task, [, , page, pages, other, choice]) =>
    onOwn(world, task, (context) => {
      const [to, from] = [addressOf(page), addressOf(other % 28)];
      return userfaultfdMove(task, context, to, from, bytes(pages), choice % 2 === 0 ? 2n : 0n);
    }),
  uffdClose: (world, task) => onOwn(world, task, (context) => world.release(task, context)),
} satisfies Record<string, Call>;
