/**
 * Two tasks that make a call each, small enough for a depth-first search without reduction to come to its end with at most
 * one preemption: a search with reduction has to find everything that these can come to.
 */
import type { Task } from '../../src/base/task.ts';
import type { MachineSettings } from '../../src/userland/machine-settings.ts';
import type { Outcome } from '../../src/userland/outcome.ts';
import { defineScenario, type Scenario } from '../../src/userland/scenario.ts';
import type { Share } from '../../src/userland/share.ts';
import type { User } from '../../src/userland/user.ts';

const PAGE = 4096;
const AT = 0x1000_0000n;
const NEXT = AT + BigInt(PAGE);
const ELSEWHERE = 0x2000_0000n;

type Call = (u: User, share: Share) => Task<Outcome<unknown>>;

interface Race {
  /** Made by `one` before the other may begin. */
  readonly setup: (u: User, share: Share) => Task<unknown>;
  readonly one: Call;
  readonly thread?: Call;
  readonly process?: Call;
  readonly machine?: MachineSettings;
}

const shown = (outcome: Outcome<unknown>): string =>
  JSON.stringify(outcome, (key, value: unknown) => {
    if (key === 'frames') return undefined;
    if (typeof value === 'bigint') return String(value);
    return value instanceof Uint8Array ? `${value[0]} … ${value.at(-1)}` : value;
  });

function* attempted(call: Call, u: User, share: Share): Task<string> {
  return shown(yield* u.attempt(call(u, share)));
}

function race(title: string, { setup, one, thread, process, machine }: Race): Scenario {
  const other = thread;
  return defineScenario({
    title,
    cpus: 2,
    placement: { one: 0, other: 1 },
    timeline: false,
    ...machine,
    programs: {
      *one(u, share) {
        yield* setup(u, share);
        if (other !== undefined) {
          const program = function* (t: User, shared: Share): Task<void> {
            shared.set('other', yield* attempted(other, t, shared));
          };
          yield* u.must(u.cloneVm(program, 'other'));
        }
        share.set('ready', true);
        const own = yield* attempted(one, u, share);
        if (other !== undefined) yield* share.wait('other');
        return own;
      },
      ...(process === undefined
        ? {}
        : {
            *other(u: User, share: Share): Task<string> {
              yield* share.wait('ready');
              return yield* attempted(process, u, share);
            },
          }),
    },
  });
}

function* mapped(u: User): Task<void> {
  yield* u.must(u.mmap({ address: AT, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
}

function* written(u: User): Task<void> {
  yield* mapped(u);
  yield* u.must(u.store(AT, 7));
}

function* bothWritten(u: User): Task<void> {
  yield* written(u);
  yield* u.must(u.store(NEXT, 8));
}

function* swapped(u: User): Task<void> {
  yield* written(u);
  yield* u.must(u.madvise(AT, PAGE, 'PAGEOUT'));
}

const remote: Call = (u) => u.accessProcessVm(u.pidOf('one'), AT, 2 * PAGE);
const byName = (design: 'v0' | 'v3' | 'v5' | 'v6'): Race => ({
  setup: bothWritten,
  one: (u) => (design === 'v5' ? u.mprotect(NEXT, PAGE, 'none') : u.munmap(NEXT, PAGE)),
  process: remote,
  machine: { design },
});

const RACES: Readonly<Record<string, Race>> = {
  'munmap against a fault': { setup: mapped, one: (u) => u.munmap(AT, PAGE), thread: (u) => u.store(AT, 1) },
  'munmap against a load': { setup: written, one: (u) => u.munmap(AT, 2 * PAGE), thread: (u) => u.load(AT) },
  'munmap against a remote read, v0': byName('v0'),
  'munmap against a remote read, v3': byName('v3'),
  'mprotect against a remote read, v5': byName('v5'),
  'munmap against a remote read, v6': byName('v6'),
  'mremap against a fault': {
    setup: written,
    one: (u) =>
      u.mremap({
        address: AT,
        bytes: PAGE,
        newBytes: PAGE,
        mayMove: true,
        fixed: true,
        newAddress: ELSEWHERE,
      }),
    thread: (u) => u.store(AT, 1),
  },
  'exit against process_vm_readv': {
    setup: written,
    one: (u) => u.exit(0),
    process: (u) =>
      u.processVmReadv(u.pidOf('one'), [{ address: ELSEWHERE, bytes: 8 }], [{ address: AT, bytes: 8 }]),
  },
  'SIGKILL of one that reads': {
    setup: written,
    one: (u) => u.load(AT),
    process: (u) => u.kill(u.pidOf('one'), 'SIGKILL'),
  },
  'two first faults of one mapping': {
    setup: mapped,
    one: (u) => u.store(AT, 1),
    thread: (u) => u.store(NEXT, 2),
  },
  'two faults of one page': { setup: mapped, one: (u) => u.store(AT, 1), thread: (u) => u.store(AT, 2) },
  'a page that comes back from swap against MADV_DONTNEED': {
    setup: swapped,
    one: (u) => u.madvise(AT, PAGE, 'DONTNEED'),
    thread: (u) => u.load(AT),
    machine: { swap: '1MiB' },
  },
  'a page that comes back from swap for two': {
    setup: swapped,
    one: (u) => u.store(AT, 1),
    thread: (u) => u.load(AT),
    machine: { swap: '1MiB' },
  },
  'two who ask for memory': {
    setup: mapped,
    one: (u) => u.mmap({ bytes: PAGE, prot: 'r' }),
    thread: (u) => u.mmap({ bytes: 2 * PAGE, prot: 'rw' }),
  },
  'a heap that grows twice': {
    *setup(u, share) {
      share.set('end', (yield* u.must(u.brk(0n))) + BigInt(PAGE));
      yield* u.must(u.brk(share.get('end') as bigint));
    },
    one: (u, share) => u.brk((share.get('end') as bigint) + BigInt(PAGE)),
    thread: (u, share) => u.brk((share.get('end') as bigint) + BigInt(2 * PAGE)),
  },
  'a userfaultfd that goes away from under a fault': {
    *setup(u, share) {
      yield* mapped(u);
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: AT, bytes: PAGE, missing: true }));
      share.set('fd', uffd.fd);
    },
    one: (u, share) => u.uffd(share.get('fd') as number).unregister({ address: AT, bytes: PAGE }),
    thread: (u) => u.load(AT),
  },
  'a userfaultfd that fills the page against a fault': {
    *setup(u, share) {
      yield* mapped(u);
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: AT, bytes: PAGE, missing: true }));
      share.set('fd', uffd.fd);
    },
    one: (u, share) =>
      u
        .uffd(share.get('fd') as number)
        .copy({ address: AT, bytes: PAGE, from: new Uint8Array(PAGE).fill(9) }),
    thread: (u) => u.load(AT),
  },
};

/** By title. */
export const RACE_SCENARIOS: Readonly<Record<string, Scenario>> = Object.fromEntries(
  Object.entries(RACES).map(([title, parts]) => [title, race(title, parts)]),
);
