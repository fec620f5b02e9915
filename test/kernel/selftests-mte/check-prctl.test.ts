/** The cases of Linux's tools/testing/selftests/arm64/mte/check_prctl.c: modes that are set can be read back. */

import { describe, expect, it } from 'vitest';
import { PR_MTE_TCF_ASYNC, PR_MTE_TCF_SYNC } from '../../../src/arch/user-abi.ts';
import { mteProcess } from './mte-process.ts';

const MODES = PR_MTE_TCF_SYNC | PR_MTE_TCF_ASYNC;
const STORE_ONLY =
  'needs FEAT_MTE_STORE_ONLY (HWCAP3_MTE_STORE_ONLY), which the modelled processors do not have; skipped there too';

describe('check_prctl', () => {
  it('check_basic_read', () => {
    expect(mteProcess().control).toBe(0);
  });

  it.each([
    ['NONE', 0],
    ['SYNC', PR_MTE_TCF_SYNC],
    ['ASYNC', PR_MTE_TCF_ASYNC],
    ['SYNC+ASYNC', MODES],
  ])('%s', (_, control) => {
    const process = mteProcess();
    process.setControl(control);
    expect(process.control & MODES).toBe(control);
  });

  it.skip.each([
    ['SYNC+STONLY', STORE_ONLY],
    ['ASYNC+STONLY', STORE_ONLY],
    ['SYNC+ASYNC+STONLY', STORE_ONLY],
  ])('%s: does not apply: %s', () => {});

  it('refuses the bit for store-only checks, as a kernel does on a processor without them', () => {
    expect(() => mteProcess().setControl(PR_MTE_TCF_SYNC | (1 << 19))).toThrow('prctl gave -22');
  });
});
