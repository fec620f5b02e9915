/** The options of `walk`: three ways to say what is walked, each with options of its own. */
import { InputError } from '../../base/input-error.ts';
import type { DumpOptions } from '../dump-options.ts';
import { exclusive, oneOf, unsignedWord } from '../option-values.ts';

export interface WalkOptions extends DumpOptions {
  readonly arch?: string;
  readonly vectors?: string;
  readonly id?: string;
  readonly step?: string;
  readonly scenario?: string;
  readonly process?: string;
  readonly steps?: string;
  readonly access?: string;
  readonly user?: boolean;
  readonly brief?: boolean;
  readonly json?: boolean;
}

export const accesses = ['read', 'write', 'fetch'] as const;
export type AccessName = (typeof accesses)[number];

const modes = ['vectors', 'dump', 'scenario'] as const;
export type WalkMode = (typeof modes)[number];

/** Which options go with one mode only. */
const own: Readonly<Record<WalkMode, readonly (keyof WalkOptions)[]>> = {
  vectors: ['id', 'step'],
  dump: ['regs', 'root', 'cr3', 'ttbr0', 'ttbr1', 'cpu'],
  scenario: ['process', 'steps'],
};
/** Which options say what the access is; a vector says it itself. */
const accessOptions = ['access', 'user'] as const;

/** The way that was chosen. An option of another way would be ignored: that is a mistake, not a wish. */
export function walkMode(addresses: readonly string[], options: WalkOptions): WalkMode {
  const given = modes.filter((mode) => options[mode] !== undefined);
  if (given.length > 1) exclusive(`--${given[0]}`, `--${given[1]}`);
  const mode = given[0];
  if (mode === undefined) {
    throw new InputError('nothing to walk', {
      expected: '--vectors FILE --id ID, --dump CORE VA… or --scenario FILE --process NAME VA…',
    });
  }
  for (const other of modes) {
    const stray = other === mode ? undefined : own[other].find((name) => options[name] !== undefined);
    if (stray !== undefined) {
      throw new InputError(`option --${stray} does not go with --${mode}`, {
        expected: `--${other} with it`,
      });
    }
  }
  if (mode === 'vectors') checkVectorOptions(addresses, options);
  return mode;
}

function checkVectorOptions(addresses: readonly string[], options: WalkOptions): void {
  const stray = accessOptions.find((name) => options[name] !== undefined);
  if (stray !== undefined) {
    throw new InputError(`option --${stray} does not go with --vectors`, { expected: '--dump with it' });
  }
  if (addresses[0] === undefined) return;
  throw new InputError('argument VA does not go with --vectors', {
    expected: 'no address: the vector has its own',
    found: `'${addresses[0]}'`,
  });
}

/** The addresses and the access that `--dump` and `--scenario` walk. */
export function wantedAccess(
  addresses: readonly string[],
  options: WalkOptions,
): { readonly addresses: readonly bigint[]; readonly kind: AccessName } {
  if (addresses.length === 0) {
    throw new InputError('argument VA is missing', { expected: 'one address or more' });
  }
  return {
    addresses: addresses.map((text) => unsignedWord('argument VA', text)),
    kind: oneOf('option --access', options.access ?? 'read', accesses),
  };
}
