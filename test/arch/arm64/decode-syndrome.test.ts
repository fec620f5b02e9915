/** ESR_EL1 of every exception class that EL1 reports: one value of each, put together by hand from the manual's layouts. */
import { describe, expect, it } from 'vitest';
import { EXCEPTION_CLASSES } from '../../../src/arch/arm64/registers.ts';
import { syndromeLayout } from '../../../src/arch/arm64/syndromes.ts';
import { decodeWord } from '../../../src/arch/registry-decode-kinds.ts';

const IL = 1n << 25n;
const esr = (exceptionClass: number, iss: number): bigint =>
  (BigInt(exceptionClass) << 26n) | IL | BigInt(iss);
/** The fields of ISS that are not RES0, in the manual's order: `BTYPE=2 (BLR)`. */
function fieldsOf(value: bigint): string[] {
  const { fields } = decodeWord('esr_el1', value);
  return fields
    .filter(({ kind, name, high }) => kind !== 'reserved' && name !== 'EC' && name !== 'IL' && high < 25)
    .map(({ name, value: field, decoded }) => `${name}=${field}${decoded === null ? '' : ` (${decoded})`}`);
}
const remarkOf = (value: bigint): string | undefined => decodeWord('esr_el1', value).remarks[0];

const AARCH64 = ['CV=1', 'COND=14 (AL)'];
const AL = (1 << 24) | (14 << 20);
/** Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, Rt 9:5, CRm 4:1, Direction 0. */
const sys = (
  op0: number,
  op1: number,
  crn: number,
  crm: number,
  op2: number,
  rt: number,
  read: 0 | 1,
): number => (op0 << 20) | (op2 << 17) | (op1 << 14) | (crn << 10) | (rt << 5) | (crm << 1) | read;

