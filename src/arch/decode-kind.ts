/**
 * What `tablewalk decode KIND VALUE` can explain: a word, its fields in the manual's order and names, and remarks.
 * Here is the form; the kinds are in each architecture's `decode-kinds.ts`, their list in `registry-decode-kinds.ts`.
 */
import type { FieldKind, FieldValue, Layout } from '../base/layout.ts';

/** What a word means may depend on the machine. Every option has a default, but where a kind says otherwise. */
export interface DecodeOptions {
  /** x86-64: MAXPHYADDR, 32 to 52. */
  readonly maxPhysAddr?: number;
  /** x86-64: IA32_EFER.NXE; without it bit 63 of an entry is reserved. Default true. */
  readonly nxe?: boolean;
  /** x86-64: CR4.PCIDE, which changes what CR3[11:0] is. Default false. */
  readonly pcide?: boolean;
  readonly vendor?: 'intel' | 'amd';
  /** arm64: translation granule. Default `4k`. */
  readonly granule?: '4k' | '16k' | '64k';
  /** arm64: lookup level of the descriptor, -1 to 3. */
  readonly level?: number;
  /** arm64: 52-bit addresses (FEAT_LPA with 64 KiB, FEAT_LPA2 with TCR_ELx.DS = 1 otherwise). Default false. */
  readonly lpa?: boolean;
  /** arm64: permission indirection, TCR2_ELx.PIE = 1 (FEAT_S1PIE). Default false. */
  readonly pie?: boolean;
}

export interface DecodedField {
  readonly name: string;
  readonly high: number;
  readonly low: number;
  readonly kind: FieldKind;
  /** Shifted down to bit 0; an address stays in place. */
  readonly value: bigint;
  readonly meaning: string;
  /** What this value of the field says (`WB`, `Translation fault, level 2`), null when the number is all there is. */
  readonly decoded: string | null;
}

export interface Decoded {
  readonly kind: string;
  readonly title: string;
  readonly value: bigint;
  /** From bit 63 down. */
  readonly fields: readonly DecodedField[];
  /** What follows from several fields together, what is wrong, what only an operating system would see in it. */
  readonly remarks: readonly string[];
  /** Document and section title. */
  readonly source: string;
}

export interface DecodeKind {
  readonly name: string;
  /** One line for the list of kinds. */
  readonly summary: string;
  /** Bits of the word: 64, 32 for an instruction, 128 for the INVPCID descriptor. */
  readonly width: 32 | 64 | 128;
  /** The options this kind looks at. */
  readonly options: readonly (keyof DecodeOptions)[];
  /** A value worth trying, and the options it needs. */
  readonly example: string;
  readonly exampleOptions?: DecodeOptions;
  /** @throws InputError when an option it needs is missing or out of range */
  decode(value: bigint, options: DecodeOptions): Decoded;
}

/** Words for the value of a field, by field name; undefined or null where the number is enough. */
export type FieldWords = (field: FieldValue) => string | null | undefined;

/** A `Decoded` from a layout. */
export function decodeWith<Name extends string>(
  kind: string,
  layout: Layout<Name>,
  value: bigint,
  source: string,
  words: FieldWords = () => null,
  remarks: readonly string[] = [],
): Decoded {
  const fields = layout
    .decode(value)
    .map((field): DecodedField => ({ ...field, decoded: words(field) ?? null }));
  return {
    kind,
    title: layout.title,
    value,
    fields,
    remarks: [...reservedRemarks(fields), ...remarks],
    source,
  };
}

function reservedRemarks(fields: readonly DecodedField[]): string[] {
  return fields
    .filter(({ kind, value }) => kind === 'reserved' && value !== 0n)
    .map(({ high, low, value }) => `reserved ${bitRange(high, low)} not zero: 0x${value.toString(16)}`);
}

/** `bit 7` or `bits 51:12`. */
export const bitRange = (high: number, low: number): string =>
  high === low ? `bit ${high}` : `bits ${high}:${low}`;
