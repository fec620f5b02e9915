/**
 * A step that was tried at a choice before another one was. As long as nothing that happens instead conflicts with it, to
 * make it later is the same as to have made it then, and it sleeps: it is not chosen.
 * @see Godefroid, "Partial-order methods for the verification of concurrent systems", LNCS 1032, 1996: sleep sets
 */
import type { Trace } from './trace.ts';

/** Plain JSON. */
export interface Sleeper {
  readonly code: number;
  readonly cpu: number;
  readonly everything: boolean;
  readonly keys: readonly number[];
  readonly writes: readonly number[];
}

/** Step `step` of the trace as a sleeper. @param code of the candidate that it was */
export function sleeperOf(trace: Trace, step: number, code: number): Sleeper {
  const start = trace.starts[step] as number;
  const end = trace.starts[step + 1] as number;
  return {
    code,
    cpu: trace.cpus[step] as number,
    everything: trace.everything[step] === 1,
    keys: Array.from(trace.keys.subarray(start, end)),
    writes: Array.from(trace.writes.subarray(start, end)),
  };
}

/** Does step `step` of the trace wake it: do the two not commute? */
export function wakes(trace: Trace, step: number, { cpu, everything, keys, writes }: Sleeper): boolean {
  if (trace.cpus[step] === cpu || everything || trace.everything[step] === 1) return true;
  const end = trace.starts[step + 1] as number;
  for (let at = trace.starts[step] as number; at < end; at++) {
    const key = trace.keys[at];
    const write = trace.writes[at] === 1;
    for (let own = 0; own < keys.length; own++) {
      if (keys[own] === key && (write || writes[own] === 1)) return true;
    }
  }
  return false;
}
