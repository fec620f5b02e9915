/** The call of `User` for secret memory. What it means is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { secretmemFileCreate } from '../../kernel/mm/secretmem.ts';
import type { Outcome } from '../outcome.ts';
import { checkKeys } from '../units.ts';
import type { MemfdSecretArguments } from '../user-files.ts';
import { installFile } from './files.ts';
import { booleanBits } from './flag-words.ts';
import { countOrErrno, type ProcessContext, systemCall } from './process-context.ts';

export function memfdSecret(context: ProcessContext, args: MemfdSecretArguments): Task<Outcome<number>> {
  checkKeys(args, ['cloexec'], 'memfdSecret');
  const closeOnExec = booleanBits(args, { cloexec: 1 }, 'memfdSecret') !== 0;
  const { kernel } = context.task;
  const call = atomically(() => installFile(context, secretmemFileCreate(kernel), closeOnExec));
  return systemCall(context, 'memfd_secret', [closeOnExec ? 'O_CLOEXEC' : '0'], call, countOrErrno);
}
