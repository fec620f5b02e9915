/** `tablewalk decode`: one entry or register value, field by field. */
import type { Command } from 'commander';
import type { DecodeKind, DecodeOptions } from '../../arch/decode-kind.ts';
import { InputError } from '../../base/input-error.ts';
import { nearestName } from '../../userland/units.ts';
import { jsonText } from '../json.ts';
import { oneOf, unsignedWord, wholeNumber } from '../option-values.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly maxphyaddr?: string;
  readonly nxe: boolean;
  readonly pcide?: boolean;
  readonly vendor?: string;
  readonly granule?: string;
  readonly level?: string;
  readonly lpa?: boolean;
  readonly pie?: boolean;
  readonly json?: boolean;
}

export function addDecodeCommand(program: Command, session: Session): void {
  program
    .command('decode')
    .description('explain an entry or register value, every field named')
    .argument('[kind]', 'what the value is; without it the kinds are listed')
    .argument('[value]', 'decimal, or hexadecimal after 0x')
    .option('--maxphyaddr <bits>', 'x86-64: physical address width, 32 to 52')
    .option('--no-nxe', 'x86-64: as with IA32_EFER.NXE = 0')
    .option('--pcide', 'x86-64: as with CR4.PCIDE = 1 (cr3)')
    .option('--vendor <name>', 'x86-64: intel or amd')
    .option('--granule <size>', 'arm64: 4k, 16k or 64k')
    .option('--level <n>', 'arm64: lookup level, -1 to 3 (write --level=-1)')
    .option('--lpa', 'arm64: 52-bit addresses (FEAT_LPA; FEAT_LPA2 with 4k and 16k)')
    .option('--pie', 'arm64: permissions by index, as with TCR2_ELx.PIE = 1 (FEAT_S1PIE)')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((kind: string | undefined, value: string | undefined, options: Options) =>
      decode(kind, value, options, session),
    );
}

const examples = `
Examples:
  tablewalk decode x86_64.pte 0x8000000012345067
  tablewalk decode pf-error 0x7
  tablewalk decode arm64.descriptor --granule 16k --level 2 0x60000040000f45`;

async function decode(
  kind: string | undefined,
  value: string | undefined,
  options: Options,
  session: Session,
): Promise<void> {
  const { DECODE_KINDS, decodeWord } = await import('../../arch/registry-decode-kinds.ts');
  if (kind === undefined) {
    listKinds(DECODE_KINDS, options, session);
    return;
  }
  if (value === undefined) {
    throw new InputError('argument value is missing', { expected: 'a number after the kind' });
  }
  const given = decodeOptions(options);
  const known = kindOf(kind, DECODE_KINDS);
  checkOptions(known, given);
  const decoded = decodeWord(known.name, unsignedWord('argument value', value, 128), given);
  const { decodeText } = await import('../../report/decode-text.ts');
  session.print(options.json ? jsonText(decoded) : `${decodeText(decoded)}\n`);
}

/** The kind of that name, or the only one whose name ends so: `pte` is x86_64.pte. */
function kindOf(text: string, kinds: readonly DecodeKind[]): DecodeKind {
  const wanted = text.toLowerCase();
  const exact = kinds.find(({ name }) => name === wanted);
  if (exact !== undefined) return exact;
  const [only, ...more] = kinds.filter(({ name }) => name.endsWith(`.${wanted}`));
  if (only !== undefined && more.length === 0) return only;
  const names = kinds.map(({ name }) => name);
  const near = only === undefined ? nearestName(wanted, names) : undefined;
  const hint = near === undefined ? '' : `; did you mean '${near}'?`;
  const several = [only, ...more].map((kind) => kind?.name).join(', ');
  throw new InputError(`unknown kind of word '${text}'${hint}`, {
    expected: only === undefined ? "one of those that 'tablewalk decode' lists" : `one of ${several}`,
  });
}

function listKinds(kinds: readonly DecodeKind[], { json }: Options, session: Session): void {
  if (json) {
    session.print(jsonText({ kinds: kinds.map(({ name, summary }) => ({ name, summary })) }));
    return;
  }
  const width = Math.max(...kinds.map(({ name }) => name.length));
  for (const { name, summary } of kinds) session.line(`${name.padEnd(width)}  ${summary}`);
}

/** An option that the kind does not look at would be ignored: that is a mistake, not a wish. */
function checkOptions({ name, options }: DecodeKind, given: DecodeOptions): void {
  const names = Object.keys(given) as (keyof DecodeOptions)[];
  const foreign = names.find((option) => !options.includes(option));
  if (foreign === undefined) return;
  throw new InputError(`option --${optionNames[foreign]} says nothing about ${name}`, {
    expected: options.map((option) => `--${optionNames[option]}`).join(', ') || 'no option',
  });
}

const optionNames: { readonly [K in keyof Required<DecodeOptions>]: string } = {
  maxPhysAddr: 'maxphyaddr',
  nxe: 'no-nxe',
  pcide: 'pcide',
  vendor: 'vendor',
  granule: 'granule',
  level: 'level',
  lpa: 'lpa',
  pie: 'pie',
};

function decodeOptions(options: Options): DecodeOptions {
  const { maxphyaddr, vendor, granule, level } = options;
  return {
    ...(options.nxe ? {} : { nxe: false }),
    ...(options.pcide ? { pcide: true } : {}),
    ...(options.lpa ? { lpa: true } : {}),
    ...(options.pie ? { pie: true } : {}),
    ...(maxphyaddr === undefined
      ? {}
      : { maxPhysAddr: wholeNumber('option --maxphyaddr', maxphyaddr, 32, 52) }),
    ...(vendor === undefined ? {} : { vendor: oneOf('option --vendor', vendor, ['intel', 'amd']) }),
    ...(granule === undefined
      ? {}
      : { granule: oneOf('option --granule', granule.toLowerCase(), ['4k', '16k', '64k']) }),
    ...(level === undefined ? {} : { level: wholeNumber('option --level', level, -1, 3) }),
  };
}
