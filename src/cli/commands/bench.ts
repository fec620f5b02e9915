/** `tablewalk bench`: experiments that compare costs. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import { COST_PROFILES, type CostProfile } from '../../hardware/cost-profile.ts';
import { DESIGN_NAMES, type DesignName } from '../../kernel/remote/design-names.ts';
import type { RemoteAccessHeading } from '../../report/remote-access-text.ts';
import type { RemoteAccessExperiment } from '../../userland/experiments/remote-access.ts';
import { architectureOption } from '../architecture.ts';
import { jsonText } from '../json.ts';
import { exclusive, oneOf, wholeNumber } from '../option-values.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly arch: string;
  readonly profile?: string;
  readonly designs?: string;
  readonly bytes?: string;
  readonly readers?: string;
  readonly calls?: string;
  readonly write?: boolean;
  readonly protocol?: boolean;
  readonly markdown?: boolean;
  readonly json?: boolean;
}

const MAX_BYTES = 2 ** 24;
const USUAL_CALLS = '200';
const MAX_CALLS = 100_000;
/** One more is for the target. */
const MAX_READERS = 63;

const examples = `
Examples:
  tablewalk bench remote-access
  tablewalk bench remote-access --protocol --designs v4,v5,n1
  tablewalk bench remote-access --designs v0,v4,v5 --bytes 8,64KiB --readers 1,16 --arch arm64`;

export function addBenchCommand(program: Command, session: Session): void {
  const bench = program
    .command('bench')
    .description('experiments that compare costs')
    .usage('EXPERIMENT [options]')
    .helpCommand(false)
    .argument('[experiment]')
    .action((experiment?: string) => {
      const expected = bench.commands.map((command) => command.name()).join(', ');
      throw new InputError('experiment of bench', {
        expected,
        found: experiment === undefined ? 'none' : `'${experiment}'`,
      });
    })
    .addHelpText('after', examples);
  bench
    .command('remote-access')
    .description(
      'the designs of __access_remote_vm side by side: cycles, atomics, look-ups, walks, fallbacks',
    )
    .option('--arch <name>', 'x86_64 or arm64', 'x86_64')
    .option(
      '--profile <name>',
      `what steps cost: ${Object.keys(COST_PROFILES).join(', ')}; default: sapphire-rapids, or neoverse-v2 of arm64`,
    )
    .option('--designs <list>', `of ${DESIGN_NAMES.join(', ')}; default: v0 to v6, with --protocol all`)
    .option('--bytes <list>', 'sizes of transfers; default: 8,4KiB,64KiB,1MiB')
    .option('--readers <list>', 'how many read at the same time; default: 1,2,4,8')
    .option('--calls <n>', `reads of each of them; default: ${USUAL_CALLS}`)
    .option('--write', 'writes in place of reads, where one call is alone')
    .option('--protocol', 'how each design locks, from runs, in place of what it costs')
    .option('--markdown', 'both, as the tables of docs/remote-access.md')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((options: Options) => remoteAccess(options, session));
}

type Experiment = RemoteAccessExperiment & { readonly arch: string };

/** Those that are not wrong on purpose. */
const PROPOSED = DESIGN_NAMES.filter((name) => name.startsWith('v'));

function designsOf({ designs }: Options, usual: readonly DesignName[]): readonly DesignName[] {
  if (designs === undefined) return usual;
  return listOf('--designs', designs, (name): DesignName => oneOf('option --designs', name, DESIGN_NAMES));
}

/** Values between commas, each once. @throws InputError for one that is given again, and as `read` does */
function listOf<T>(option: string, text: string, read: (item: string) => T): readonly T[] {
  const items = text.split(',');
  const values = items.map(read);
  const again = values.findIndex((value, at) => values.indexOf(value) < at);
  if (again < 0) return values;
  throw new InputError(`option ${option}`, { expected: 'each once', found: `'${items[again]}' again` });
}

