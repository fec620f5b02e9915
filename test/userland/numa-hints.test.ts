/** Pages that NUMA balancing has marked, as debuggers read and write them under each design, and as a guest's pages. */
import { describe, expect, it } from 'vitest';
import { DESIGNS } from '../../src/kernel/remote/designs/registry.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const proposed = DESIGNS.filter(({ wrong }) => wrong === undefined);

describe.each(proposed)('under $name', ({ name }) => {
  it('a marked page is read without a fault, and written after one', () => {
    const hintFaults: number[] = [];
    const scenario = defineScenario({
      title: 'a debugger and NUMA balancing',
      lockdep: true,
      programs: {
        *target(u, share) {
          const at = yield* u.must(u.mmap({ bytes: 8192, prot: 'rw' }));
          yield* u.must(u.store(at, 0x1234n));
          const marked = yield* u.must(u.changeProtNuma(at, 8192));
          share.set('at', at);
          yield* share.wait('done');
          return [marked, yield* u.must(u.load(at + 8n))];
        },
        *debugger(u, share) {
          const at = yield* share.waitWord('at');
          const target = u.pidOf('target');
          yield* u.must(u.ptraceAttach(target));
          const mem = yield* u.must(u.procMemOpen(target));
          const seen = [yield* u.must(u.peek(target, at)), (yield* u.must(u.procMemRead(mem, at, 2)))[0]];
          const still = yield* u.must(u.processVmReadv(target, [{ address: at, bytes: 1 }]));
          yield* u.must(u.poke(target, at + 8n, 0x77n));
          yield* u.must(u.ptraceDetach(target));
          share.set('done', true);
          return [...seen, still.bytes];
        },
      },
      finally: {
        'one fault': (world) => {
          hintFaults.push(world.counter('numa-pte-updates'), world.counter('numa-hint-faults'));
          return true;
        },
      },
    });
    const { outcome, programs, remoteAccess } = runScenario(scenario, { architecture, design: name });
    expect(outcome).toEqual({ kind: 'finished' });
    expect(programs.map(({ value }) => value)).toEqual([
      [1, 0x77n],
      [0x1234n, 0x34, 1],
    ]);
    expect(hintFaults).toEqual([1, 1]);
    // The walk of gup-fast has no VMA that would tell a mark from a mapping without rights.
    const absent = name === 'v5' || name === 'v6' ? 2 : 0;
    expect(remoteAccess?.fallbacks?.['absent page'] ?? 0).toBeGreaterThanOrEqual(absent);
  });
});

describe('a guest of KVM', () => {
  it('is not given a marked page without its fault', () => {
    const scenario = defineScenario({
      title: 'a guest and NUMA balancing',
      programs: {
        *host(u) {
          const at = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
          yield* u.must(u.store(at, 0x5an));
          yield* u.must(u.changeProtNuma(at, 1));
          const vm = yield* u.must(u.kvmCreateVm({ slots: [{ guest: 0n, address: at, bytes: 4096 }] }));
          return [...(yield* u.must(u.kvmRead(vm, 0n, 1)))];
        },
      },
      finally: { 'its fault was counted': (world) => world.counter('numa-hint-faults') === 1 },
    });
    const { outcome, programs } = runScenario(scenario, { architecture });
    expect(outcome).toEqual({ kind: 'finished' });
    expect(programs[0]?.value).toEqual([0x5a]);
  });
});
