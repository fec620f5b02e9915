/** The lock protocols of the designs, as `bench remote-access --protocol` prints them: a paragraph for each question. */
import {
  type DesignProtocol,
  HAZARD_ROWS,
  PROTOCOL_ROWS,
  type ProtocolRow,
} from '../userland/experiments/lock-protocol/lock-protocol.ts';
import { tableLines } from './table.ts';

/** A question and the answer of each design. */
export interface ProtocolQuestion {
  readonly title: string;
  readonly answers: readonly string[];
}

/** Rows of the protocol: what holds, what is taken, what is left to mmap_lock. */
export function protocolQuestions(protocols: readonly DesignProtocol[]): ProtocolQuestion[] {
  return (Object.keys(PROTOCOL_ROWS) as ProtocolRow[]).map((row) => ({
    title: PROTOCOL_ROWS[row],
    answers: protocols.map(({ rows }) => rows[row]),
  }));
}

/** Rows of what goes wrong beside a writer. */
export function hazardQuestions(protocols: readonly DesignProtocol[]): ProtocolQuestion[] {
  const names = Object.keys(HAZARD_ROWS) as (keyof typeof HAZARD_ROWS)[];
  return names.map((name) => ({
    title: HAZARD_ROWS[name],
    answers: protocols.map(({ hazards }) => (hazards[name] ? 'yes' : 'no')),
  }));
}

/** In one line: does any design claim to serve what a run shows that it does not? */
export function claimsText(protocols: readonly DesignProtocol[]): string {
  const wrong = protocols.filter(({ contradictions }) => contradictions.length > 0);
  if (wrong.length === 0) return 'What each design says that it serves is what its runs did.';
  return wrong
    .map(({ design, contradictions }) => `${design} did not do: ${contradictions.join(', ')}`)
    .join('\n');
}

export function lockProtocolText(protocols: readonly DesignProtocol[], arch: string): string {
  const paragraphs = [...protocolQuestions(protocols), ...hazardQuestions(protocols)].map(
    ({ title, answers }) => {
      const lines = tableLines(protocols.map(({ design }, at) => [design, answers[at] as string]));
      return [title, ...lines.map((line) => `  ${line}`)].join('\n');
    },
  );
  return `${[`How each design locks, from runs: ${arch}`, ...paragraphs, claimsText(protocols)].join('\n\n')}\n`;
}

/** For `--json`. */
export function lockProtocolJson(protocols: readonly DesignProtocol[], arch: string): object {
  return { arch, protocols };
}
