/**
 * Names of the registers that MRS and MSR reach and of the System instructions, by their encoding: those that have to do
 * with translation, tags, exceptions and caches, and what EL0 may try. Any other has the generic name
 * `S<op0>_<op1>_C<n>_C<m>_<op2>`.
 * @see Arm ARM (DDI 0487), "System instruction class encoding", "AArch64 System register encodings"
 */
import { lazy } from '../../base/lazy.ts';

/** The fields of an MSR, MRS or SYS instruction. */
export interface SystemEncoding {
  readonly op0: number;
  readonly op1: number;
  readonly crn: number;
  readonly crm: number;
  readonly op2: number;
}

const keyOf = ({ op0, op1, crn, crm, op2 }: SystemEncoding): string => `${op0} ${op1} ${crn} ${crm} ${op2}`;

/** op0, op1, CRn, CRm, op2, then the name. */
const REGISTERS = `
3 0 0 0 0 MIDR_EL1
3 0 0 0 5 MPIDR_EL1
3 0 0 0 6 REVIDR_EL1
3 0 0 4 0 ID_AA64PFR0_EL1
3 0 0 4 1 ID_AA64PFR1_EL1
3 0 0 4 2 ID_AA64PFR2_EL1
3 0 0 4 4 ID_AA64ZFR0_EL1
3 0 0 4 5 ID_AA64SMFR0_EL1
3 0 0 5 0 ID_AA64DFR0_EL1
3 0 0 5 1 ID_AA64DFR1_EL1
3 0 0 6 0 ID_AA64ISAR0_EL1
3 0 0 6 1 ID_AA64ISAR1_EL1
3 0 0 6 2 ID_AA64ISAR2_EL1
3 0 0 6 3 ID_AA64ISAR3_EL1
3 0 0 7 0 ID_AA64MMFR0_EL1
3 0 0 7 1 ID_AA64MMFR1_EL1
3 0 0 7 2 ID_AA64MMFR2_EL1
3 0 0 7 3 ID_AA64MMFR3_EL1
3 0 0 7 4 ID_AA64MMFR4_EL1
3 0 1 0 0 SCTLR_EL1
3 0 1 0 1 ACTLR_EL1
3 0 1 0 2 CPACR_EL1
3 0 1 0 3 SCTLR2_EL1
3 0 1 0 5 RGSR_EL1
3 0 1 0 6 GCR_EL1
3 0 1 2 0 ZCR_EL1
3 0 1 2 6 SMCR_EL1
3 0 2 0 0 TTBR0_EL1
3 0 2 0 1 TTBR1_EL1
3 0 2 0 2 TCR_EL1
3 0 2 0 3 TCR2_EL1
3 0 2 5 0 GCSCR_EL1
3 0 2 5 1 GCSPR_EL1
3 0 2 5 2 GCSCRE0_EL1
3 0 4 0 0 SPSR_EL1
3 0 4 0 1 ELR_EL1
3 0 4 1 0 SP_EL0
3 0 4 2 0 SPSel
3 0 4 2 2 CurrentEL
3 0 4 2 3 PAN
3 0 4 2 4 UAO
3 0 5 1 0 AFSR0_EL1
3 0 5 1 1 AFSR1_EL1
3 0 5 2 0 ESR_EL1
3 0 5 6 0 TFSR_EL1
3 0 5 6 1 TFSRE0_EL1
3 0 6 0 0 FAR_EL1
3 0 6 0 5 PFAR_EL1
3 0 7 4 0 PAR_EL1
3 0 10 2 0 MAIR_EL1
3 0 10 2 1 MAIR2_EL1
3 0 10 2 2 PIRE0_EL1
3 0 10 2 3 PIR_EL1
3 0 10 2 4 POR_EL1
3 0 10 2 5 S2POR_EL1
3 0 10 3 0 AMAIR_EL1
3 0 10 3 1 AMAIR2_EL1
3 0 12 0 0 VBAR_EL1
3 0 12 1 1 DISR_EL1
3 0 13 0 1 CONTEXTIDR_EL1
3 0 13 0 3 RCWSMASK_EL1
3 0 13 0 4 TPIDR_EL1
3 0 13 0 6 RCWMASK_EL1
3 0 13 0 7 SCXTNUM_EL1
3 0 14 1 0 CNTKCTL_EL1
3 1 0 0 0 CCSIDR_EL1
3 1 0 0 1 CLIDR_EL1
3 1 0 0 4 GMID_EL1
3 2 0 0 0 CSSELR_EL1
3 3 0 0 1 CTR_EL0
3 3 0 0 7 DCZID_EL0
3 3 2 4 0 RNDR
3 3 2 4 1 RNDRRS
3 3 2 5 1 GCSPR_EL0
3 3 4 2 0 NZCV
3 3 4 2 1 DAIF
3 3 4 2 2 SVCR
3 3 4 2 5 DIT
3 3 4 2 6 SSBS
3 3 4 2 7 TCO
3 3 4 4 0 FPCR
3 3 4 4 1 FPSR
3 3 4 4 2 FPMR
3 3 9 12 0 PMCR_EL0
3 3 9 13 0 PMCCNTR_EL0
3 3 10 2 4 POR_EL0
3 3 13 0 2 TPIDR_EL0
3 3 13 0 3 TPIDRRO_EL0
3 3 13 0 5 TPIDR2_EL0
3 3 13 0 7 SCXTNUM_EL0
3 3 14 0 0 CNTFRQ_EL0
3 3 14 0 1 CNTPCT_EL0
3 3 14 0 2 CNTVCT_EL0
3 3 14 0 5 CNTPCTSS_EL0
3 3 14 0 6 CNTVCTSS_EL0
3 3 14 2 0 CNTP_TVAL_EL0
3 3 14 2 1 CNTP_CTL_EL0
3 3 14 2 2 CNTP_CVAL_EL0
3 3 14 3 0 CNTV_TVAL_EL0
3 3 14 3 1 CNTV_CTL_EL0
3 3 14 3 2 CNTV_CVAL_EL0
`;

