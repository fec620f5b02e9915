/** Every operation that can be replayed, by its name in traces. What is not here makes a trace unsupported. */
import { adviceOperations } from './advice.ts';
import { fileOperations } from './files.ts';
import { limitOperations } from './limits.ts';
import { memoryOperations } from './memory.ts';
import type { Operation } from './operation.ts';
import { processOperations } from './process.ts';
import { ptraceOperations } from './ptrace.ts';
import { remapOperations } from './remap.ts';
import { remoteOperations } from './remote.ts';
import { taggedAddressOperations } from './tagged-address.ts';
import { tagOperations } from './tags.ts';
import { userfaultfdOperations } from './userfaultfd.ts';

export type { Operation } from './operation.ts';

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...memoryOperations,
  ...adviceOperations,
  ...limitOperations,
  ...fileOperations,
  ...processOperations,
  ...remapOperations,
  ...remoteOperations,
  ...ptraceOperations,
  ...taggedAddressOperations,
  ...tagOperations,
  ...userfaultfdOperations,
};