const CASES: readonly [exceptionClass: number, iss: number, fields: readonly string[]][] = [
  [0x00, 0, []],
  [0x01, AL | (7 << 5) | 4 | 3, [...AARCH64, 'RN=7 (X7)', 'RV=1', 'TI=3 (WFET)']],
  [
    0x03,
    AL | (2 << 17) | (1 << 14) | (9 << 10) | (4 << 5) | (13 << 1) | 1,
    [...AARCH64, 'Opc2=2', 'Opc1=1', 'CRn=9', 'Rt=4 (X4)', 'CRm=13', 'Direction=1 (read: MRC, MRRC or STC)'],
  ],
  [
    0x04,
    AL | (3 << 16) | (5 << 10) | (4 << 5) | (14 << 1),
    [...AARCH64, 'Opc1=3', 'Rt2=5 (X5)', 'Rt=4 (X4)', 'CRm=14', 'Direction=0 (write: MCR, MCRR or LDC)'],
  ],
  [
    0x05,
    AL,
    [...AARCH64, 'Opc2=0', 'Opc1=0', 'CRn=0', 'Rt=0 (X0)', 'CRm=0', 'Direction=0 (write: MCR, MCRR or LDC)'],
  ],
  [
    0x06,
    AL | (0x5e << 12) | (2 << 5) | (1 << 4) | (2 << 1) | 1,
    [
      ...AARCH64,
      'imm8=94',
      'Rn=2 (X2, or XZR or SP for 31)',
      'Offset=1',
      'AM=2 (immediate offset)',
      'Direction=1 (read: MRC, MRRC or STC)',
    ],
  ],
  [0x07, AL, AARCH64],
  [0x0a, 2, ['ISS=2 (LD64B or ST64B)']],
  [
    0x0c,
    AL,
    [...AARCH64, 'Opc1=0', 'Rt2=0 (X0)', 'Rt=0 (X0)', 'CRm=0', 'Direction=0 (write: MCR, MCRR or LDC)'],
  ],
  [0x0d, 2, ['BTYPE=2 (BLR)']],
  [0x0e, 0, []],
  [0x11, 0x2a, ['imm16=42']],
  [
    0x14,
    (3 << 20) | (7 << 10) | (1 << 6) | (4 << 1) | 1,
    [
      'Op0=3',
      'Op2=0',
      'Op1=0',
      'CRn=7',
      'Rt=1 (X2 and X3)',
      'CRm=4',
      'Direction=1 (read: from the register)',
    ],
  ],
  [0x15, 0xffff, ['imm16=65535']],
  [
    0x18,
    sys(3, 3, 0, 0, 1, 3, 1),
    ['Op0=3', 'Op2=1', 'Op1=3', 'CRn=0', 'Rt=3 (X3)', 'CRm=0', 'Direction=1 (read: from the register)'],
  ],
  [0x19, 0, []],
  [0x1b, 5 << 5, ['Rd=5 (X5)']],
  [0x1c, 3, ['DATA=1 (data key)', 'B=1 (B key)']],
  [0x1d, 3, ['SMTC=3 (the instruction needs the ZA storage (PSTATE.ZA = 0))']],
  [0x22, 0, []],
  [0x26, 0, []],
  [
    0x27,
    (1 << 24) | (1 << 23) | (5 << 19) | (1 << 18) | (1 << 17) | (1 << 16) | (1 << 10) | (31 << 5) | 2,
    [
      'MemInst=1 (Memory Set (SET*))',
      'isSETG=1',
      'Options=5',
      'FromEpilogue=1 (epilogue instruction)',
      'WrongOption=1',
      'OptionA=1 (option A)',
      'destreg=1 (X1)',
      'srcreg=31 (XZR)',
      'sizereg=2 (X2)',
    ],
  ],
  [
    0x28,
    (1 << 23) | (7 << 8) | 1,
    ['TFV=1 (valid)', 'VECITR=7', 'IDF=0', 'IXF=0', 'UFF=0', 'OFF=0', 'DZF=0', 'IOF=1'],
  ],
  [
    0x2c,
    (1 << 23) | (7 << 8) | 2,
    ['TFV=1 (valid)', 'VECITR=7', 'IDF=0', 'IXF=0', 'UFF=0', 'OFF=0', 'DZF=1', 'IOF=0'],
  ],
  [0x2d, (1 << 5) | 1, ['ExType=0 (data check)', 'Rn=1 (X1)', 'IT=1 (GCSPOPM)']],
  [
    0x2d,
    (2 << 20) | (3 << 10) | (4 << 5),
    ['ExType=2 (GCSSTR or GCSSTTR is not enabled)', 'Raddr=3 (X3)', 'Rvalue=4 (X4)'],
  ],
  [0x2d, 1 << 20, ['ExType=1 (exception return lock (PSTATE.EXLOCK))']],
  [
    0x2f,
    (1 << 13) | (3 << 10) | 0x11,
    [
      'IDS=0 (as the architecture says)',
      'WU=0 (not an external abort of a write, or not known)',
      'VFV=0',
      'PFV=0',
      'IESB=1',
      'AET=3 (recoverable state (UER))',
      'EA=0',
      'WnRV=0',
      'WnR=0 (read)',
      'DFSC=17 (asynchronous SError)',
    ],
  ],
  [0x2f, (1 << 24) | 0xabc, ['IDS=1 (IMPLEMENTATION DEFINED)', 'IMPDEF_23_0=2748']],
  [0x30, 0x22, ['IFSC=34 (debug exception)']],
  [0x31, 0x22, ['IFSC=34 (debug exception)']],
  [0x32, (1 << 24) | (1 << 6) | 0x22, ['ISV=1', 'EX=1 (a Load-Exclusive)', 'IFSC=34 (debug exception)']],
  [0x33, 0x22, ['ISV=0', 'EX=0 (another instruction)', 'IFSC=34 (debug exception)']],
  ...[0x34, 0x35].map((exceptionClass): [number, number, string[]] => [
    exceptionClass,
    (3 << 18) | (1 << 17) | (1 << 6) | 0x22,
    [
      'WPT=3',
      'WPTV=1',
      'WPF=0',
      'FnP=0',
      'VNCR=0',
      'FnV=0',
      'CM=0',
      'WnR=1 (write)',
      'DFSC=34 (debug exception)',
    ],
  ]),
  [0x38, 0xf0, ['Comment=240']],
  [0x3c, 0x800, ['Comment=2048']],
  [0x3d, 1, ['SYNC=1']],
];

