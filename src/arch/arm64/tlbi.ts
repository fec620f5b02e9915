/**
 * The TLBI instructions of the EL1&0 translation regime by name, and which of them a CPU has: VMALLE1, VAE1, VAAE1,
 * ASIDE1, VALE1, VAALE1 and the range forms RVAE1, RVAAE1, RVALE1, RVAALE1; each for the own CPU, the Inner Shareable
 * (IS) and the Outer Shareable domain (OS), each also as nXS.
 * What one drops is in invalidation.ts; when it is complete, in shareability-domain.ts.
 * Left out: stage 2 and the other regimes; XS attributes of entries, so that an nXS form drops the same as its plain form.
 * @see Arm ARM (DDI 0487), "TLB maintenance instructions"
 */
import { InputError } from '../../base/input-error.ts';
import type { Arm64Features } from './features.ts';

/** Whose TLBs it reaches: the own, or those of all CPUs of the Inner or the Outer Shareable domain. */
export type Shareability = 'NSH' | 'ISH' | 'OSH';

export interface TlbiOperation {
  /** As the assembler writes it, upper case but for nXS: `RVAALE1ISnXS`. */
  readonly name: string;
  /** Its place in `TLBI_OPERATIONS`: the scope number told to observers. */
  readonly index: number;
  readonly type: 'VMALL' | 'ASID' | 'VA' | 'VAA';
  readonly range: boolean;
  /** Only leaves: what is cached of table descriptors stays. */
  readonly lastLevel: boolean;
  readonly shareability: Shareability;
  /** Complete without waiting for accesses with the XS attribute. */
  readonly nXS: boolean;
}

const KINDS = [
  { stem: 'VMALLE1', type: 'VMALL', range: false, lastLevel: false },
  { stem: 'VAE1', type: 'VA', range: false, lastLevel: false },
  { stem: 'ASIDE1', type: 'ASID', range: false, lastLevel: false },
  { stem: 'VAAE1', type: 'VAA', range: false, lastLevel: false },
  { stem: 'VALE1', type: 'VA', range: false, lastLevel: true },
  { stem: 'VAALE1', type: 'VAA', range: false, lastLevel: true },
  { stem: 'RVAE1', type: 'VA', range: true, lastLevel: false },
  { stem: 'RVAAE1', type: 'VAA', range: true, lastLevel: false },
  { stem: 'RVALE1', type: 'VA', range: true, lastLevel: true },
  { stem: 'RVAALE1', type: 'VAA', range: true, lastLevel: true },
] as const;

const DOMAINS = [
  { suffix: '', shareability: 'NSH' },
  { suffix: 'IS', shareability: 'ISH' },
  { suffix: 'OS', shareability: 'OSH' },
] as const;

function makeOperations(): readonly TlbiOperation[] {
  const operations: TlbiOperation[] = [];
  for (const nXS of [false, true]) {
    for (const { suffix, shareability } of DOMAINS) {
      for (const { stem, ...kind } of KINDS) {
        const name = `${stem}${suffix}${nXS ? 'nXS' : ''}`;
        operations.push({ name, index: operations.length, ...kind, shareability, nXS });
      }
    }
  }
  return operations;
}

/** All of them; `index` is the place. */
export const TLBI_OPERATIONS = makeOperations();

const byName: ReadonlyMap<string, TlbiOperation> = new Map(
  TLBI_OPERATIONS.map((operation) => [operation.name.toLowerCase(), operation]),
);

/**
 * @param name in any case: `vae1is`, `RVAALE1OSnXS`
 * @throws InputError when there is no such instruction of this regime
 */
export function tlbiNamed(name: string): TlbiOperation {
  const found = byName.get(name.toLowerCase());
  if (found !== undefined) return found;
  throw new InputError('no such TLBI instruction of the EL1&0 regime', {
    expected: 'VMALLE1, ASIDE1, VA{A}{L}E1 or RVA{A}{L}E1, with IS or OS, with nXS',
    found: `'${name}'`,
  });
}

/** Why the instruction is UNDEFINED on this CPU at this Exception level; null when it is not. */
export function tlbiUndefined(
  operation: TlbiOperation,
  features: Pick<Arm64Features, 'tlbiRange' | 'tlbiOs' | 'xs'>,
  exceptionLevel: 0 | 1,
): string | null {
  const { name } = operation;
  if (exceptionLevel === 0) return `TLBI ${name} is UNDEFINED at EL0`;
  if (operation.range && !features.tlbiRange) return `TLBI ${name} needs FEAT_TLBIRANGE`;
  if (operation.shareability === 'OSH' && !features.tlbiOs) return `TLBI ${name} needs FEAT_TLBIOS`;
  if (operation.nXS && !features.xs) return `TLBI ${name} needs FEAT_XS`;
  return null;
}
