/** The first tasks of a run: the programs of the scenario, each on its CPU, and the kernel threads that it asks for. */
import { InputError } from '../base/input-error.ts';
import { khugepagedThread } from '../kernel/mm/thp/khugepaged-thread.ts';
import { rootCredentials } from '../kernel/process/credentials.ts';
import { createTask } from '../kernel/process/fork.ts';
import type { MachineSettings } from './machine-settings.ts';
import type { Scenario } from './scenario.ts';
import type { ScenarioProcesses } from './scenario-processes.ts';
import type { System } from './system.ts';

/** Programs first: their pids do not depend on the others. @throws InputError for a CPU that is not there */
export function startTasks(
  scenario: Scenario,
  settings: MachineSettings,
  system: System,
  processes: ScenarioProcesses,
): void {
  const cpus = system.machine.cpus.length;
  let index = 0;
  for (const [name, program] of Object.entries(scenario.programs)) {
    const cpu = processes.cpuFor(name) ?? index % cpus;
    if (cpu >= cpus) throw new InputError(`"${name}" is placed on CPU ${cpu} of ${cpus}`);
    processes.start(system.createProcess(name, cpu, rootCredentials()), program);
    index++;
  }
  if (settings.khugepaged === true) startKhugepaged(system, cpus - 1);
}

/** In the background: it does not keep a run from ending. */
function startKhugepaged({ kernel, loop }: System, cpu: number): void {
  const task = createTask(kernel, null, rootCredentials(), 'khugepaged', cpu);
  task.background = true;
  loop.start(task, khugepagedThread(task));
}