/** What the options say. @throws InputError for what they cannot */
async function experimentOf(options: Options): Promise<Experiment> {
  const { USUAL_READERS, USUAL_SIZES } = await import('../../userland/experiments/remote-access.ts');
  const { arch } = options;
  const architecture = await architectureOption(arch);
  const profile = options.profile ?? (arch === 'arm64' ? 'neoverse-v2' : 'sapphire-rapids');
  return {
    arch,
    architecture,
    profile: COST_PROFILES[oneOf('option --profile', profile, Object.keys(COST_PROFILES))] as CostProfile,
    designs: designsOf(options, PROPOSED),
    sizes: options.bytes === undefined ? USUAL_SIZES : listOf('--bytes', options.bytes, transferBytes),
    write: options.write === true,
    readers:
      options.readers === undefined
        ? USUAL_READERS
        : listOf('--readers', options.readers, (text) =>
            wholeNumber('option --readers', text, 1, MAX_READERS),
          ),
    callsOfReader: wholeNumber('option --calls', options.calls ?? USUAL_CALLS, 1, MAX_CALLS),
  };
}

/** `8`, `4KiB`: an even number, as the boundary between two VMAs is in its middle. */
function transferBytes(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+)(KiB|MiB)?$/.exec(text) ?? [];
  const bytes = Number(digits) * (unit === 'MiB' ? 2 ** 20 : unit === 'KiB' ? 2 ** 10 : 1);
  if (digits === '' || bytes < 2 || bytes > MAX_BYTES || bytes % 2 !== 0) {
    throw new InputError('option --bytes', {
      expected: 'even numbers of bytes from 2 to 16MiB, such as 8,4KiB',
      found: `'${text}'`,
    });
  }
  return bytes;
}

/** A protocol is no figure: what says how to measure means nothing then. */
function checkProtocolOptions(options: Options): void {
  for (const name of ['profile', 'bytes', 'readers', 'calls', 'write', 'markdown'] as const) {
    if (options[name] !== undefined) exclusive('--protocol', `--${name}`);
  }
}

async function remoteAccess(options: Options, session: Session): Promise<void> {
  if (options.markdown && options.json) exclusive('--markdown', '--json');
  if (options.protocol) checkProtocolOptions(options);
  if (options.markdown) session.print(await markdown(options, session));
  else session.print(await (options.protocol ? protocol : costs)(options, session));
}

/** Runs to the end, or to Ctrl-C: then what there is by then is the result. */
async function toTheEnd<T>(running: Generator<number, T, boolean>, session: Session): Promise<T> {
  let next = running.next(false);
  while (!next.done) {
    session.progress(`${next.value} measurements`);
    await nextTurn();
    next = running.next(session.interruption.aborted);
  }
  return next.value;
}

async function costs(options: Options, session: Session): Promise<string> {
  const experiment = await experimentOf(options);
  const { remoteAccessExperiment } = await import('../../userland/experiments/remote-access.ts');
  const { remoteAccessJson, remoteAccessText } = await import('../../report/remote-access-text.ts');
  const findings = await toTheEnd(remoteAccessExperiment(experiment), session);
  const heading = headingOf(experiment);
  return options.json ? jsonText(remoteAccessJson(findings, heading)) : remoteAccessText(findings, heading);
}

function headingOf(experiment: Experiment): RemoteAccessHeading {
  const { arch, profile, write, callsOfReader } = experiment;
  return { arch, profile: profile.name, write, callsOfReader };
}

async function protocol(options: Options, session: Session): Promise<string> {
  const { lockProtocolExperiment } = await import(
    '../../userland/experiments/lock-protocol/lock-protocol.ts'
  );
  const { lockProtocolJson, lockProtocolText } = await import('../../report/lock-protocol-text.ts');
  const { arch } = options;
  const architecture = await architectureOption(arch);
  const designs = designsOf(options, DESIGN_NAMES);
  const protocols = await toTheEnd(lockProtocolExperiment(architecture, designs), session);
  return options.json ? jsonText(lockProtocolJson(protocols, arch)) : lockProtocolText(protocols, arch);
}

async function markdown(options: Options, session: Session): Promise<string> {
  const experiment = await experimentOf(options);
  const { lockProtocolExperiment } = await import(
    '../../userland/experiments/lock-protocol/lock-protocol.ts'
  );
  const { remoteAccessExperiment } = await import('../../userland/experiments/remote-access.ts');
  const { remoteAccessMarkdown } = await import('../../report/remote-access-markdown.ts');
  const designs = designsOf(options, DESIGN_NAMES);
  const protocols = await toTheEnd(lockProtocolExperiment(experiment.architecture, designs), session);
  const findings = await toTheEnd(remoteAccessExperiment(experiment), session);
  return remoteAccessMarkdown(protocols, findings, headingOf(experiment));
}
