/** Every call that random programs make, by name. */
import { fileCalls } from './calls-files.ts';
import { mappingCalls } from './calls-mappings.ts';
import { processCalls } from './calls-processes.ts';
import { uffdCalls } from './calls-uffd.ts';
import type { Call } from './step.ts';

export const calls: Readonly<Record<string, Call>> = {
  ...mappingCalls,
  ...fileCalls,
  ...processCalls,
  ...uffdCalls,
};
