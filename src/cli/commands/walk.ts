/** `tablewalk walk`: one translation explained: of a recorded vector, a real page table, or a scenario's process. */
import type { Command } from 'commander';
import { addDumpOptions } from '../dump-options.ts';
import { oneOf } from '../option-values.ts';
import type { Session } from '../session.ts';
import { accesses, type WalkOptions, walkMode } from '../walk/options.ts';

export function addWalkCommand(program: Command, session: Session): void {
  addDumpOptions(
    program
      .command('walk')
      .description('explain one translation level by level: every entry, every field, the rule that decided')
      .argument('[va...]', 'with --dump and --scenario: virtual addresses'),
  )
    .option('--access <kind>', `with --dump and --scenario: ${accesses.join(', ')}; default: read`)
    .option('--user', 'with --dump and --scenario: an access of user mode')
    .option('--vectors <file>', 'a vector of this file, with --id')
    .option('--id <id>', 'which vector')
    .option('--step <n>', 'with --id of a sequence: which step, from 1; default: its last access')
    .option('--scenario <file>', 'in the address space of a process of this scenario, with --process')
    .option('--process <name>', 'which process')
    .option('--steps <n>', 'with --scenario: after so many steps; default: when the programs have ended')
    .option(
      '--arch <name>',
      'x86_64 or arm64; with --vectors the vector must be of it, with --scenario default: as it says, else x86_64',
    )
    .option('--brief', 'one line for each entry')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((addresses: string[], options: WalkOptions) => walk(addresses, options, session));
}

const examples = `
In a clone of the project, which has vectors and a dump of a Linux kernel:

Examples:
  tablewalk walk --arch x86_64 --vectors test/vectors/x86_64.jsonl.gz --id x86-000001
  tablewalk walk --arch arm64 --vectors test/vectors/arm64.jsonl.gz --id arm64-000000
  tablewalk walk --dump test/real/x86_64-4level-linux6.1.core.gz \\
    --regs test/real/x86_64-4level-linux6.1.regs.json --root target --user 0x401000
  tablewalk walk --dump test/real/arm64-4k-mte-linux6.12.core.gz \\
    --regs test/real/arm64-4k-mte-linux6.12.regs.json --root target --user 0x401000
  tablewalk walk --scenario examples/remote-read.ts --process target --user 0x7ffff7ffe000`;

async function walk(addresses: readonly string[], options: WalkOptions, session: Session): Promise<void> {
  if (options.arch !== undefined) oneOf('option --arch', options.arch, ['x86_64', 'arm64']);
  const mode = walkMode(addresses, options);
  const file = options[mode] as string;
  if (mode === 'vectors') {
    const { walkVector } = await import('../walk/walk-vector.ts');
    await walkVector(file, options, session);
  } else if (mode === 'dump') {
    const { walkDump } = await import('../walk/walk-dump.ts');
    await walkDump(file, addresses, options, session);
  } else {
    const { walkScenario } = await import('../walk/walk-scenario.ts');
    await walkScenario(file, addresses, options, session);
  }
}
