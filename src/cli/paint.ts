/** Colours of a timeline by kind of event. */
import type { EventKind } from '../hardware/event-sink.ts';
import type { SchedulePaintKind } from '../report/schedule-timeline.ts';
import type { Colours } from './session.ts';

const colourOf: { readonly [K in EventKind]?: 'yellow' | 'red' | 'cyan' | 'dim' | 'magenta' | 'bold' } = {
  fault: 'yellow',
  'fault-done': 'yellow',
  signal: 'red',
  'syscall-enter': 'cyan',
  'syscall-exit': 'cyan',
  walk: 'dim',
  'tlb-fill': 'dim',
  'tlb-flush': 'magenta',
  'interrupt-send': 'magenta',
  'interrupt-take': 'magenta',
  'interrupt-done': 'magenta',
  'lock-wait': 'red',
  lockdep: 'red',
  warning: 'red',
  'vma-lock': 'yellow',
  'userfault-wait': 'red',
  'swap-out': 'yellow',
  'swap-in': 'yellow',
  note: 'bold',
};

export function eventPaint(colours: Colours): (kind: EventKind, text: string) => string {
  return (kind, text) => {
    const colour = colourOf[kind];
    return colour === undefined ? text : colours[colour](text);
  };
}

const colourOfLine: { readonly [K in SchedulePaintKind]?: 'yellow' | 'red' | 'dim' | 'bold' | 'magenta' } = {
  switch: 'yellow',
  found: 'red',
  wait: 'red',
  elided: 'dim',
  rule: 'dim',
  head: 'bold',
  task: 'bold',
  hardware: 'magenta',
};

/** Colours of the picture of a schedule: events as in timelines. */
export function schedulePaint(
  colours: Colours,
): (kind: SchedulePaintKind, text: string, event: EventKind | null) => string {
  const events = eventPaint(colours);
  return (kind, text, event) => {
    if (event !== null) return events(event, text);
    const colour = colourOfLine[kind];
    return colour === undefined ? text : colours[colour](text);
  };
}
