/**
 * Which lines the picture of a schedule has: what programs ask for and get, what the hardware does, where the schedule
 * takes the turn away from somebody, and of the steps between those that more than one of the tasks have to do with.
 * The rest is counted.
 */
import type { MachineEvent } from '../hardware/event-sink.ts';
import type { StandingTask } from '../userland/explore/explored-runs.ts';
import type { TracedStep } from '../userland/explore/traced-run.ts';
import { eventText } from './timeline-text.ts';

/** A run, and what its picture is to be about. */
export interface ScheduleTimeline {
  readonly cpus: number;
  readonly arch: string;
  readonly steps: readonly TracedStep[];
  readonly events: readonly MachineEvent[];
  /** Names of objects whose every step is shown. */
  readonly objects: readonly string[];
  /** Who waits for what at the end, in a deadlock. */
  readonly waits: readonly TimelineWait[];
  /** What tasks that were not at their ends would have done next. */
  readonly stands: readonly StandingTask[];
  /** What is found at the end; null when nothing is. */
  readonly found: string | null;
  /** Every step is shown. */
  readonly all: boolean;
}

interface TimelineWait {
  readonly task: string;
  readonly cpu: number;
  readonly operation: string;
  readonly object: string;
  /** Who holds it, and how. */
  readonly holders: readonly { readonly name: string; readonly mode: string }[];
}

export type RowKind = 'step' | 'event' | 'elided' | 'task' | 'wait' | 'hardware';

export type TimelineRow =
  | {
      readonly kind: RowKind;
      readonly cpu: number;
      /** Number of the step, from 1; null where the line is about none or about several. */
      readonly step: number | null;
      readonly text: string;
      /** Of the event, where it is one. */
      readonly event: MachineEvent['kind'] | null;
    }
  /** A line across: the schedule takes the turn from one and gives it to another, or what is found is found. */
  | { readonly kind: 'switch' | 'found'; readonly cpu: number; readonly text: string };

/** Above so many lines, steps on objects that only the tasks have in common are left out as well. */
const MANY_ROWS = 90;
/** So few steps are shown rather than counted. */
const FEW_STEPS = 2;
/** Say nothing that the lines around do not. */
const SILENT_EVENTS: ReadonlySet<MachineEvent['kind']> = new Set([
  'task-start',
  'task-switch',
  'lock-acquire',
  'walk',
]);

export function timelineRows(timeline: ScheduleTimeline): TimelineRow[] {
  const begin = firstTurn(timeline.steps);
  const rows = new RowBuilder(timeline, begin, sharedObjects(timeline.steps, begin)).rows();
  return timeline.all || rows.length <= MANY_ROWS ? rows : new RowBuilder(timeline, begin, new Set()).rows();
}

/** Index of the first step that the schedule has put before one that could have been made instead. */
const firstTurn = (steps: readonly TracedStep[]): number =>
  Math.max(
    0,
    steps.findIndex(({ preempts }) => preempts),
  );

/** What more than one of them touches from there on, and one of them not only to look. */
function sharedObjects(steps: readonly TracedStep[], begin: number): Set<string> {
  const users = new Map<string, Set<string>>();
  const written = new Set<string>();
  for (const step of steps.slice(begin)) {
    if (step.inside?.startsWith(SWITCH) === true) continue;
    const before = users.get(step.object) ?? new Set();
    users.set(step.object, before.add(actorOf(step)));
    if (step.access !== 'read') written.add(step.object);
  }
  return new Set([...written].filter((object) => (users.get(object) as Set<string>).size > 1));
}

/** How the paths of context switches are called. */
const SWITCH = 'switch to ';

/** A task, or a CPU that works on its own account. */
const actorOf = ({ task, cpu }: TracedStep): string => task ?? `CPU ${cpu}`;

class RowBuilder {
  readonly #timeline: ScheduleTimeline;
  readonly #begin: number;
  readonly #shown: ReadonlySet<string>;
  readonly #rows: TimelineRow[] = [];
  readonly #taskOf = new Map<number, string>();
  /** Steps not shown so far, all of one CPU. */
  #pending: { readonly step: TracedStep; readonly number: number }[] = [];
  #switches = 0;

  /** @param shared objects whose steps are shown from step `begin` on; those of the finding always are */
  constructor(timeline: ScheduleTimeline, begin: number, shared: ReadonlySet<string>) {
    this.#timeline = timeline;
    this.#begin = begin;
    this.#shown = shared;
  }

  rows(): TimelineRow[] {
    const { steps, waits, found } = this.#timeline;
    for (let index = 0; index < steps.length; index++) this.#step(steps[index] as TracedStep, index);
    this.#flush();
    for (const wait of waits) this.#add('wait', wait.cpu, null, waitText(wait));
    const last = steps[steps.length - 1];
    if (found !== null) this.#rows.push({ kind: 'found', cpu: last?.cpu ?? 0, text: found });
    return this.#rows;
  }

  #step(step: TracedStep, index: number): void {
    if (step.cpu !== this.#pending[0]?.step.cpu || step.preempts) this.#flush();
    this.#turn(step, index);
    if (step.preempts) this.#switch(step, index);
    this.#task(step);
    const events = this.#eventsOf(index);
    const shown = this.#isShown(step, index);
    if (shown || events.length > 0) this.#flush();
    if (shown && !repeatsEvent(step, events)) this.#add(stepKind(step), step.cpu, index + 1, stepText(step));
    else if (events.length === 0) this.#pending.push({ step, number: index + 1 });
    for (const event of events) this.#event(event, index + 1);
  }

