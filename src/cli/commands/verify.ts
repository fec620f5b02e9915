/** `tablewalk verify`: recorded hardware vectors against the MMU. */
import type { Command } from 'commander';
import type { VerifyResult } from '../../conformance/verify/verify.ts';
import type { Retention } from '../../hardware/retention.ts';
import { jsonText } from '../json.ts';
import { oneOf } from '../option-values.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly only?: string[];
  readonly firstFailure?: boolean;
  readonly retention: string;
  readonly json?: boolean;
}

const retentions: readonly Retention[] = ['profile', 'adversarial', 'none'];

export function addVerifyCommand(program: Command, session: Session): void {
  program
    .command('verify')
    .description('check the MMU against recorded hardware vectors, bit for bit')
    .argument('<files...>', 'vector files, .jsonl or .jsonl.gz')
    .option('--only <pattern...>', 'only vectors with these ids or tags; * stands for any characters')
    .option('--first-failure', 'stop at the first vector that fails')
    .option('--retention <mode>', `how long TLBs keep entries: ${retentions.join(', ')}`, 'profile')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      '\nExample:\n  tablewalk verify test/vectors/x86_64.jsonl.gz --only seq-pcid_switch',
    )
    .action((files: string[], options: Options) => verify(files, options, session));
}

async function verify(files: readonly string[], options: Options, session: Session): Promise<void> {
  const { verifyVectors } = await import('../../conformance/verify/verify.ts');
  const { verifyJson, verifyText } = await import('../../report/verify-text.ts');
  const before = process.cpuUsage();
  const result = await verifyVectors(files, {
    retention: oneOf('option --retention', options.retention, retentions),
    only: options.only ?? [],
    firstFailure: options.firstFailure === true,
    signal: session.interruption,
    progress: (run) => session.progress(`${run} vectors`),
  });
  session.print(options.json ? jsonText(verifyJson(result)) : verifyText(result));
  const run = result.passed + result.failed;
  session.remark(rateText(run, process.cpuUsage(before)));
  if (result.failed > 0) session.checkFailed();
  if (run === 0) session.nothingChecked(nothingRun(result));
}

/** CPU time of the whole command: reading, unpacking and parsing as well. */
function rateText(vectors: number, { user, system }: NodeJS.CpuUsage): string {
  const seconds = (user + system) / 1e6;
  const rate = Math.round(vectors / seconds).toLocaleString('en-US');
  return `${seconds.toFixed(2)} s of CPU time, ${rate} vectors/s`;
}

function nothingRun({ files, skipped, unsupported }: VerifyResult): string {
  if (unsupported > 0) return `${files.join(', ')}: every vector names features that are not built`;
  const why = skipped > 0 ? 'no vector has an id or tag that --only names' : 'no vectors';
  return `${files.join(', ')}: ${why}`;
}
