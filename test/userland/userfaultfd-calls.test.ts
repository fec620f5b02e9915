/** userfaultfd as programs use it: alone, with an inherited descriptor, and with one of another process. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;

function run(programs: Readonly<Record<string, Program>>, more: Partial<Scenario> = {}) {
  const result = runScenario(defineScenario({ title: 'uffd', cpus: 2, lockdep: true, ...more, programs }), {
    architecture,
  });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return new Map(result.programs.map(({ name, value }) => [name, value]));
}

describe('a userfaultfd', () => {
  it('says what is wrong, and polls', () => {
    const found = run({
      *program(u) {
        const at = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'rw' }));
        const uffd = yield* u.must(u.userfaultfd({ nonblock: true, features: null }));
        const early = yield* uffd.register({ address: at, bytes: PAGE, missing: true });
        const features = yield* u.must(uffd.api(['THREAD_ID']));
        const twice = yield* uffd.api();
        const noMode = yield* uffd.register({ address: at, bytes: PAGE });
        yield* u.must(uffd.register({ address: at, bytes: 2 * PAGE, missing: true }));
        const polled = yield* u.must(uffd.poll());
        const read = yield* uffd.read();
        const outside = yield* uffd.zeropage({ address: at + BigInt(3 * PAGE), bytes: PAGE });
        const filled = yield* uffd.copy({ address: at, bytes: PAGE, from: new Uint8Array(PAGE).fill(1) });
        const again = yield* uffd.copy({ address: at, bytes: PAGE, from: new Uint8Array(PAGE) });
        const part = yield* u.must(uffd.zeropage({ address: at + BigInt(PAGE), bytes: PAGE }));
        const bad = yield* u.uffd(77).read();
        yield* u.must(u.close(uffd.fd));
        const closed = yield* uffd.read();
        const names = [early, twice, noMode, read, outside, again, bad, closed].map((one) =>
          !one.ok && 'errno' in one ? one.errno : 'ok',
        );
        return [features.includes('MOVE'), polled, filled, part, names];
      },
    });
    expect(found.get('program')).toEqual([
      true,
      { in: false, error: false },
      { ok: true, value: PAGE },
      PAGE,
      ['EINVAL', 'EINVAL', 'EINVAL', 'EAGAIN', 'ENOENT', 'EEXIST', 'EBADF', 'EBADF'],
    ]);
  });
});

describe('who resolves', () => {
  it('is a child that inherited it: missing pages, then write protection', () => {
    const found = run(
      {
        *parent(u, share) {
          const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
          const uffd = yield* u.must(u.userfaultfd({ features: ['EXACT_ADDRESS', 'PAGEFAULT_FLAG_WP'] }));
          yield* u.must(uffd.register({ address: at, bytes: PAGE, missing: true, writeProtect: true }));
          const child = yield* u.must(
            u.fork(function* (c, shared) {
              const own = c.uffd(uffd.fd);
              const missing = yield* c.must(own.read());
              yield* c.must(
                own.copy({
                  address: at,
                  bytes: PAGE,
                  from: new Uint8Array(PAGE).fill(2),
                  writeProtect: true,
                }),
              );
              const write = yield* c.must(own.read());
              yield* c.must(own.writeProtect({ address: at, bytes: PAGE }));
              const text = [missing, write].map((one) =>
                one.event === 'pagefault' ? `${one.reason} ${one.write} ${one.address - at}` : one.event,
              );
              shared.set('messages', text.join(', '));
            }, 'child'),
          );
          const first = yield* u.must(u.load(at + 8n, 1));
          yield* u.must(u.store(at + 16n, 3n, 1));
          yield* u.must(u.wait(child));
          return [first, yield* u.must(u.load(at + 16n, 1)), share.get('messages')];
        },
      },
      { placement: { child: 1 } },
    );
    expect(found.get('parent')).toEqual([2n, 3n, 'missing false 8, write-protect true 16']);
  });
});

describe('another process', () => {
  it('is told of forks, moves and unmapped memory; who makes them waits until it has been read', () => {
    const found = run({
      *target(u, share) {
        const at = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
        const uffd = yield* u.must(u.userfaultfd({ features: ['EVENT_FORK', 'EVENT_REMAP', 'EVENT_UNMAP'] }));
        yield* u.must(uffd.register({ address: at, bytes: 2 * PAGE, missing: true }));
        share.set('fd', uffd.fd);
        yield* share.wait('listens');
        const child = yield* u.must(
          u.fork(function* (c) {
            yield* c.must(c.load(at));
          }, 'child'),
        );
        yield* u.must(u.wait(child));
        const moved = yield* u.must(
          u.mremap({
            address: at,
            bytes: PAGE,
            newBytes: PAGE,
            mayMove: true,
            fixed: true,
            newAddress: at + 0x10_0000n,
          }),
        );
        yield* u.must(u.munmap(moved, PAGE));
        return true;
      },
      *monitor(u, share) {
        const fd = Number(yield* share.waitWord('fd'));
        const own = yield* u.must(u.pidfdGetfd(u.pidOf('target'), fd));
        const uffd = u.uffd(own);
        share.set('listens', true);
        const events: string[] = [];
        while (events.length < 5) {
          const message = yield* u.must(uffd.read());
          events.push(message.event);
          if (message.event !== 'fork') continue;
          const childs = u.uffd(message.fd);
          const fault = yield* u.must(childs.read());
          if (fault.event !== 'pagefault') continue;
          events.push(`child: ${fault.reason}`);
          yield* u.must(childs.zeropage({ address: fault.address, bytes: PAGE }));
        }
        return events;
      },
    });
    // What has moved away counts as unmapped, too.
    expect(found.get('monitor')).toEqual(['fork', 'child: missing', 'remap', 'unmap', 'unmap']);
  });
});

describe('the descriptor', () => {
  it('lets everybody go on when its last process ends', () => {
    const found = run({
      *target(u, share) {
        const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        const uffd = yield* u.must(u.userfaultfd());
        yield* u.must(uffd.register({ address: at, bytes: PAGE, missing: true }));
        const child = yield* u.must(
          u.fork(function* (c, shared) {
            yield* shared.wait('about to fault');
            yield* c.must(c.uffd(uffd.fd).read());
          }, 'child'),
        );
        // From here on only the child has it open.
        yield* u.must(u.close(uffd.fd));
        share.set('about to fault', true);
        const value = yield* u.must(u.load(at));
        yield* u.must(u.wait(child));
        return value;
      },
    });
    expect(found.get('target')).toBe(0n);
  });

  it('may be taken from a process only by who may trace it', () => {
    const found = run({
      *target(u, share) {
        share.set('fd', (yield* u.must(u.userfaultfd())).fd);
        yield* share.wait('tried');
      },
      *stranger(u, share) {
        const fd = Number(yield* share.waitWord('fd'));
        const pid = u.pidOf('target');
        const wrong = [yield* u.pidfdGetfd(pid, 99), yield* u.pidfdGetfd(4_000_000, fd)];
        yield* u.must(u.setuid(1000));
        wrong.push(yield* u.pidfdGetfd(pid, fd));
        share.set('tried', true);
        return wrong.map((one) => (!one.ok && 'errno' in one ? one.errno : 'ok'));
      },
    });
    expect(found.get('stranger')).toEqual(['EBADF', 'ESRCH', 'EPERM']);
  });
});
