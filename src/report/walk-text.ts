/** An explained walk of any architecture as text: registers, every entry with its fields, what was cached, the rules, the outcome. */
import type { DecodedField } from '../arch/decode-kind.ts';
import type {
  ExplainedEntry,
  ExplainedFault,
  ExplainedRegister,
  ExplainedStep,
  ExplainedTranslation,
  ExplainedWalk,
} from '../arch/explained-walk.ts';
import { hex } from '../base/u64.ts';

export interface WalkTextOptions {
  /** Every field on a line of its own, with its meaning; otherwise one line an entry. Default true. */
  readonly fields?: boolean;
}

const word = (value: bigint): string => `0x${value.toString(16).padStart(16, '0')}`;

function sizeName(bytes: bigint): string {
  if (bytes >= 1n << 30n) return `${bytes >> 30n} GiB`;
  return bytes >= 1n << 20n ? `${bytes >> 20n} MiB` : `${bytes >> 10n} KiB`;
}

/** One field: `  51:12  TABLE    0x102003000  frame 0x102003: physical address …`. */
export function fieldLine(field: DecodedField, indent: string): string {
  const range = field.high === field.low ? `${field.high}` : `${field.high}:${field.low}`;
  const value = field.high === field.low ? field.value.toString() : hex(field.value);
  const words = field.decoded === null ? '' : ` (${field.decoded})`;
  return `${indent}${range.padStart(6)}  ${field.name.padEnd(16)} ${value}${words}  ${field.meaning}`;
}

function entryLines(entry: ExplainedEntry, options: WalkTextOptions): string[] {
  const where = entry.address === null ? `from the ${entry.source}` : `at ${hex(entry.address)}`;
  const head = `${entry.form} ${where} = ${word(entry.value)}`;
  if (entry.fields.length === 0 || options.fields === false) return [`${head}  ${entry.summary}`];
  return [head, ...entry.fields.map((field) => fieldLine(field, '  '))];
}

const stepLines = (step: ExplainedStep, options: WalkTextOptions): string[] =>
  step.kind === 'entry' ? entryLines(step, options) : [`  ${step.text}`];

function translationLines(outcome: ExplainedTranslation): string[] {
  return [
    `physical address ${hex(outcome.physicalAddress)}, ${sizeName(outcome.pageBytes)} page`,
    `memory type ${outcome.memoryType}: ${outcome.memoryTypeRule}`,
  ];
}

function faultLines({ headline, syndrome, address }: ExplainedFault): string[] {
  const lines = [headline];
  for (const field of syndrome.fields) {
    if (field.kind !== 'reserved' && (field.value !== 0n || field.low <= 6))
      lines.push(fieldLine(field, '  '));
  }
  if (address !== null) lines.push(`  ${address.name} = ${word(address.value)}`);
  return lines;
}

const registerLine = ({ name, value, summary }: ExplainedRegister): string =>
  summary === null ? `${name} = ${word(value)}` : `${name}: ${summary}`;

/** Lines without a final newline. */
export function walkText(walk: ExplainedWalk, options: WalkTextOptions = {}): string {
  const indices = walk.indices.map(({ name, index }) => `${name} ${index}`).join(', ');
  const offset = hex(walk.address & (walk.granuleBytes - 1n));
  const lines = [
    `${walk.accessWords} of ${word(walk.address)}`,
    `indices: ${indices}; offset in ${sizeName(walk.granuleBytes)} ${offset}`,
    ...walk.registers.map(registerLine),
    '',
    ...walk.steps.flatMap((step) => stepLines(step, options)),
    '',
    ...walk.rules.map((rule) => `rule: ${rule}`),
    ...(walk.outcome.kind === 'fault' ? faultLines(walk.outcome) : translationLines(walk.outcome)),
  ];
  return lines.join('\n');
}