  #isShown(step: TracedStep, index: number): boolean {
    const { steps, objects, all } = this.#timeline;
    if (all || step.kind !== 'step' || index === steps.length - 1 || objects.includes(step.object))
      return true;
    if (step.frames.some((frame) => objects.includes(frame))) return true;
    return index >= this.#begin && this.#shown.has(step.object) && !step.inside?.startsWith(SWITCH);
  }

  /** Whoever made the step before does not go on though nobody took the turn away: it waits, if it has not ended. */
  #turn(step: TracedStep, index: number): void {
    const { steps } = this.#timeline;
    const before = steps[index - 1];
    if (before === undefined || step.preempts || actorOf(before) === actorOf(step)) return;
    const next = steps.find((later, at) => at > index && actorOf(later) === actorOf(before));
    if (next?.access !== 'wait' || next.inside !== null) return;
    this.#add('wait', before.cpu, null, `waits: ${next.operation}  ${next.object}`);
  }

  #switch(step: TracedStep, index: number): void {
    const { steps } = this.#timeline;
    const before = steps[index - 1] as TracedStep;
    const next = steps.findIndex((later, at) => at > index && actorOf(later) === actorOf(before));
    const at = next < 0 ? this.#stand(actorOf(before)) : ` before ${this.#upcoming(next)}`;
    const text = `switch ${++this.#switches}: ${actorOf(before)} stops${at}`;
    this.#rows.push({ kind: 'switch', cpu: step.cpu, text });
  }

  /** Where somebody stood that made no step any more. */
  #stand(actor: string): string {
    const stand = this.#timeline.stands.find(({ task }) => task === actor);
    return stand === undefined ? '' : ` before ${upcomingText(stand)}`;
  }

  /** What a step is about to do. */
  #upcoming(index: number): string {
    const call = this.#eventsOf(index).find(({ kind }) => kind === 'syscall-enter');
    if (call?.kind === 'syscall-enter') return `the call ${call.name}`;
    return upcomingText(this.#timeline.steps[index] as TracedStep);
  }

  #task({ task, cpu }: TracedStep): void {
    if (task === null || this.#taskOf.get(cpu) === task) return;
    this.#flush();
    this.#taskOf.set(cpu, task);
    this.#add('task', cpu, null, task);
  }

  #eventsOf(index: number): MachineEvent[] {
    const { steps, events } = this.#timeline;
    const first = (steps[index] as TracedStep).firstEvent;
    return events.slice(first, steps[index + 1]?.firstEvent).filter((event) => this.#isTold(event));
  }

  /** Of what TLBs take up, only what the finding is about. */
  #isTold(event: MachineEvent): boolean {
    const { objects, all } = this.#timeline;
    if (event.kind !== 'tlb-fill') return !SILENT_EVENTS.has(event.kind);
    return all || objects.includes(`frame 0x${event.frame.toString(16)}`);
  }

  #event(event: MachineEvent, number: number): void {
    const task = 'task' in event ? event.task : null;
    for (const text of eventText(event, { arch: this.#timeline.arch })) {
      const own = task !== null && this.#taskOf.get(event.cpu) === task;
      // Who waits for a lock is in the kernel: among its steps.
      const lead = event.kind === 'lock-wait' ? '  ' : '';
      this.#add('event', event.cpu, number, lead + (own ? withoutName(text, task) : text), event.kind);
    }
  }

  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    if (pending.length <= FEW_STEPS) {
      for (const { step, number } of pending) this.#add('step', step.cpu, number, stepText(step));
      return;
    }
    const [first] = pending;
    if (first !== undefined) this.#add('elided', first.step.cpu, null, `… ${pending.length} steps alone …`);
  }

  #add(
    kind: RowKind,
    cpu: number,
    step: number | null,
    text: string,
    event: MachineEvent['kind'] | null = null,
  ): void {
    this.#rows.push({ kind, cpu, step, text, event });
  }
}

/** `mmap(…)` says more than that there is a system call. */
const repeatsEvent = ({ operation }: TracedStep, events: readonly MachineEvent[]): boolean =>
  events.length > 0 && (operation === 'syscall' || operation === 'user access');

const upcomingText = ({ operation, object }: Pick<TracedStep, 'operation' | 'object'>): string =>
  operation === 'user access' ? 'an access to memory' : `${operation} of ${object}`;

const stepKind = ({ kind }: TracedStep): RowKind => (kind === 'step' ? 'step' : 'hardware');

function waitText({ operation, object, holders }: TimelineWait): string {
  const held = holders.map(({ name, mode }) => `${name} (${mode})`).join(', ');
  return `WAITS: ${operation}  ${object}${held === '' ? '' : `, held by ${held}`}`;
}

/** Operations are padded, so that objects stand below each other. */
const OPERATION_WIDTH = 18;

function stepText({ kind, operation, object, inside }: TracedStep): string {
  if (kind === 'interrupt') return `takes the interrupt: ${operation}`;
  if (kind === 'hardware') return `by itself: ${operation}  ${object}`;
  const text = `${operation.padEnd(OPERATION_WIDTH)} ${object}`;
  return inside === null ? text : `  ${text}`;
}

/** `first: mmap(…)` in the column of `first`. */
function withoutName(text: string, task: string): string {
  const trimmed = text.trimStart();
  for (const lead of [`${task}: `, `${task} `]) {
    if (trimmed.startsWith(lead)) return trimmed.slice(lead.length);
  }
  return text;
}
