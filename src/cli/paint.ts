/** Colours of a timeline by kind of event. */
import type { EventKind } from '../hardware/event-sink.ts';
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
