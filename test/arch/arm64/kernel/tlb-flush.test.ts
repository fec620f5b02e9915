/** Which TLBI instructions a flush is made of. @see Linux arch/arm64/include/asm/tlbflush.h */
import { describe, expect, it } from 'vitest';
import { type FlushFeatures, TlbFlush } from '../../../../src/arch/arm64/kernel/tlb-flush.ts';
import { TLBI_ADDRESS, TLBI_RANGE } from '../../../../src/arch/arm64/tlbi-operands.ts';
import type { Task } from '../../../../src/base/task.ts';

const FEATURES: FlushFeatures = { granule: 12, lpa2: false, range: true, levelHints: true };
const NO_RANGE: FlushFeatures = { ...FEATURES, range: false };

/** The instructions that a flush executes, as text. */
function instructions(features: FlushFeatures, flush: (of: TlbFlush) => Task<void>): string[] {
  const executed: string[] = [];
  const under = new TlbFlush(
    {
      tlbi: (_cpu, operation, xt) => {
        const fields = operation.range ? TLBI_RANGE : TLBI_ADDRESS;
        executed.push(`${operation.name} ${fields.format(xt)}`);
      },
      dsbIsh: () => executed.push('DSB ISH'),
    },
    features,
  );
  for (const point of flush(under))
    expect(point.object.name).toBe('translations of the inner shareable domain');
  return executed;
}

type Row = [string, FlushFeatures, (of: TlbFlush) => Task<void>, readonly string[]];
const ROWS: readonly Row[] = [
  ['one page, no hint', FEATURES, (of) => of.page(0, 7, 0x1234), ['VALE1IS VA=0x1234 ASID=0x7', 'DSB ISH']],
  ['an address space', FEATURES, (of) => of.mm(0, 7), ['ASIDE1IS ASID=0x7', 'DSB ISH']],
  [
    'a range of one page: hint 0b0111, granule 4 KiB and level 3',
    FEATURES,
    (of) => of.range(0, 7, 0x1234, 0x1235, 12, false),
    ['VALE1IS VA=0x1234 TTL=0x7 ASID=0x7', 'DSB ISH'],
  ],
  [
    'two pages: (NUM + 1) * 2',
    FEATURES,
    (of) => of.range(0, 7, 0x1234, 0x1236, 12, false),
    ['RVALE1IS BaseADDR=0x1234 TTL=0x3 TG=0x1 ASID=0x7', 'DSB ISH'],
  ],
  [
    '67 pages: SCALE 1 for 64, SCALE 0 for two, one alone',
    FEATURES,
    (of) => of.range(0, 7, 0x1000, 0x1043, 12, false),
    [
      'RVALE1IS BaseADDR=0x1000 TTL=0x3 SCALE=0x1 TG=0x1 ASID=0x7',
      'RVALE1IS BaseADDR=0x1040 TTL=0x3 TG=0x1 ASID=0x7',
      'VALE1IS VA=0x1042 TTL=0x7 ASID=0x7',
      'DSB ISH',
    ],
  ],
  [
    'freed tables: no hint, upper entries too',
    FEATURES,
    (of) => of.range(0, 7, 0x1200, 0x1400, 12, true),
    ['RVAE1IS BaseADDR=0x1200 NUM=0x7 SCALE=0x1 TG=0x1 ASID=0x7', 'DSB ISH'],
  ],
  [
    'two huge pages, rounded outwards',
    FEATURES,
    (of) => of.range(0, 7, 0x1201, 0x1401, 21, false),
    ['RVALE1IS BaseADDR=0x1200 TTL=0x2 NUM=0xf SCALE=0x1 TG=0x1 ASID=0x7', 'DSB ISH'],
  ],
  [
    'ptes and huge pages mixed: no hint, leaves only',
    NO_RANGE,
    (of) => of.range(0, 7, 0x1234, 0x1236, 12, false, true),
    ['VALE1IS VA=0x1234 ASID=0x7', 'VALE1IS VA=0x1235 ASID=0x7', 'DSB ISH'],
  ],
  [
    'without FEAT_TLBIRANGE: one by one',
    NO_RANGE,
    (of) => of.range(0, 7, 0x1234, 0x1236, 12, false),
    ['VALE1IS VA=0x1234 TTL=0x7 ASID=0x7', 'VALE1IS VA=0x1235 TTL=0x7 ASID=0x7', 'DSB ISH'],
  ],
  [
    'without it and with huge pages: by their stride',
    NO_RANGE,
    (of) => of.range(0, 7, 0x1200, 0x1600, 21, false),
    ['VALE1IS VA=0x1200 TTL=0x6 ASID=0x7', 'VALE1IS VA=0x1400 TTL=0x6 ASID=0x7', 'DSB ISH'],
  ],
  [
    'without FEAT_TTL: no hint by address',
    { ...NO_RANGE, levelHints: false },
    (of) => of.range(0, 7, 0x1234, 0x1235, 12, false),
    ['VALE1IS VA=0x1234 ASID=0x7', 'DSB ISH'],
  ],
  [
    'LPA2: one by one up to a multiple of 64 KiB, from where on BaseADDR counts in those',
    { ...FEATURES, lpa2: true },
    (of) => of.range(0, 7, 0x100e, 0x1012, 12, false),
    [
      'VALE1IS VA=0x100e TTL=0x7 ASID=0x7',
      'VALE1IS VA=0x100f TTL=0x7 ASID=0x7',
      'RVALE1IS BaseADDR=0x101 TTL=0x3 TG=0x1 ASID=0x7',
      'DSB ISH',
    ],
  ],
];

