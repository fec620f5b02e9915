/** The cases of Linux's tools/testing/selftests/arm64/mte/check_ksm_options.c: pages with tags are never merged. */
import { describe, it } from 'vitest';

const NOT_BUILT = 'KSM is not built: no pages are merged, whatever their tags';

describe('check_ksm_options', () => {
  it.skip.each([
    ['Check KSM mte page merge for private mapping, sync mode and mmap memory', NOT_BUILT],
    ['Check KSM mte page merge for private mapping, async mode and mmap memory', NOT_BUILT],
    ['Check KSM mte page merge for shared mapping, sync mode and mmap memory', NOT_BUILT],
    ['Check KSM mte page merge for shared mapping, async mode and mmap memory', NOT_BUILT],
  ])('%s: does not apply: %s', () => {});
});
