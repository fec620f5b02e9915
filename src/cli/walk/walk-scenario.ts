/** `tablewalk walk --scenario`: in the address space of a process, as a scenario leaves it or after some steps. */

import { accessOf } from '../../arch/access.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import type { KernelArchitecture } from '../../arch/kernel-architecture.ts';
import { InputError } from '../../base/input-error.ts';
import type { System } from '../../userland/system.ts';
import { architectureOption, scenarioArchitecture } from '../architecture.ts';
import { jsonText } from '../json.ts';
import { wholeNumber } from '../option-values.ts';
import type { Session } from '../session.ts';
import { type WalkOptions, wantedAccess } from './options.ts';

export async function walkScenario(
  file: string,
  arguments_: readonly string[],
  options: WalkOptions,
  session: Session,
): Promise<void> {
  const name = options.process;
  if (name === undefined) {
    throw new InputError('option --process is missing', {
      expected: 'the name of a program of the scenario',
    });
  }
  const wanted = wantedAccess(arguments_, options);
  const { loadScenario } = await import('../load-scenario.ts');
  const { runScenario } = await import('../../userland/run-scenario.ts');
  const { walkText } = await import('../../report/walk-text.ts');
  const { walkJson } = await import('../../report/walk-json.ts');
  const access = accessOf(wanted.kind, options.user === true);
  const asked = options.arch === undefined ? null : await architectureOption(options.arch);
  const scenario = await loadScenario(file);
  const architecture = await scenarioArchitecture(asked, scenario);
  const explain = explainer(architecture, name, wanted.addresses, access, file);
  const walks: ExplainedWalk[] = [];
  const { outcome, steps } = runScenario(scenario, {
    architecture,
    atEnd: (system) => walks.push(...explain(system)),
    ...(options.steps === undefined
      ? {}
      : { maxSteps: wholeNumber('option --steps', options.steps, 1, Number.MAX_SAFE_INTEGER) }),
  });
  if (walks.length === 0) session.nothingChecked(`${file}: the run ended before anything could be walked`);
  if (options.json) session.print(jsonText({ outcome, steps, walks: walks.map(walkJson) }));
  else {
    session.line(`${scenario.title}: process ${name} after ${steps} steps (${outcome.kind})`);
    for (const walk of walks) session.print(`\n${walkText(walk, { fields: options.brief !== true })}\n`);
  }
}

function explainer(
  architecture: KernelArchitecture,
  name: string,
  addresses: readonly bigint[],
  access: number,
  file: string,
): (system: System) => ExplainedWalk[] {
  return ({ kernel }) => {
    const { arch } = kernel;
    const tasks = [...kernel.tasks.values()];
    const task = tasks.find((candidate) => candidate.name === name);
    const context = task?.mm?.context ?? null;
    if (task === undefined || context === null) {
      throw new InputError(`no process "${name}" with memory`, {
        file,
        expected: tasks.flatMap((candidate) => (candidate.mm === null ? [] : [candidate.name])).join(', '),
        found: name,
      });
    }
    return addresses.map((address) =>
      architecture.explainInContext(arch, task.cpu, context, address, access),
    );
  };
}
