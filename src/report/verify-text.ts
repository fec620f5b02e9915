/** What `verify` prints: counts by tag group, the first difference in full, and the closing line. */
import type { VectorDifference } from '../conformance/verify/vector-runner.ts';
import type { Count, VerifyResult } from '../conformance/verify/verify.ts';
import { walkJson } from './walk-json.ts';
import { walkText } from './walk-text.ts';

/** Tags in the order in which they are shown; a tag that no group names is shown last. */
const GROUPS: readonly (readonly [title: string, tags: RegExp])[] = [
  ['paging', /^(l4|la57|pml5slot0|pcid|no1g|intel-only-nonleaf-g)$/],
  ['paging', /^(granule\d+k|start-?\d|ttbr[01]|lpa2|va52|smallTxSZ|highPA|hierarchical|contiguous)$/],
  ['access', /^(read|write|fetch|cpl\d|ss|unaligned)$/],
  ['access', /^(readUnpriv|writeUnpriv|atomic|dczva|el[01]|crossPage|crossGranule|taggedVA)$/],
  ['outcome', /^(ok|pf|gp|ss-fault|ad-update|a-undetermined|fault:.*)$/],
  ['leaf', /^(leaf.*|level\dpage|level\dblock)$/],
  ['reason', /^(np|us|ro|wp|nx|smep|smap|noncanon|multi|pk[us]-[aw]d|rsvd-.*|level\d)$/],
  [
    'reason',
    /^(invalidDesc|reserved(L3|Block)|(oa|table|ttbr)AddrSize|txszBelowMin|epd|e0pd|pcAlign|sctlrA)$/,
  ],
  ['state', /^(wp\d|nxe0|.*-on)$/i],
  ['state', /^(pan|uao|epan|ha|hd|hpd|wxn|tbi|tbid|s1pie)$/],
  ['tags', /^(mte|tagged|untagged|tcf.*|tcma|tco|ata0?=0|unalignedGranule|farTagBits.*)$/],
  ['insn', /^(mteInsn|irg|addg|subg|subps?|gmi|ldgm?|st[gz].*|st2g)$/],
  ['sequence', /^(seq-.*|tlbSeq)$/],
  ['sequence', /^(asid.*|attr-ng-mix|hw-af|dirty|perm-.*|remap|split|merge|global|unmap|af-fault)$/],
  ['sequence', /^(table-change|fault-then-map|r?va.*|vmalle1)$/],
  ['step', /^(mov.*|inv.*|wrpkru|.*-gp|write64)$/],
];

const withCommas = (count: number): string => count.toLocaleString('en-US');

function groupText(title: string, tags: readonly (readonly [string, Readonly<Count>])[]): string {
  const items = tags.map(([tag, { passed, failed }]) =>
    failed === 0
      ? `${tag} ${withCommas(passed)}`
      : `${tag} ${withCommas(passed)} (${withCommas(failed)} FAILED)`,
  );
  return wrap(`  ${title.padEnd(9)}`, items);
}

const WIDTH = 110;

/** Items separated by ` · `, wrapped under each other. */
function wrap(title: string, items: readonly string[]): string {
  const lines: string[] = [];
  let line = title;
  for (const item of items) {
    const joined = line === title || line.trim() === '' ? `${line} ${item}` : `${line} · ${item}`;
    if (joined.length > WIDTH && line.trim() !== '') {
      lines.push(line);
      line = `${' '.repeat(title.length)} ${item}`;
    } else line = joined;
  }
  return [...lines, line].join('\n');
}

/** Passed vectors by tag, in groups; one vector counts under each of its tags. */
function tagTable(tags: VerifyResult['tags']): string {
  const left = new Map([...tags].sort(([a], [b]) => (a < b ? -1 : 1)));
  const groups = new Map<string, (readonly [string, Readonly<Count>])[]>();
  for (const [title, pattern] of GROUPS) {
    const members = [...left].filter(([tag]) => pattern.test(tag));
    for (const [tag] of members) left.delete(tag);
    if (members.length > 0) groups.set(title, [...(groups.get(title) ?? []), ...members]);
  }
  const lines = [...groups].map(([title, members]) => groupText(title, members));
  left.delete('seq');
  if (left.size > 0) lines.push(groupText('other', [...left]));
  return lines.join('\n');
}

const indented = (line: string): string => (line === '' ? '' : `    ${line}`);

/** Everything about one vector that came out differently. */
export function differenceText(difference: VectorDifference): string {
  const { id, file, line, step, steps, state, operation, mismatches, walk } = difference;
  const place = steps === 1 ? '' : `, step ${step} of ${steps}`;
  const rows = [{ what: '', expected: 'expected', got: 'got' }, ...mismatches];
  const width = (of: (row: (typeof rows)[number]) => string): number =>
    Math.max(...rows.map((row) => of(row).length));
  const [what, expected] = [width((row) => row.what), width((row) => row.expected)];
  return [
    `${id}${place} (${file}:${line})`,
    ...state.map((text) => `  ${text}`),
    `  ${operation}`,
    ...rows.map((row) => `    ${row.what.padEnd(what)}  ${row.expected.padEnd(expected)}  ${row.got}`),
    ...(walk === null ? [] : ['  the walk:', ...walkText(walk, { fields: false }).split('\n').map(indented)]),
  ].join('\n');
}

/** `N passed, M failed`, and what was not run. */
export function verifyClosingLine({ passed, failed, unsupported, stopped }: VerifyResult): string {
  const rest = unsupported > 0 ? `, ${unsupported} unsupported` : '';
  return `${passed} passed, ${failed} failed${rest}${stopped ? ' (stopped early)' : ''}`;
}

/** `unsupported, as they name what is not built: MEC 3`. */
function unsupportedText({ unsupported, unsupportedFeatures }: VerifyResult): string[] {
  if (unsupported === 0) return [];
  const items = [...unsupportedFeatures].map(([feature, count]) => `${feature} ${withCommas(count)}`);
  return [wrap('unsupported, as they name features that are not built:', items)];
}

/** `20,000 translations (3 FAILED), 994 permission indirections`. */
function kindsText(kinds: VerifyResult['kinds']): string[] {
  return [...kinds].map(([kind, { passed, failed }]) => {
    const failures = failed === 0 ? '' : ` (${withCommas(failed)} FAILED)`;
    return `${withCommas(passed + failed)} ${kind}${failures}`;
  });
}

export function verifyText(result: VerifyResult): string {
  const { kinds, steps, first, failedIds, failed } = result;
  const counts = [...kindsText(kinds), `${withCommas(steps)} steps`, `TLB retention: ${result.retention}`];
  const lines = [counts.join(', '), ...(result.tags.size > 0 ? [tagTable(result.tags)] : [])];
  if (first !== null) lines.push('', 'first difference:', differenceText(first), '');
  if (failed > 1) lines.push(wrap('failed:', failed > failedIds.length ? [...failedIds, '…'] : failedIds));
  lines.push(...unsupportedText(result), verifyClosingLine(result));
  return `${lines.filter((line, at) => line !== '' || at > 0).join('\n')}\n`;
}

/** One documented object for `--json`. */
export function verifyJson(result: VerifyResult): object {
  const { kinds, tags, unsupportedFeatures } = result;
  const walk = result.first?.walk ?? null;
  const first = result.first && { ...result.first, walk: walk && walkJson(walk) };
  return {
    ...result,
    first,
    kinds: Object.fromEntries(kinds),
    tags: Object.fromEntries(tags),
    unsupportedFeatures: Object.fromEntries(unsupportedFeatures),
  };
}
