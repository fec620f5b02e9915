/** mremap, mseal, remap_file_pages. */

import { sysMremap } from '../../../kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../kernel/mm/mremap-operation.ts';
import { sysMseal } from '../../../kernel/mm/mseal.ts';
import { sysRemapFilePages } from '../../../kernel/mm/remap-file-pages.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { addressOrErrno, type Operation, type OperationResult, retOrErrno, values } from './operation.ts';

const MREMAP_FLAGS: Readonly<Record<string, number>> = { MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP };

function mremap(world: ReplayWorld, step: Step): OperationResult {
  const { args } = step;
  const task = world.actor(step.pid);
  const flags = args.bits('flags', MREMAP_FLAGS);
  const [address, old, length] = [args.word('addr'), args.word('old'), args.word('new')];
  const call = sysMremap(task, address, old, length, flags, args.word('to', 0n));
  return world.call(step, task, call, (result) =>
    result < 0n ? addressOrErrno(result) : values({ ret: world.place(result) }),
  );
}

export const remapOperations: Readonly<Record<string, Operation>> = {
  // The recorder waits a moment where a userfaultfd may hold the call up (`block`); each call may be held up here.
  mremap: { arguments: ['addr', 'old', 'new', 'flags', 'to', 'block'], run: mremap },
  mseal: {
    arguments: ['addr', 'len', 'flags'],
    run: (world, { pid, args }) => {
      const task = world.actor(pid);
      const call = sysMseal(task, args.word('addr'), args.word('len'), args.word('flags'));
      return retOrErrno(world.run(task, call));
    },
  },
  remap_file_pages: {
    arguments: ['addr', 'len', 'prot', 'pgoff', 'flags'],
    run: (world, { pid, args }) => {
      const task = world.actor(pid);
      const [address, size, prot] = [args.word('addr'), args.word('len'), args.word('prot')];
      const flags = Number(args.word('flags'));
      return retOrErrno(
        world.run(task, sysRemapFilePages(task, address, size, prot, args.word('pgoff'), flags)),
      );
    },
  },
};
