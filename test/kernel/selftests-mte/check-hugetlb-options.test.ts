/** The cases of Linux's tools/testing/selftests/arm64/mte/check_hugetlb_options.c. */
import { describe, it } from 'vitest';

const NOT_BUILT = 'hugetlb is not built: mmap with MAP_HUGETLB is reported as unsupported';

describe('check_hugetlb_options', () => {
  it.skip.each([
    ['Check hugetlb memory with private mapping, sync error mode, mmap memory and tag check off', NOT_BUILT],
    ['Check hugetlb memory with private mapping, no error mode, mmap memory and tag check off', NOT_BUILT],
    ['Check hugetlb memory with private mapping, sync error mode, mmap memory and tag check on', NOT_BUILT],
    [
      'Check hugetlb memory with private mapping, sync error mode, mmap/mprotect memory and tag check on',
      NOT_BUILT,
    ],
    ['Check hugetlb memory with private mapping, async error mode, mmap memory and tag check on', NOT_BUILT],
    [
      'Check hugetlb memory with private mapping, async error mode, mmap/mprotect memory and tag check on',
      NOT_BUILT,
    ],
    ['Check clear PROT_MTE flags with private mapping, sync error mode and mmap memory', NOT_BUILT],
    [
      'Check clear PROT_MTE flags with private mapping and sync error mode and mmap/mprotect memory',
      NOT_BUILT,
    ],
    ['Check child hugetlb memory with private mapping, precise mode and mmap memory', NOT_BUILT],
    ['Check child hugetlb memory with private mapping, precise mode and mmap memory (async)', NOT_BUILT],
    ['Check child hugetlb memory with private mapping, precise mode and mmap/mprotect memory', NOT_BUILT],
    [
      'Check child hugetlb memory with private mapping, precise mode and mmap/mprotect memory (async)',
      NOT_BUILT,
    ],
  ])('%s: does not apply: %s', () => {});
});
