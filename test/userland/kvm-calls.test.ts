/** Virtual machines: how pages of a guest are found, and who waits for those that are not there. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;
const named = (result: object) => ('errno' in result ? result.errno : 'done');

function run(programs: Readonly<Record<string, Program>>, more: Partial<Scenario> = {}): unknown {
  const scenario = defineScenario({ title: 'kvm', lockdep: true, cpus: 2, ...more, programs });
  const result = runScenario(scenario, { architecture });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result.programs[0]?.value;
}

describe('a guest', () => {
  it('reads and writes memory of its process, present pages by gup-fast', () => {
    const found = run({
      *program(u) {
        const address = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
        const vm = yield* u.must(u.kvmCreateVm({ slots: [{ guest: 0x1000n, address, bytes: 2 * PAGE }] }));
        yield* u.must(u.kvmWrite(vm, 0x1ffcn, Uint8Array.of(1, 2, 3, 4, 5, 6)));
        const seen = yield* u.must(u.loadBytes(address + 0xffcn, 6));
        const read = yield* u.must(u.kvmRead(vm, 0x1ffen, 2));
        return [seen, read, yield* u.must(u.kvmPageFaults(vm))];
      },
    });
    const counters = { fast: 1, slow: 2, remapped: 0, async: 0 };
    expect(found).toEqual([Uint8Array.of(1, 2, 3, 4, 5, 6), Uint8Array.of(3, 4), counters]);
  });

  it.each([
    ['without a slot', 0x9000n, 'EFAULT'],
    ['in a slot that is read-only', 0x2000n, 'EFAULT'],
    ['in memory that is not there', 0x3000n, 'EFAULT'],
    ['in memory that may not be written', 0x1000n, 'EFAULT'],
  ] as const)('a write %s ends KVM_RUN', (_name, guest, expected) => {
    const found = run({
      *program(u) {
        const address = yield* u.must(u.mmap({ bytes: 3 * PAGE, prot: 'rw' }));
        yield* u.must(u.mprotect(address, PAGE, 'r'));
        yield* u.must(u.munmap(address + BigInt(2 * PAGE), PAGE));
        const slot = (i: number, readOnly = false) => ({
          guest: BigInt(0x1000 * (i + 1)),
          address: address + BigInt(i * PAGE),
          bytes: PAGE,
          readOnly,
        });
        const vm = yield* u.must(u.kvmCreateVm({ slots: [slot(0), slot(1, true), slot(2)] }));
        const read = yield* u.kvmRead(vm, 0x2000n, 1);
        return [named(yield* u.kvmWrite(vm, guest, Uint8Array.of(1))), named(read)];
      },
    });
    expect(found).toEqual([expected, 'done']);
  });
});

describe('a guest that cannot go on:', () => {
  it('the child of its process, which has another address space', () => {
    const found = run({
      *program(u, share) {
        const address = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        const vm = yield* u.must(u.kvmCreateVm({ slots: [{ guest: 0n, address, bytes: PAGE }] }));
        const child = yield* u.must(
          u.fork(function* (c, shared) {
            const read = named(yield* c.kvmRead(vm, 0n, 1));
            const write = named(yield* c.kvmWrite(vm, 0n, Uint8Array.of(1)));
            shared.set('child', `${read} ${write}`);
          }),
        );
        yield* u.must(u.wait(child));
        return [share.get('child'), named(yield* u.kvmRead(vm, 0n, 1))];
      },
    });
    expect(found).toEqual(['EIO EIO', 'done']);
  });

  it('broken memory', () => {
    const found = run({
      *program(u) {
        const address = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        yield* u.must(u.store(address, 1n));
        yield* u.must(u.madvise(address, PAGE, 'HWPOISON'));
        const vm = yield* u.must(u.kvmCreateVm({ slots: [{ guest: 0n, address, bytes: PAGE }] }));
        return named(yield* u.kvmRead(vm, 0n, 1));
      },
    });
    expect(found).toBe('EHWPOISON');
  });

  it.each(['remap', 'fault'] as const)('memory of a device, whose driver fills it by %s', (fill) => {
    const found = run({
      *program(u) {
        const fd = yield* u.must(u.openDevice({ bytes: PAGE, fill }));
        const address = yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true }));
        const vm = yield* u.must(u.kvmCreateVm({ slots: [{ guest: 0n, address, bytes: PAGE }] }));
        yield* u.must(u.kvmWrite(vm, 8n, Uint8Array.of(7)));
        yield* u.must(u.mprotect(address, PAGE, 'r'));
        const refused = named(yield* u.kvmWrite(vm, 8n, Uint8Array.of(8)));
        return [
          yield* u.must(u.deviceRead(fd, 1, 8)),
          refused,
          (yield* u.must(u.kvmPageFaults(vm))).remapped,
        ];
      },
    });
    expect(found).toEqual([Uint8Array.of(7), 'EFAULT', 1]);
  });
});

describe('a page of a guest that userfaultfd has to fill', () => {
  const guestOf = (asyncPageFaults: boolean): Program =>
    function* (u) {
      const address = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      const uffd = yield* u.must(u.userfaultfd({}));
      yield* u.must(uffd.register({ address, bytes: PAGE, missing: true }));
      const slots = [{ guest: 0n, address, bytes: PAGE }];
      const vm = yield* u.must(u.kvmCreateVm({ slots, asyncPageFaults }));
      yield* u.must(
        u.cloneVm(function* (handler) {
          const own = handler.uffd(uffd.fd);
          yield* handler.must(own.read());
          const source = yield* handler.must(handler.mmap({ bytes: PAGE, prot: 'rw' }));
          yield* handler.must(handler.store(source, 42n));
          yield* handler.must(own.copy({ address, from: source, bytes: PAGE }));
        }),
      );
      const read = yield* u.must(u.kvmRead(vm, 0n, 1));
      const { async } = yield* u.must(u.kvmPageFaults(vm));
      return [read, async];
    };

  it.each([
    ['v0', true],
    ['v0', false],
    ['v4', true],
  ] as const)('under %s, with asynchronous page faults %s', (design, asyncPageFaults) => {
    const found = run({ program: guestOf(asyncPageFaults) }, { design } as Partial<Scenario>);
    expect(found).toEqual([Uint8Array.of(42), asyncPageFaults ? 1 : 0]);
  });
});
