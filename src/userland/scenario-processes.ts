/**
 * The processes of a run, and what drives a program: its generator is resumed step by step, so that a process that
 * dies inside a call is simply not resumed any more, and what a program throws is told apart from what we throw.
 */

import { InputError } from '../base/input-error.ts';
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../base/task.ts';
import type { TaskStruct } from '../kernel/task-struct.ts';
import { Unsupported } from '../kernel/unsupported.ts';
import {
  AssertionFailure,
  exitCall,
  ProcessContext,
  type ProcessRun,
  returnToUser,
} from './calls/process-context.ts';
import { misspeltCall } from './misspelt-call.ts';
import { mistakeOf } from './mistake.ts';
import { ProcessShare } from './process-share.ts';
import type { Program, Scenario } from './scenario.ts';
import type { Share } from './share.ts';
import type { System } from './system.ts';
import { nearestName } from './units.ts';
import { User } from './user.ts';
import type { WorldView } from './world-view.ts';

export class ScenarioProcesses implements ProcessRun {
  readonly system: System;
  /** In the order in which they were made. */
  readonly contexts: ProcessContext[] = [];
  readonly #share: Share;
  readonly #world: WorldView;
  readonly #file: string | undefined;
  readonly #placement: Readonly<Record<string, number>>;
  /** Names that processes began with. */
  readonly #placed: string[] = [];
  readonly #end = new SharedObject('the end of the run');
  #released = false;
  active: ProcessContext | null = null;

  constructor(system: System, share: Share, world: WorldView, { file, placement }: Scenario) {
    this.system = system;
    this.#share = share;
    this.#world = world;
    this.#file = file;
    this.#placement = placement ?? {};
  }

  /** Makes a process run a program from the start of the run. It keeps its memory until all programs have ended. */
  start(task: TaskStruct, program: Program): void {
    this.#start(task, program, true);
  }

  adopt(task: TaskStruct, program: Program): void {
    this.#start(task, program, false);
  }

  /** Has every program ended? */
  get ended(): boolean {
    return this.contexts.every(({ ended, lingers }) => ended || lingers);
  }

  /** Lets the processes whose programs have ended exit. */
  release(): void {
    this.#released = true;
  }

  #start(task: TaskStruct, program: Program, lingers: boolean): void {
    const context = new ProcessContext(task, this);
    this.contexts.push(context);
    this.#world.add(task);
    this.system.loop.start(task, this.#drive(context, program, lingers));
  }

  /** What a program returned, `undefined` when it did not get there. */
  valueOf(context: ProcessContext): unknown {
    return context.value;
  }

  hasReturned(context: ProcessContext): boolean {
    return context.returned;
  }

  pidOf(name: string): number {
    const context = this.contexts.find(({ task }) => task.name === name);
    if (context === undefined) {
      throw new InputError(`there is no process "${name}"`, {
        expected: this.contexts.map(({ task }) => task.name).join(', '),
      });
    }
    return context.task.pid;
  }

  cpuFor(name: string): number | undefined {
    this.#placed.push(name);
    return this.#placement[name];
  }

  /** What `placement` names and no process was: a child that was not made this time, or a name with a mistake. */
  remarks(): string[] {
    return Object.keys(this.#placement)
      .filter((name) => !this.#placed.includes(name))
      .map((name) => {
        const near = nearestName(name, this.#placed);
        const hint = near === undefined ? '' : `; did you mean "${near}"?`;
        return `"placement" names "${name}", and no process had that name${hint}`;
      });
  }

  childName(parent: string, wanted: string | undefined): string {
    const base = wanted ?? `${parent} child`;
    const taken = new Set(this.contexts.map(({ task }) => task.name));
    let name = base;
    for (let number = 2; taken.has(name); number++) name = `${base} ${number}`;
    return name;
  }

  *#drive(context: ProcessContext, program: Program, lingers: boolean): Task<void> {
    let steps = this.#begin(context, program);
    for (;;) {
      const step = this.#resume(context, steps);
      if (context.dead) {
        context.ended = true;
        return;
      }
      if (context.executes !== null) {
        this.#world.executed(context.task);
        steps = this.#execute(context, context.executes);
        continue;
      }
      if (step.done === true) {
        context.returned = true;
        context.value = step.value;
        this.#world.returned(context.task, step.value);
        break;
      }
      yield step.value;
    }
    if (lingers) yield* this.#linger(context);
    else yield context.enterPoint;
    // A handler that the program has set runs first; then the exit is made.
    while (!context.dead) yield* exitCall(context, 0);
    context.ended = true;
  }

  #execute(context: ProcessContext, program: Program): Task<unknown> {
    context.begin();
    return this.#begin(context, program);
  }

  /** The program is done; its process stays as it is until the run lets it go, or a signal ends it. */
  *#linger(context: ProcessContext): Task<void> {
    const { task } = context;
    const interrupted = (): boolean => task.fatalSignalPending() || task.ptraceTrapPending;
    const ready = (): boolean => this.#released || interrupted();
    context.lingers = true;
    while (!this.#released && !context.dead) {
      yield new SchedPoint(PointKind.Wait, this.#end, 'end of program', StepCost.None, ready);
      yield* returnToUser(context);
    }
  }

  #begin(context: ProcessContext, program: Program): Task<unknown> {
    this.active = context;
    try {
      const steps: unknown = program(new User(context), new ProcessShare(this.#share, context));
      if (typeof (steps as Partial<Task<unknown>> | undefined)?.next === 'function')
        return steps as Task<unknown>;
    } catch (error) {
      throw mistakeOf(`program "${context.task.name}"`, error, this.#file, misspeltCall);
    }
    const hint = new InputError('is not a generator', { expected: `*${context.task.name}(u, share) {…}` });
    throw mistakeOf(`program "${context.task.name}"`, hint, this.#file);
  }

  #resume(
    context: ProcessContext,
    steps: Task<unknown>,
  ): IteratorResult<unknown, unknown> & { value: never } {
    this.active = context;
    try {
      const step = steps.next();
      if (step.done === true) context.checkAllRun('when the program ended');
      return step as never;
    } catch (error) {
      if (error instanceof AssertionFailure || error instanceof Unsupported) throw error;
      if (context.calls > 0 && !(error instanceof InputError)) throw error;
      throw mistakeOf(`program "${context.task.name}"`, error, this.#file, misspeltCall);
    }
  }
}