describe('a flush by TLBI', () => {
  it.each(ROWS)('%s', (_name, features, flush, expected) => {
    expect(instructions(features, flush)).toEqual(expected);
  });
});

describe('how many instructions a flush takes', () => {
  it.each([
    ['MAX_DVM_OPS - 1 pages: each', NO_RANGE, 511, 512],
    ['MAX_DVM_OPS pages: the whole ASID', NO_RANGE, 512, 2],
    ['512 pages by range: one', FEATURES, 512, 2],
    ['MAX_TLBI_RANGE_PAGES: still a range', FEATURES, 2 ** 21, 2],
    ['one more: the whole ASID', FEATURES, 2 ** 21 + 1, 2],
  ])('%s', (_name, features, pages, count) => {
    const executed = instructions(features, (of) =>
      of.range(0, 7, 0x200_0000, 0x200_0000 + pages, 12, false),
    );
    expect(executed.length).toBe(count);
    const whole = pages > 2 ** 21 || (!features.range && pages >= 512);
    expect(executed[0]?.startsWith('ASIDE1IS')).toBe(whole);
  });

  it('the instructions of a range name its pages, and no others', () => {
    for (const pages of [1, 2, 3, 33, 64, 65, 130, 511, 4097, 70_001]) {
      const covered: [number, number][] = [];
      const under = new TlbFlush(
        {
          tlbi: (_cpu, operation, xt) => {
            const number = (of: bigint): number => Number(of);
            if (!operation.range) {
              const page = number(TLBI_ADDRESS.get(xt, 'VA'));
              covered.push([page, page + 1]);
              return;
            }
            const page = number(TLBI_RANGE.get(xt, 'BaseADDR'));
            const scale = number(TLBI_RANGE.get(xt, 'SCALE'));
            covered.push([page, page + (number(TLBI_RANGE.get(xt, 'NUM')) + 1) * 2 ** (5 * scale + 1)]);
          },
          dsbIsh: () => undefined,
        },
        FEATURES,
      );
      for (const _ of under.range(0, 7, 0x1001, 0x1001 + pages, 12, false));
      expect(covered[0]?.[0]).toBe(0x1001);
      expect(covered.at(-1)?.[1]).toBe(0x1001 + pages);
      covered.slice(1).forEach(([start], index) => {
        expect(start).toBe(covered[index]?.[1]);
      });
    }
  });
});
