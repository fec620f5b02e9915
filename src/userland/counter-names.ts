/** What `WorldView.counter` can be asked for. */
import type { EventKind } from '../hardware/event-sink.ts';
import { nearestName } from './units.ts';

/** Every kind of event; the type holds the list against the events that there are. */
const EVENT_KINDS: Readonly<Record<EventKind, true>> = {
  fault: true,
  'fault-done': true,
  'fork-copy': true,
  'interrupt-done': true,
  'interrupt-send': true,
  'interrupt-take': true,
  'lock-acquire': true,
  'lock-wait': true,
  lockdep: true,
  note: true,
  signal: true,
  'swap-in': true,
  'swap-out': true,
  'syscall-enter': true,
  'syscall-exit': true,
  'tag-check': true,
  'tag-instruction': true,
  'task-finish': true,
  'task-start': true,
  'task-switch': true,
  'thp-collapse': true,
  'thp-fault': true,
  'thp-split': true,
  'tlb-fill': true,
  'tlb-flush': true,
  'user-access': true,
  'userfault-done': true,
  'userfault-wait': true,
  'vma-lock': true,
  walk: true,
  warning: true,
};

/** What is counted elsewhere: steps of the run, tables and frames of the machine, faults by what became of VMA locks. */
const OTHER_COUNTERS = [
  'steps',
  'page-tables',
  'free-frames',
  'numa-hint-faults',
  'numa-pte-updates',
  'pins-acquired',
  'pins-released',
  'vma-lock-success',
  'vma-lock-retry',
  'vma-lock-abort',
  'vma-lock-miss',
] as const;

export const COUNTER_NAMES: ReadonlySet<string> = new Set([...Object.keys(EVENT_KINDS), ...OTHER_COUNTERS]);

/** What is wrong with the name of a counter, and what may stand there; null for one that there is. */
export function counterMistake(name: string): { readonly text: string; readonly expected: string } | null {
  if (COUNTER_NAMES.has(name)) return null;
  const names = [...COUNTER_NAMES];
  const near = nearestName(name, names);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return { text: `there is no counter "${name}"${hint}`, expected: `one of ${names.join(', ')}` };
}