/** The same for System instructions; op0 is 1. */
const INSTRUCTIONS = `
1 0 7 1 0 IC IALLUIS
1 0 7 5 0 IC IALLU
1 3 7 5 1 IC IVAU
1 0 7 6 1 DC IVAC
1 0 7 6 2 DC ISW
1 0 7 6 3 DC IGVAC
1 0 7 6 4 DC IGSW
1 0 7 6 5 DC IGDVAC
1 0 7 6 6 DC IGDSW
1 0 7 10 2 DC CSW
1 0 7 10 4 DC CGSW
1 0 7 10 6 DC CGDSW
1 0 7 14 2 DC CISW
1 0 7 14 4 DC CIGSW
1 0 7 14 6 DC CIGDSW
1 3 7 4 1 DC ZVA
1 3 7 4 3 DC GVA
1 3 7 4 4 DC GZVA
1 3 7 10 1 DC CVAC
1 3 7 10 3 DC CGVAC
1 3 7 10 5 DC CGDVAC
1 3 7 11 1 DC CVAU
1 3 7 12 1 DC CVAP
1 3 7 12 3 DC CGVAP
1 3 7 12 5 DC CGDVAP
1 3 7 13 1 DC CVADP
1 3 7 13 3 DC CGVADP
1 3 7 13 5 DC CGDVADP
1 3 7 14 1 DC CIVAC
1 3 7 14 3 DC CIGVAC
1 3 7 14 5 DC CIGDVAC
1 0 7 8 0 AT S1E1R
1 0 7 8 1 AT S1E1W
1 0 7 8 2 AT S1E0R
1 0 7 8 3 AT S1E0W
1 0 7 9 0 AT S1E1RP
1 0 7 9 1 AT S1E1WP
1 0 7 9 2 AT S1E1A
1 3 7 3 4 CFP RCTX
1 3 7 3 5 DVP RCTX
1 3 7 3 6 COSP RCTX
1 3 7 3 7 CPP RCTX
`;

/** CRm of TLBI by shareability domain, without and with a range; op2 by what is named. */
const TLBI_DOMAINS = [
  { suffix: '', crm: 7, rangeCrm: 6 },
  { suffix: 'IS', crm: 3, rangeCrm: 2 },
  { suffix: 'OS', crm: 1, rangeCrm: 5 },
] as const;
const TLBI_STEMS = [
  ['VMALLE1', 0],
  ['VAE1', 1],
  ['ASIDE1', 2],
  ['VAAE1', 3],
  ['VALE1', 5],
  ['VAALE1', 7],
] as const;
const RANGE_STEMS = [
  ['RVAE1', 1],
  ['RVAAE1', 3],
  ['RVALE1', 5],
  ['RVAALE1', 7],
] as const;
/** CRn: 8, and 9 for the nXS forms. */
const TLBI_FORMS = [
  { crn: 8, ending: '' },
  { crn: 9, ending: 'nXS' },
] as const;