describe('the syndrome of an exception class', () => {
  it.each(CASES)('0x%x: every field has its place and its words (ISS %#x)', (exceptionClass, iss, fields) => {
    const value = esr(exceptionClass, iss);
    expect(fieldsOf(value)).toEqual(fields);
    expect(remarkOf(value)).toContain(EXCEPTION_CLASSES[exceptionClass] as string);
  });

  it('is there for every class that EL1 reports, aborts aside', () => {
    const covered = new Set(CASES.map(([exceptionClass]) => exceptionClass));
    const aborts = [0x20, 0x21, 0x24, 0x25];
    for (const exceptionClass of Object.keys(EXCEPTION_CLASSES).map(Number)) {
      if (aborts.includes(exceptionClass)) continue;
      expect(syndromeLayout(exceptionClass, 0n), `class ${exceptionClass}`).toBeDefined();
      expect(covered, `class ${exceptionClass}`).toContain(exceptionClass);
    }
  });

  it.each<[what: string, iss: number, text: string]>([
    ['a register of translation', sys(3, 0, 2, 0, 2, 1, 0), 'MSR TCR_EL1, X1'],
    ['a register of EL0', sys(3, 3, 0, 0, 1, 31, 1), 'MRS XZR, CTR_EL0'],
    ['a register without a name here', sys(3, 0, 4, 15, 1, 1, 0), 'MSR S3_0_C4_C15_1, X1'],
    ['TLBI by address', sys(1, 0, 8, 3, 1, 0, 0), 'TLBI VAE1IS, X0'],
    ['TLBI without an address', sys(1, 0, 8, 7, 0, 31, 0), 'TLBI VMALLE1'],
    ['TLBI by range, Outer Shareable, nXS', sys(1, 0, 9, 5, 7, 2, 0), 'TLBI RVAALE1OSnXS, X2'],
    ['AT', sys(1, 0, 7, 8, 2, 9, 0), 'AT S1E0R, X9'],
    ['DC ZVA', sys(1, 3, 7, 4, 1, 0, 0), 'DC ZVA, X0'],
    ['cache maintenance by tag', sys(1, 3, 7, 10, 3, 3, 0), 'DC CGVAC, X3'],
    ['IC IVAU', sys(1, 3, 7, 5, 1, 6, 0), 'IC IVAU, X6'],
    ['another System instruction', sys(1, 5, 11, 2, 1, 6, 0), 'SYS #5, C11, C2, #1, X6'],
    ['a write of DAIF at EL0', sys(0, 3, 4, 2, 6, 31, 0), 'MSR DAIFSet, #2'],
  ])('names %s', (_what, iss, text) => {
    expect(remarkOf(esr(0x18, iss))).toBe(`trapped MSR, MRS or System instruction: ${text}`);
  });

  it.each<[number, number, RegExp]>([
    [0x14, (3 << 20) | (7 << 10) | (1 << 6) | (4 << 1) | 1, /: MRRS X2, X3, PAR_EL1$/],
    [0x14, (1 << 20) | (1 << 17) | (8 << 10) | (2 << 6) | (7 << 1), /: TLBIP VAE1, X4, X5$/],
    [0x15, 0x1234, /^SVC from AArch64: SVC #0x1234$/],
    [0x16, 1, /^HVC from AArch64; never taken to EL1: HVC #0x1$/],
    [0x3c, 0x800, /^BRK \(AArch64\): BRK #0x800$/],
  ])('names the instruction of class %#x', (exceptionClass, iss, text) => {
    expect(remarkOf(esr(exceptionClass, iss))).toMatch(text);
  });

  it.each<[value: bigint, text: RegExp]>([
    [0x3400_0002n, /^IL = 0 says a 16-bit instruction: there is none in A64/],
    [0x8800_0000n, /^IL = 0: no processor reports this with this class/],
    [0xf200_0401n, /^Linux: KGDB, compiled-in breakpoint$/],
    [0xf200_8012n, /^Linux: a control flow integrity failure/],
  ])('remarks on %#x', (value, text) => {
    expect(decodeWord('esr_el1', value).remarks).toContainEqual(expect.stringMatching(text));
  });

  it('says which of LST and SET the bits of a Data Abort are', () => {
    const words = (value: bigint): string | null | undefined =>
      decodeWord('esr_el1', value).fields.find(({ name }) => name === 'LST_SET')?.decoded;
    expect(words(esr(0x24, (3 << 11) | 0x10))).toBe('SET: restartable state (UEO)');
    expect(words(esr(0x24, (1 << 24) | (2 << 11) | 0x07))).toBe('LST: LD64B or ST64B');
    expect(words(esr(0x24, 0x07))).toBeNull();
  });
});
