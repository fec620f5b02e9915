/** Every path into a process that has no memory any more, and that of a caller that is killed while it waits. */
import { describe, expect, it } from 'vitest';
import type { DesignName } from '../../../src/kernel/remote/design-names.ts';
import { runScenario } from '../../../src/userland/run-scenario.ts';
import { defineScenario } from '../../../src/userland/scenario.ts';
import { architecture } from '../../support/architecture.ts';
import { PATHS } from './paths.ts';
import { pathsOf } from './run.ts';
import { SITUATIONS, type Situation } from './situations.ts';

const DESIGNS = ['v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;
/** They stop the target first, which fails, or need memory of it to begin with. */
const UNSUITED = /PTRACE|mem, |make_device_exclusive/;

function intoZombie(design: DesignName): ReadonlyMap<string, unknown> {
  const gave = new Map<string, unknown>();
  const names = pathsOf({ ...(SITUATIONS['present pages'] as Situation), served: true }).filter(
    (name) => !UNSUITED.test(name),
  );
  const scenario = defineScenario({
    title: 'a process that is gone',
    cpus: 2,
    programs: {
      *target(u, share) {
        const at = yield* u.must(u.mmap({ bytes: 16384, prot: 'rw', populate: true }));
        share.set('at', at);
        yield* u.exit(0);
      },
      *caller(u, share) {
        const at = yield* share.waitWord('at');
        yield* u.compute(100_000);
        for (const name of names) {
          gave.set(
            name,
            yield* (PATHS[name] as (typeof PATHS)[string]).call(u, { pid: u.pidOf('target'), at }),
          );
        }
      },
    },
  });
  const { outcome } = runScenario(scenario, { architecture, design, maxEvents: 0 });
  expect(outcome).toEqual({ kind: 'finished' });
  return gave;
}

describe('a target that has exited', () => {
  it.each(DESIGNS)('is to %s what it is today', (design) => {
    const gave = intoZombie(design);
    expect(gave.size).toBeGreaterThan(15);
    expect(gave).toEqual(intoZombie('v0'));
  });
});

/** A reader that waits for a page which nobody brings, and is killed. */
function killedReader(design: DesignName): unknown {
  const scenario = defineScenario({
    title: 'a reader that is killed',
    cpus: 3,
    programs: {
      *target(u, share) {
        const at = yield* u.must(u.mmap({ bytes: 16384, prot: 'rw' }));
        const uffd = yield* u.must(u.userfaultfd({ nonblock: true }));
        yield* u.must(uffd.register({ address: at, bytes: 16384, missing: true }));
        share.set('at', at);
        yield* share.wait('killed');
        yield* u.compute(100_000);
        yield* u.must(u.munmap(at, 16384));
      },
      *reader(u, share) {
        const address = yield* share.waitWord('at');
        yield* u.processVmReadv(u.pidOf('target'), [{ address, bytes: 9000 }]);
        share.set('not killed', true);
      },
      *killer(u, share) {
        yield* share.wait('at');
        yield* u.compute(100_000);
        yield* u.must(u.kill(u.pidOf('reader'), 'SIGKILL'));
        share.set('killed', true);
      },
    },
    finally: { 'it did not come back': ({ share }) => share.get('not killed') === undefined },
  });
  const { outcome, programs } = runScenario(scenario, { architecture, design });
  expect(outcome).toEqual({ kind: 'finished' });
  return programs.map(({ name, state, returned, exitStatus }) => ({ name, state, returned, exitStatus }));
}

describe('a reader that is killed while it waits for a page', () => {
  it.each(DESIGNS)('lets everything go under %s as today', (design) => {
    expect(killedReader(design)).toEqual(killedReader('v0'));
  });
});
