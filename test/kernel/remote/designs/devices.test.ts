/** Memory of a device, which has no pages of the kernel's, as another process reads and writes it under each design. */
import { describe, expect, it } from 'vitest';
import { DESIGNS } from '../../../../src/kernel/remote/designs/registry.ts';
import { runScenario } from '../../../../src/userland/run-scenario.ts';
import { defineScenario } from '../../../../src/userland/scenario.ts';
import { architecture } from '../../../support/architecture.ts';

const proposed = DESIGNS.filter(({ wrong }) => wrong === undefined);

describe.each(proposed)('under $name', ({ name }) => {
  it.each(['remap', 'fault'] as const)(
    'a device filled by %s is read and written through its operations',
    (fill) => {
      const scenario = defineScenario({
        title: 'a debugger and a device',
        lockdep: true,
        programs: {
          *target(u, share) {
            const fd = yield* u.must(u.openDevice({ bytes: 8192, fill }));
            const at = yield* u.must(u.mmap({ fd, bytes: 8192, prot: 'rw', shared: true }));
            yield* u.must(u.store(at, 0x1234n));
            share.set('at', at);
            yield* share.wait('done');
            return yield* u.must(u.load(at + 8n));
          },
          *debugger(u, share) {
            const at = yield* share.waitWord('at');
            const target = u.pidOf('target');
            yield* u.must(u.ptraceAttach(target));
            const seen = yield* u.must(u.peek(target, at));
            yield* u.must(u.poke(target, at + 8n, 0x77n));
            yield* u.must(u.ptraceDetach(target));
            share.set('done', true);
            return seen;
          },
        },
      });
      const { outcome, programs, remoteAccess } = runScenario(scenario, { architecture, design: name });
      expect(outcome).toEqual({ kind: 'finished' });
      expect(programs.map(({ value }) => value)).toEqual([0x77n, 0x1234n]);
      const fallbacks = Object.values(remoteAccess?.fallbacks ?? {});
      expect(fallbacks.reduce((sum, count) => sum + count, 0)).toBe(name === 'v0' ? 0 : 2);
    },
  );
});
