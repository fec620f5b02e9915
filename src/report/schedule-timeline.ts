/**
 * A schedule as a picture: a column for each CPU, time going down, one line for a step, a call or an interrupt; a line
 * across where the schedule takes the turn away from somebody who could have gone on. Where CPUs are too many for the
 * width, one column, and each line names its CPU.
 */
import type { EventKind } from '../hardware/event-sink.ts';
import {
  type RowKind,
  type ScheduleTimeline,
  type TimelineRow,
  timelineRows,
} from './schedule-timeline-rows.ts';
import { wrapped } from './timeline-text.ts';

/** What a piece of text is, for colours. */
export type SchedulePaintKind = RowKind | 'switch' | 'found' | 'head' | 'rule';

export type { ScheduleTimeline } from './schedule-timeline-rows.ts';

export interface ScheduleTimelineOptions {
  /** Characters a line may have; default 120. */
  readonly width?: number;
  /** Colours, for a terminal; default none. `event` is the kind of event that a line tells of. */
  readonly paint?: (kind: SchedulePaintKind, text: string, event: EventKind | null) => string;
}

export const DEFAULT_WIDTH = 120;
/** Less, and a column holds no line of a function and an object. */
const LEAST_COLUMN = 34;
/** Columns of this width have room for a column of objects. */
const ROOMY = 48;
const STEP_WIDTH = 5;
const GAP = '  ';
const BORDER = ' │ ';

/** Lines without a final newline. */
export function scheduleTimelineText(
  timeline: ScheduleTimeline,
  options: ScheduleTimelineOptions = {},
): string {
  const picture = new Picture(timeline.cpus, options);
  const rows = timelineRows(timeline);
  return [...picture.head(tasksByCpu(timeline)), ...rows.flatMap((row) => picture.row(row))].join('\n');
}

/** Who was seen on each CPU, in the order of their first steps. */
function tasksByCpu({ cpus, steps }: ScheduleTimeline): string[][] {
  const names = Array.from({ length: cpus }, () => new Set<string>());
  for (const { cpu, task } of steps) if (task !== null) names[cpu]?.add(task);
  return names.map((set) => [...set]);
}

class Picture {
  readonly #width: number;
  readonly #columns: number;
  /** One column for several CPUs. */
  readonly #lanes: boolean;
  readonly #column: number;
  readonly #paint: NonNullable<ScheduleTimelineOptions['paint']>;

  constructor(cpus: number, { width = DEFAULT_WIDTH, paint = (_, text) => text }: ScheduleTimelineOptions) {
    const free = width - STEP_WIDTH - GAP.length;
    const column = Math.floor((free - (cpus - 1) * BORDER.length) / cpus);
    this.#width = width;
    this.#columns = column >= LEAST_COLUMN ? cpus : 1;
    this.#lanes = this.#columns < cpus;
    this.#column = this.#columns === 1 ? free : column;
    this.#paint = paint;
  }

  head(tasks: readonly (readonly string[])[]): string[] {
    const lead = `${'step'.padStart(STEP_WIDTH)}${GAP}`;
    const titles = this.#lanes ? ['CPU  what it does'] : tasks.map((names, cpu) => title(cpu, names));
    const cells = titles.map((text) => text.slice(0, this.#column).padEnd(this.#column));
    const rule = cells.map(() => '─'.repeat(this.#column)).join('─┼─');
    return [
      this.#paint('head', `${lead}${cells.join(BORDER)}`.trimEnd(), null),
      this.#paint('rule', `${'─'.repeat(STEP_WIDTH)}${'─'.repeat(GAP.length)}${rule}`, null),
    ];
  }

  row(row: TimelineRow): string[] {
    return isAcross(row) ? [this.#across(row)] : this.#line(row);
  }

  #line(row: LineRow): string[] {
    const lane = this.#lanes ? `${String(row.cpu).padStart(3)}  ` : '';
    const text = row.kind === 'task' ? `▸ ${row.text}` : row.kind === 'event' ? row.text : `  ${row.text}`;
    // Where there is little room, objects need not stand below each other.
    const fitted = this.#column < ROOMY ? text.replace(/(\S) {2,}/, '$1  ') : text;
    return wrapped(fitted, this.#column - lane.length).map((line, index) => {
      const number = index === 0 && row.step !== null ? String(row.step) : '';
      const lead = `${number.padStart(STEP_WIDTH)}${GAP}${index === 0 ? lane : ' '.repeat(lane.length)}`;
      const painted = this.#paint(row.kind, line, row.event);
      if (this.#columns === 1) return `${lead}${painted}`;
      const cells = Array.from({ length: this.#columns }, () => ' '.repeat(this.#column));
      cells[row.cpu] = painted + ' '.repeat(Math.max(0, this.#column - line.length));
      return `${lead}${cells.join(BORDER)}`.trimEnd();
    });
  }

  /** The arrow stands in the column of who goes on, or of who made the step in which something is found. */
  #across({ kind, cpu, text }: AcrossRow): string {
    const [arrow, line] = kind === 'switch' ? ['▼', '╌'] : ['▲', '═'];
    const words = `${arrow}${line} ${text} `;
    const column = STEP_WIDTH + GAP.length + (this.#columns === 1 ? 0 : cpu * (this.#column + BORDER.length));
    const at = Math.max(0, Math.min(column, this.#width - words.length - 1));
    const whole = `${line.repeat(at)}${words}`.slice(0, this.#width).padEnd(this.#width, line);
    return this.#paint(kind, whole, null);
  }
}

type AcrossRow = Extract<TimelineRow, { readonly kind: 'switch' | 'found' }>;
type LineRow = Exclude<TimelineRow, AcrossRow>;

const isAcross = (row: TimelineRow): row is AcrossRow => row.kind === 'switch' || row.kind === 'found';

const title = (cpu: number, names: readonly string[]): string =>
  names.length === 0 ? `CPU ${cpu}` : `CPU ${cpu}: ${names.join(', ')}`;
