import { expect, it } from 'vitest';
import { faultFlagsFor } from '../../../src/kernel/gup/faultin-page.ts';
import {
  FOLL_FORCE,
  FOLL_INTERRUPTIBLE,
  FOLL_NOWAIT,
  FOLL_REMOTE,
  FOLL_TRIED,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
} from '../../../src/kernel/gup/foll-flags.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
} from '../../../src/kernel/mm/fault/fault-flags.ts';

const RETRY = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;

// mm/gup.c, faultin_page
it.each([
  ['a plain read', 0, false, 0],
  ['FORCE says nothing to the fault', FOLL_FORCE, false, 0],
  ['WRITE', FOLL_WRITE, false, FAULT_FLAG_WRITE],
  ['REMOTE', FOLL_REMOTE, false, FAULT_FLAG_REMOTE],
  ['UNLOCKABLE may retry, and be killed while it waits', FOLL_UNLOCKABLE, false, RETRY],
  [
    'UNLOCKABLE and INTERRUPTIBLE',
    FOLL_UNLOCKABLE | FOLL_INTERRUPTIBLE,
    false,
    RETRY | FAULT_FLAG_INTERRUPTIBLE,
  ],
  ['INTERRUPTIBLE alone', FOLL_INTERRUPTIBLE, false, 0],
  ['NOWAIT', FOLL_NOWAIT, false, FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT],
  ['TRIED goes with ALLOW_RETRY', FOLL_UNLOCKABLE | FOLL_TRIED, false, RETRY | FAULT_FLAG_TRIED],
  ['unsharing', FOLL_REMOTE, true, FAULT_FLAG_REMOTE | FAULT_FLAG_UNSHARE],
])('%s', (_name, gupFlags, unshare, faultFlags) => {
  expect(faultFlagsFor(gupFlags, unshare)).toBe(faultFlags);
});
