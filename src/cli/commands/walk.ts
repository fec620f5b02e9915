/** `tablewalk walk`: one translation explained, level by level: of a recorded vector or through a real page table. */
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import { addDumpOptions, type DumpOptions, openDump } from '../dump-options.ts';
import { jsonText } from '../json.ts';
import { exclusive, oneOf, unsignedWord, wholeNumber } from '../option-values.ts';
import type { Session } from '../session.ts';

interface Options extends DumpOptions {
  readonly arch: string;
  readonly vectors?: string;
  readonly id?: string;
  readonly step?: string;
  readonly access?: string;
  readonly user?: boolean;
  readonly brief?: boolean;
  readonly json?: boolean;
}

const accesses = ['read', 'write', 'fetch'] as const;

export function addWalkCommand(program: Command, session: Session): void {
  addDumpOptions(
    program
      .command('walk')
      .description('explain one translation level by level: every entry, every field, the rule that decided')
      .argument('[va...]', 'with --dump: virtual addresses'),
  )
    .option('--access <kind>', `with --dump: ${accesses.join(', ')}; default: read`)
    .option('--user', 'with --dump: an access of user mode')
    .option('--vectors <file>', 'a vector of this file, with --id')
    .option('--id <id>', 'which vector')
    .option('--step <n>', 'with --id of a sequence: which step, from 1; default: its last access')
    .option('--arch <name>', 'x86_64 (arm64 is not built yet)', 'x86_64')
    .option('--brief', 'one line for each entry')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((addresses: string[], options: Options) => walk(addresses, options, session));
}

const examples = `
Examples:
  tablewalk walk --arch x86_64 --vectors test/vectors/x86_64.jsonl.gz --id x86-000001
  tablewalk walk --dump guest.core.gz --regs guest.regs.json --root init --user 0x400000`;

async function walk(addresses: readonly string[], options: Options, session: Session): Promise<void> {
  if (options.arch !== 'x86_64') {
    oneOf('option --arch', options.arch, ['x86_64', 'arm64']);
    throw new InputError('option --arch: arm64 is not built yet', { expected: 'x86_64' });
  }
  if (options.vectors !== undefined && options.dump !== undefined) exclusive('--vectors', '--dump');
  if (options.vectors === undefined && options.dump === undefined) {
    throw new InputError('nothing to walk', {
      expected: 'either --vectors FILE --id ID or --dump CORE VA…',
    });
  }
  checkOptions(addresses, options);
  if (options.vectors !== undefined) await walkVector(options.vectors, options, session);
  else await walkDump(options.dump as string, addresses, options, session);
}

const dumpOnly = ['regs', 'root', 'cr3', 'cpu', 'access', 'user'] as const;
const vectorOnly = ['id', 'step'] as const;

/** An option of the other way to say what is walked would be ignored: that is a mistake, not a wish. */
function checkOptions(addresses: readonly string[], options: Options): void {
  const [mode, other, foreign] =
    options.vectors === undefined
      ? (['--dump', '--vectors', vectorOnly] as const)
      : (['--vectors', '--dump', dumpOnly] as const);
  const given = foreign.find((name) => options[name] !== undefined);
  if (given !== undefined) {
    throw new InputError(`option --${given} does not go with ${mode}`, { expected: `${other} with it` });
  }
  if (options.vectors !== undefined && addresses[0] !== undefined) {
    throw new InputError('argument VA does not go with --vectors', {
      expected: 'no address: the vector has its own',
      found: `'${addresses[0]}'`,
    });
  }
}

async function walkDump(
  file: string,
  addresses: readonly string[],
  options: Options,
  session: Session,
): Promise<void> {
  if (addresses.length === 0)
    throw new InputError('argument VA is missing', { expected: 'one address or more' });
  const wanted = addresses.map((text) => unsignedWord('argument VA', text));
  const kind = oneOf('option --access', options.access ?? 'read', accesses);
  const { accessOf } = await import('../../arch/x86_64/index.ts');
  const { DumpMmu } = await import('../../conformance/maps/dump-mmu.ts');
  const { walkText } = await import('../../report/walk-text.ts');
  const { dumpHeadText } = await import('../../report/maps-text.ts');
  const dump = await openDump(file, options);
  // A new MMU for each address: a walk is shown whole, not cut short by what the one before left in a cache.
  const walks = wanted.map((address) =>
    new DumpMmu(dump).explain(address, accessOf(kind, options.user === true)),
  );
  if (options.json) {
    session.print(jsonText({ walks }));
    return;
  }
  session.print(dumpHeadText(dump));
  for (const explained of walks)
    session.print(`\n${walkText(explained, { fields: options.brief !== true })}\n`);
}

async function walkVector(file: string, options: Options, session: Session): Promise<void> {
  if (options.id === undefined)
    throw new InputError('option --id is missing', { expected: 'the id of a vector' });
  const { explainVector } = await import('../../conformance/verify/explain-vector.ts');
  const { walkText } = await import('../../report/walk-text.ts');
  const step =
    options.step === undefined ? undefined : wholeNumber('option --step', options.step, 1, 1_000_000);
  const explained = await explainVector(file, options.id, step);
  if (options.json) {
    session.print(jsonText(explained));
    return;
  }
  const { vector, index, operation, state, walk: walked, recorded } = explained;
  const place = vector.steps.length === 1 ? '' : `, step ${index + 1} of ${vector.steps.length}`;
  session.line(`${vector.id}${place}: ${operation}`);
  for (const line of state) session.line(line);
  session.print(`\n${walkText(walked, { fields: options.brief !== true })}\n\nrecorded: ${recorded}\n`);
}
