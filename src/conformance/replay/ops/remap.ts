/** mremap. */

import { sysMremap } from '../../../kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../kernel/mm/mremap-operation.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { addressOrErrno, type Operation, type OperationResult, values } from './operation.ts';

const MREMAP_FLAGS: Readonly<Record<string, number>> = { MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP };

function mremap(world: ReplayWorld, step: Step): OperationResult {
  const { args } = step;
  const task = world.actor(step.pid);
  const flags = args.bits('flags', MREMAP_FLAGS);
  const [address, old, length] = [args.word('addr'), args.word('old'), args.word('new')];
  const result = world.run(task, sysMremap(task, address, old, length, flags, args.word('to', 0n)));
  return result < 0n ? addressOrErrno(result) : values({ ret: world.place(result) });
}

export const remapOperations: Readonly<Record<string, Operation>> = {
  mremap: { arguments: ['addr', 'old', 'new', 'flags', 'to'], run: mremap },
};
