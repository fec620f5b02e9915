/** @see Linux arch/x86/mm/mmap.c, `mmap_base` */
import { expect, it } from 'vitest';
import { mmapBasePage } from '../../../src/kernel/mm/address-space-layout.ts';
import { architectureName } from '../../support/architecture.ts';
import { ProcessWorld } from './process-world.ts';

const WINDOW = 0x7_ffff_ffff;
const MIB = 256;

it.each([
  ['8 MiB, the usual limit: the least gap of 128 MiB', 8 << 20, WINDOW - 128 * MIB],
  ['127 MiB: with the guard gap of 1 MiB exactly the least', 127 << 20, WINDOW - 128 * MIB],
  ['128 MiB: the guard gap is added', 128 << 20, WINDOW - 129 * MIB],
  ['1 GiB', 1 << 30, WINDOW - 1025 * MIB],
  // 0x7fffffffff / 6 pages, rounded down, times 5
  ['no limit: five sixths of the window', Number.POSITIVE_INFINITY, WINDOW - 28_633_115_305],
])('a stack of %s', (_name, soft, page) => {
  expect(mmapBasePage({ mapWindowPages: WINDOW }, { soft, hard: soft }, 256)).toBe(page);
});

it.each([4, 5] as const)('with %i levels mmap_base is below 47 bits on x86-64, 48 on arm64', (levels) => {
  const { mm } = new ProcessWorld({ levels }).process();
  expect(mm?.mmapBasePage).toBe({ x86_64: 0x7_ffff_7fff, arm64: 0xf_ffff_8000 }[architectureName]);
});
