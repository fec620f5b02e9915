/** The tables of docs/remote-access.md, as `bench remote-access --markdown` prints them. */
import type { DesignProtocol } from '../userland/experiments/lock-protocol/lock-protocol.ts';
import type { RemoteAccessFindings } from '../userland/experiments/remote-access.ts';
import type { ContentionCost } from '../userland/experiments/remote-access-contention.ts';
import type { RemoteAccessCost } from '../userland/experiments/remote-access-cost.ts';
import {
  claimsText,
  hazardQuestions,
  type ProtocolQuestion,
  protocolQuestions,
} from './lock-protocol-text.ts';
import { accessText, type RemoteAccessHeading } from './remote-access-text.ts';

type Row = readonly string[];

const number = (value: number): string => Math.round(value).toLocaleString('en-US');

function table([titles = [], ...rows]: readonly Row[], right = false): string {
  const line = (cells: Row): string => `| ${cells.join(' | ')} |`;
  const rule = titles.map((_, at) => (right && at > 0 ? '--:' : '---'));
  return [line(titles), `|${rule.join('|')}|`, ...rows.map(line)].join('\n');
}

function protocolTable(
  protocols: readonly DesignProtocol[],
  questions: readonly ProtocolQuestion[] = protocolQuestions(protocols),
): string {
  return table([
    ['', ...protocols.map(({ design }) => design)],
    ...questions.map(({ title, answers }) => [title, ...answers]),
  ]);
}

/** Rows of one title beside each other, a column for each design. */
function byDesign<T extends { readonly design: string }>(
  costs: readonly T[],
  titleOf: (cost: T) => string,
  figureOf: (cost: T) => number,
): string {
  const designs = [...new Set(costs.map(({ design }) => design))];
  const titles = [...new Set(costs.map(titleOf))];
  const value = (title: string, design: string): string => {
    const cost = costs.find((one) => one.design === design && titleOf(one) === title);
    return cost === undefined ? '' : number(figureOf(cost));
  };
  const rows = titles.map((title) => [title, ...designs.map((design) => value(title, design))]);
  return table([['', ...designs], ...rows], true);
}

const alone = (costs: readonly RemoteAccessCost[], figureOf: (cost: RemoteAccessCost) => number): string =>
  byDesign(costs, accessText, figureOf);

function together(costs: readonly ContentionCost[], figureOf: (cost: ContentionCost) => number): string {
  const title = ({ readers, writer }: ContentionCost): string =>
    `${readers} ${readers === 1 ? 'reader' : 'readers'}, ${writer === 'none' ? 'nobody else' : writer}`;
  return byDesign(costs, title, figureOf);
}

export function remoteAccessMarkdown(
  protocols: readonly DesignProtocol[],
  findings: RemoteAccessFindings,
  { arch, profile, callsOfReader }: RemoteAccessHeading,
): string {
  const proposed = protocols.filter(({ design }) => design.startsWith('v'));
  const wrong = protocols.filter(({ design }) => design.startsWith('n'));
  const parts = [
    `### Lock protocol (${arch})`,
    protocolTable(proposed),
    ...(wrong.length === 0 ? [] : ['### The wrong ones', protocolTable(wrong)]),
    '### Beside a writer that runs at every point of a read',
    protocolTable(protocols, hazardQuestions(protocols)),
    claimsText(protocols),
    `### One call alone: cycles (${arch}, costs of ${profile})`,
    alone(findings.alone, ({ cycles }) => cycles),
    '### One call alone: locked read-modify-writes on shared lines',
    alone(findings.alone, ({ atomics }) => atomics),
    '### One call alone: VMA look-ups',
    alone(findings.alone, ({ vmaLookups }) => vmaLookups),
    `### Reads of 8 bytes beside each other, ${callsOfReader} of each reader: cycles of a call, median`,
    together(findings.together, ({ median }) => median),
    '### The same: 99 of 100 took no longer than',
    together(findings.together, ({ p99 }) => p99),
    '### The same: reads of all readers in a million cycles',
    together(findings.together, ({ callsPerMillion }) => callsPerMillion),
    '### The same: calls of mprotect in a million cycles',
    together(
      findings.together.filter(({ writer }) => writer !== 'none'),
      ({ writesPerMillion }) => writesPerMillion,
    ),
  ];
  return `${parts.join('\n\n')}\n`;
}