const tlbiNames = (): [string, string][] =>
  TLBI_FORMS.flatMap(({ crn, ending }) =>
    TLBI_DOMAINS.flatMap(({ suffix, crm, rangeCrm }) => [
      ...TLBI_STEMS.map(([stem, op2]): [string, string] => [
        keyOf({ op0: 1, op1: 0, crn, crm, op2 }),
        `TLBI ${stem}${suffix}${ending}`,
      ]),
      ...RANGE_STEMS.map(([stem, op2]): [string, string] => [
        keyOf({ op0: 1, op1: 0, crn, crm: rangeCrm, op2 }),
        `TLBI ${stem}${suffix}${ending}`,
      ]),
    ]),
  );

const listed = (text: string): [string, string][] =>
  text
    .trim()
    .split('\n')
    .map((line) => {
      const words = line.split(' ');
      return [words.slice(0, 5).join(' '), words.slice(5).join(' ')];
    });

const names = lazy(
  (): ReadonlyMap<string, string> => new Map([...listed(REGISTERS), ...listed(INSTRUCTIONS), ...tlbiNames()]),
);

/** The fields of PSTATE that MSR (immediate) writes, by op1 and op2; op0 is 0 and CRn 4. */
const PSTATE_FIELDS: Readonly<Record<string, string>> = {
  '0 3': 'UAO',
  '0 4': 'PAN',
  '0 5': 'SPSel',
  '1 0': 'ALLINT',
  '3 1': 'SSBS',
  '3 2': 'DIT',
  '3 3': 'SVCR',
  '3 4': 'TCO',
  '3 6': 'DAIFSet',
  '3 7': 'DAIFClr',
};

/** `SCTLR_EL1`, `TLBI VAE1IS`, `DC CGVAC`; null where the table has no name. */
const systemName = (encoding: SystemEncoding): string | null => names().get(keyOf(encoding)) ?? null;

const registerName = (register: number): string => (register === 31 ? 'XZR' : `X${register}`);

/** The instruction in the manual's syntax: `MRS X3, CTR_EL0`, `TLBI VAE1IS, X0`, `MSR TCO, #1`. */
export function systemInstruction(encoding: SystemEncoding, rt: number, read: boolean): string {
  const { op0, op1, crn, crm, op2 } = encoding;
  const register = registerName(rt);
  const name = systemName(encoding);
  if (op0 >= 2) {
    const system = name ?? `S${op0}_${op1}_C${crn}_C${crm}_${op2}`;
    return read ? `MRS ${register}, ${system}` : `MSR ${system}, ${register}`;
  }
  if (op0 === 0) {
    const field = crn === 4 ? PSTATE_FIELDS[`${op1} ${op2}`] : undefined;
    return `MSR ${field ?? `the PSTATE field of op1 = ${op1}, op2 = ${op2}`}, #${crm}`;
  }
  if (name === null) {
    return read
      ? `SYSL ${register}, #${op1}, C${crn}, C${crm}, #${op2}`
      : `SYS #${op1}, C${crn}, C${crm}, #${op2}, ${register}`;
  }
  return rt === 31 ? name : `${name}, ${register}`;
}

/** The same of a pair of registers: `MRRS X2, X3, PAR_EL1`, `TLBIP VAE1, X2, X3`. */
export function systemInstruction128(encoding: SystemEncoding, rt: number, read: boolean): string {
  const pair = rt === 30 ? 'X30, XZR' : `${registerName(rt)}, ${registerName(rt + 1)}`;
  const { op0, op1, crn, crm, op2 } = encoding;
  const name = systemName(encoding);
  if (op0 >= 2) {
    const system = name ?? `S${op0}_${op1}_C${crn}_C${crm}_${op2}`;
    return read ? `MRRS ${pair}, ${system}` : `MSRR ${system}, ${pair}`;
  }
  if (name?.startsWith('TLBI ')) return `TLBIP ${name.slice(5)}, ${pair}`;
  return `SYSP #${op1}, C${crn}, C${crm}, #${op2}, ${pair}`;
}
