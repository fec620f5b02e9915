/** A command line that does the same once more: the options that were given, but some, and others. */
import type { Command, Option } from 'commander';

/**
 * @param leftOut names of options that are not repeated, as commander names their values
 * @param added put at the end
 */
export function commandLine(
  command: Command,
  argument: string,
  leftOut: readonly string[],
  added: readonly string[],
): string {
  const given = command.options.filter((option) => {
    const name = option.attributeName();
    return !leftOut.includes(name) && command.getOptionValueSource(name) === 'cli';
  });
  const words = given.flatMap((option) => wordsOf(option, command.getOptionValue(option.attributeName())));
  return [program, command.name(), ...[argument, ...words, ...added].map(quoted)].join(' ');
}

/** How the command is called: in a clone it is a script of the package. */
const program = import.meta.url.endsWith('.ts') ? 'npm run -s tablewalk --' : 'tablewalk';

/** An option and its `--no-` form share a value. */
function wordsOf({ long, negate }: Option, value: unknown): string[] {
  const flag = long ?? '';
  if (typeof value === 'boolean') return value === negate ? [] : [flag];
  return (Array.isArray(value) ? value : [value]).flatMap((item) => [flag, String(item)]);
}

const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
