/** What an arm64 access or instruction gives: as it is written in a vector, compared, and in words. */
import { EXCEPTION_CLASSES, faultStatusName } from '../../arch/arm64/registers.ts';
import { type Halves, hexHalves } from '../../base/u64.ts';
import type { FieldReader } from '../json-fields.ts';

/** What an access or instruction must give, and what the model gave. */
export type Arm64Outcome =
  | { readonly kind: 'address'; readonly address: Halves }
  | { readonly kind: 'done' }
  | {
      readonly kind: 'fault';
      readonly esr: Halves;
      readonly far: Halves;
      /** FAR_EL1 is not compared. */
      readonly farUnspecified?: boolean;
    };

export const flag = (fields: FieldReader, key: string): boolean => fields.integer(key, 0, 1) === 1;

export function parseArm64Fault(expect: FieldReader): Arm64Outcome {
  if (!expect.has('fault')) expect.fail(['fault'], 'a fault, or "pa" or "ok" instead', undefined);
  const fault = expect.object('fault');
  const unspecified = fault.has('farUnspecified') && fault.boolean('farUnspecified');
  return {
    kind: 'fault',
    esr: fault.word('esr'),
    far: fault.word('far'),
    ...(unspecified ? { farUnspecified: true } : {}),
  };
}

export const sameWord = (a: Halves, b: Halves): boolean => a.hi === b.hi && a.lo === b.lo;

/** Every bit: the address, or ESR_EL1 and (unless it is unspecified) FAR_EL1. */
export function sameArm64Outcome(wanted: Arm64Outcome, got: Arm64Outcome): boolean {
  if (wanted.kind === 'address') return got.kind === 'address' && sameWord(wanted.address, got.address);
  if (wanted.kind === 'done') return got.kind === 'done';
  if (got.kind !== 'fault' || !sameWord(wanted.esr, got.esr)) return false;
  return wanted.farUnspecified === true || sameWord(wanted.far, got.far);
}

export const wordText = ({ hi, lo }: Halves): string => hexHalves(hi, lo);

/** Faults that come with a status code in bits 5:0. */
const ABORTS: readonly number[] = [0x20, 0x21, 0x24, 0x25];

function faultWords(esr: Halves): string {
  const exceptionClass = esr.lo >>> 26;
  const name = EXCEPTION_CLASSES[exceptionClass] ?? `class ${exceptionClass}`;
  return ABORTS.includes(exceptionClass) ? `${name}: ${faultStatusName(esr.lo & 0x3f)}` : name;
}

/** `address 0x19332ce18`, `done, no fault`, `ESR_EL1 0x9200000d (Data Abort …), FAR_EL1 0xffffc91d61f75e00`. */
export function arm64OutcomeText(outcome: Arm64Outcome): string {
  if (outcome.kind === 'address') return `address ${wordText(outcome.address)}`;
  if (outcome.kind === 'done') return 'done, no fault';
  const far = outcome.farUnspecified === true ? 'any FAR_EL1' : `FAR_EL1 ${wordText(outcome.far)}`;
  return `ESR_EL1 ${wordText(outcome.esr)} (${faultWords(outcome.esr)}), ${far}`;
}
