/**
 * The processor that an arm64 vector runs on: the recorded machine, with the features that the vector's `cpu.features`
 * names switched on. A name that the model does not know makes the vector unsupported.
 */
import { ARM64_RECORDED, type Arm64Features } from '../../arch/arm64/features.ts';

/** The recorded machine has it. */
const RECORDED: Partial<Arm64Features> = {};

/** By FEAT_ name, without `FEAT_`: what it adds to the recorded machine. */
const ADDED: ReadonlyMap<string, Partial<Arm64Features>> = new Map([
  ...[
    ...['LPA', 'LPA2', 'LVA', 'TTST', 'ASID16', 'ASID2', 'TCR2', 'HPDS', 'HPDS2', 'HAFDBS'],
    ...['PAN', 'PAN2', 'PAN3', 'EPAN', 'UAO', 'E0PD', 'PAuth', 'BTI', 'S1PIE', 'LSE2'],
    ...['TTL', 'TLBIRANGE', 'TLBIOS', 'XS', 'BBM', 'BBML1', 'BBML2', 'TTCNP', 'CnP'],
    ...['MTE', 'MTE2', 'MTE3', 'MTE_ASYM_FAULT', 'MTE_TAGGED_FAR'],
  ].map((name): [string, Partial<Arm64Features>] => [name, RECORDED]),
  ['S1POE', { s1poe: true }],
]);

export interface VectorFeatures {
  readonly features: Arm64Features;
  /** What was switched on, sorted: equal where the processor is. */
  readonly added: string;
  /** Names that the model does not know. */
  readonly unknown: readonly string[];
}

const WITHOUT_ADDITIONS: VectorFeatures = { features: ARM64_RECORDED, added: '', unknown: [] };

/** @param names with or without `FEAT_` */
export function vectorFeatures(names: readonly string[]): VectorFeatures {
  if (names.every((name) => ADDED.get(name) === RECORDED)) return WITHOUT_ADDITIONS;
  const plain = names.map((name) => name.replace(/^FEAT_/, ''));
  const added = plain.filter((name) => (ADDED.get(name) ?? RECORDED) !== RECORDED).sort();
  return {
    features: Object.assign({}, ARM64_RECORDED, ...added.map((name) => ADDED.get(name))) as Arm64Features,
    added: added.join(),
    unknown: plain.filter((name) => !ADDED.has(name)),
  };
}
