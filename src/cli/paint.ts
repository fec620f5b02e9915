/** Colours of a timeline, where the output is a terminal and NO_COLOR is not set. */
import pc from 'picocolors';
import type { EventKind } from '../hardware/event-sink.ts';

const colours: { readonly [K in EventKind]?: (text: string) => string } = {
  fault: pc.yellow,
  'fault-done': pc.yellow,
  signal: pc.red,
  'syscall-enter': pc.cyan,
  'syscall-exit': pc.cyan,
  walk: pc.dim,
  'tlb-fill': pc.dim,
  'tlb-flush': pc.magenta,
  'interrupt-send': pc.magenta,
  'interrupt-take': pc.magenta,
  'interrupt-done': pc.magenta,
  'lock-wait': pc.red,
  note: pc.bold,
};

export function eventPaint(): (kind: EventKind, text: string) => string {
  return (kind, text) => colours[kind]?.(text) ?? text;
}
