/** `tablewalk maps`: every mapping of a real page table. */
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import type { PageTableDump } from '../../conformance/maps/page-table-dump.ts';
import { addDumpOptions, type DumpOptions, openDump } from '../dump-options.ts';
import { jsonText } from '../json.ts';
import { exclusive, oneOf } from '../option-values.ts';
import type { Session } from '../session.ts';

interface Options extends DumpOptions {
  readonly check?: string[];
  readonly exact?: boolean;
  readonly all?: boolean;
  readonly json?: boolean;
}

export function addMapsCommand(program: Command, session: Session): void {
  addDumpOptions(
    program
      .command('maps')
      .description('list every mapping of a real page table, merged, with rights combined over the levels'),
  )
    .option('--arch <name>', 'what the core must be of: x86_64 or arm64; default: either')
    .option('--check <truth...>', 'compare with translations recorded beside the dump, row by row')
    .option('--exact', 'with --check: a mapping that the truth does not list is a failure too')
    .option('--all', 'list ranges that repeat one frame one by one')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
In a clone of the project, which has dumps of two Linux kernels:

Examples:
  tablewalk maps --root target --dump test/real/x86_64-4level-linux6.1.core.gz \\
    --regs test/real/x86_64-4level-linux6.1.regs.json
  tablewalk maps --root target --dump test/real/arm64-4k-mte-linux6.12.core.gz \\
    --regs test/real/arm64-4k-mte-linux6.12.regs.json`,
    )
    .action((options: Options) => maps(options, session));
}

async function maps(options: Options, session: Session): Promise<void> {
  if (options.dump === undefined)
    throw new InputError('option --dump is missing', { expected: '--dump CORE' });
  if (options.exact && options.check === undefined) {
    throw new InputError('option --exact compares nothing', { expected: '--check TRUTH with it' });
  }
  if (options.all && options.check !== undefined) exclusive('--all', '--check');
  if (options.arch !== undefined) oneOf('option --arch', options.arch, ['x86_64', 'arm64']);
  const dump = await openDump(options.dump, options);
  if (options.check !== undefined) {
    await check(dump, options.check, options, session);
    return;
  }
  const { dumpHeadText, mapsJson, mapsText } = await import('../../report/maps-text.ts');
  if (options.json) session.print(jsonText(mapsJson(dump)));
  else session.print(`${dumpHeadText(dump)}\n${mapsText(dump, { all: options.all === true })}`);
}

async function check(
  dump: PageTableDump,
  files: readonly string[],
  { json = false, exact = false }: Options,
  session: Session,
): Promise<void> {
  const { checkTruth } = await import('../../conformance/maps/check.ts');
  const { dumpHeadText, truthCheckJson, truthCheckText } = await import('../../report/maps-text.ts');
  if (!json) session.print(dumpHeadText(dump));
  const results = [];
  for (const file of files) {
    const result = await checkTruth(dump, file);
    results.push(result);
    if (!json) session.print(truthCheckText(result));
    if (result.differing > 0 || (exact && result.unlisted > 0)) session.checkFailed();
    if (result.rows === 0) session.nothingChecked(`${file}: no rows to check`);
  }
  if (json) session.print(jsonText({ checks: results.map(truthCheckJson) }));
}
