/** One run: every path, each at memory of its own that was made the same way, under one design. */
import { expect } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import type { DesignName } from '../../../src/kernel/remote/design-names.ts';
import { runScenario } from '../../../src/userland/run-scenario.ts';
import { defineScenario } from '../../../src/userland/scenario.ts';
import type { Share } from '../../../src/userland/share.ts';
import type { User } from '../../../src/userland/user.ts';
import type { ProcessView } from '../../../src/userland/world-view.ts';
import { architecture } from '../../support/architecture.ts';
import { PATHS } from './paths.ts';
import { PAGE, SITUATIONS, type Situation } from './situations.ts';

const BASE = 0x10_0000_0000n;
/** Between the places of two paths. */
const STRIDE = 0x80_0000n;
const isArm64 = architecture.name === 'arm64';

export const situationNames = Object.entries(SITUATIONS)
  .filter(([, { arm64 }]) => arm64 !== true || isArm64)
  .map(([name]) => name);

/** Names of the paths that a situation is tried with: who has to be served cannot serve. */
export const pathsOf = ({ served, neverComes }: Situation): string[] =>
  Object.entries(PATHS)
    .filter(([, { arm64 }]) => arm64 !== true || isArm64)
    .filter(([, { own, comes }]) => !(served === true && own === true) && !(neverComes && comes))
    .map(([name]) => name);

/** What came of one path: what it gave, and what its pages are and hold afterwards. */
interface PathOutcome {
  readonly gave: unknown;
  readonly pages: readonly string[];
  readonly bytes: readonly string[];
}

export interface RunOutcome {
  readonly paths: ReadonlyMap<string, PathOutcome>;
  /** Faults of target and caller, pages that the target has. */
  readonly accounts: unknown;
  /** How often something was left to today's code. */
  readonly fallbacks: number;
}

/** First and last bytes of each page around the place, through the page tables, as nobody's access. */
function bytesAt(target: ProcessView, at: bigint): string[] {
  return Array.from({ length: 6 }, (_, page) => {
    const start = (at & ~0xfffn) + BigInt((page - 1) * PAGE);
    const first = target.read(start, 16)?.join(' ') ?? '-';
    return `${first} … ${target.read(start + BigInt(PAGE - 16), 16)?.join(' ') ?? '-'}`;
  });
}

function pagesAt(target: ProcessView, at: bigint): string[] {
  const runs = target.pagemap((at & ~0xfffn) - BigInt(PAGE), 6 * PAGE);
  return runs.map(({ address, pages, flags }) => `${address - at} ${pages} ${flags}`);
}

/** Serves pages and lifts protections as long as the run lasts. */
function* serve(u: User, share: Share): Task<void> {
  const theirs = Number(yield* share.waitWord('uffd'));
  const uffd = u.uffd(yield* u.must(u.pidfdGetfd(u.pidOf('target'), theirs)));
  while (share.get('all is done') === undefined) {
    const message = yield* uffd.read();
    if (!message.ok || message.value.event !== 'pagefault') {
      yield* u.compute(2000);
      continue;
    }
    const { address, reason } = message.value;
    const range = { address: address & ~0xfffn, bytes: PAGE };
    if (reason === 'missing') yield* uffd.copy({ ...range, from: new Uint8Array(PAGE).fill(0x75) });
    else yield* uffd.writeProtect({ ...range, protect: false });
  }
}

export function runProduct(design: DesignName, situationName: string): RunOutcome {
  const situation = SITUATIONS[situationName] as Situation;
  const names = pathsOf(situation);
  const gave = new Map<string, unknown>();
  const paths = new Map<string, PathOutcome>();
  let accounts: unknown;
  const pathNamed = (name: string) => PATHS[name] as (typeof PATHS)[string];
  const scenario = defineScenario({
    title: `${situationName} under ${design}`,
    cpus: 3,
    placement: { target: 0, caller: 1, handler: 2 },
    ...situation.settings,
    programs: {
      *target(u, share) {
        const uffd = situation.served === true ? yield* u.must(u.userfaultfd({ nonblock: true })) : null;
        share.set('uffd', uffd?.fd ?? -1);
        const places: bigint[] = [];
        for (let at = 0; at < names.length; at++) {
          places.push(yield* situation.make(u, BASE + BigInt(at) * STRIDE, uffd));
        }
        for (const [index, name] of names.entries()) {
          const at = places[index] as bigint;
          const { prepare, own, call } = pathNamed(name);
          if (prepare !== undefined) yield* prepare(u, at);
          if (own === true) gave.set(name, yield* call(u, { pid: u.pid, at }));
          share.set('place', at);
          share.set('turn', index);
          yield* share.wait('done', (now) => Number(now) >= index);
        }
        share.set('places', places.join());
        share.set('all is done', true);
      },
      *caller(u, share) {
        const pid = u.pidOf('target');
        for (const [index, name] of names.entries()) {
          yield* share.wait('turn', (now) => Number(now) >= index);
          const { own, call } = pathNamed(name);
          if (own !== true) gave.set(name, yield* call(u, { pid, at: yield* share.waitWord('place') }));
          share.set('done', index);
        }
      },
      *handler(u, share) {
        if (situation.served === true) yield* serve(u, share);
      },
    },
    finally: {
      'what is left is looked at': (world) => {
        const target = world.process('target');
        if (target === undefined) return false;
        const places = String(world.share.get('places')).split(',').map(BigInt);
        names.forEach((name, index) => {
          const at = places[index] as bigint;
          paths.set(name, { gave: gave.get(name), pages: pagesAt(target, at), bytes: bytesAt(target, at) });
        });
        accounts = target.rss;
        return true;
      },
    },
  });
  const { outcome, programs, remoteAccess } = runScenario(scenario, {
    architecture,
    design,
    maxEvents: 0,
    maxSteps: 400_000,
  });
  expect(outcome).toEqual({ kind: 'finished' });
  return {
    paths,
    accounts: [accounts, programs.slice(0, 2).map(({ minFlt, majFlt }) => [minFlt, majFlt])],
    fallbacks: Object.values(remoteAccess?.fallbacks ?? {}).reduce((sum, count) => sum + count, 0),
  };
}
