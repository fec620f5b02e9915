/** The calls of `User` that use GUP as drivers do. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import type { GupArguments } from '../../src/userland/user-gup.ts';
import type { WorldView } from '../../src/userland/world-view.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;

/** What the program returned, after a run in which nothing was left pinned; `look` sees the world at the end of it. */
function value(
  program: Program,
  settings: object = {},
  look: (world: WorldView) => void = () => {},
): unknown {
  let seen = false;
  const balanced = (world: WorldView): boolean => {
    seen = true;
    expect(world.counter('pins-acquired')).toBe(world.counter('pins-released'));
    look(world);
    return true;
  };
  const scenario = defineScenario({
    title: 'gup',
    cpus: 2,
    ...settings,
    programs: { program },
    finally: { balanced },
  });
  const result = runScenario(scenario, { architecture });
  expect([result.outcome, seen]).toEqual([{ kind: 'finished' }, true]);
  return result.programs[0]?.value;
}

const errno = (name: string) => expect.objectContaining({ ok: false, errno: name });

describe('gup', () => {
  it('pins pages that a device writes, and marks them dirty when it gives them back', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      const entry = 'pin_user_pages_unlocked';
      const pins = yield* u.must(u.gup({ entry, address: at, pages: 2, flags: ['FOLL_WRITE'] }));
      yield* u.must(u.gupWrite(pins.fd, 1, 8, Uint8Array.of(1, 2, 3)));
      const seen = yield* u.must(u.loadBytes(at + BigInt(PAGE) + 8n, 3));
      const read = yield* u.must(u.gupRead(pins.fd, 1, 8, 3));
      yield* u.must(u.gupRelease(pins.fd, { dirty: true }));
      const again = yield* u.gupRelease(pins.fd);
      return [pins.pages, pins.locked, [...seen], [...read], again.ok];
    };
    expect(value(program)).toEqual([2, null, [1, 2, 3], [1, 2, 3], false]);
  });

  it('reaches another process by a remote entry, and says what became of its lock', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(at, 7n));
      const pid = yield* u.must(
        u.fork(function* (child) {
          yield* child.compute(1000);
        }, 'child'),
      );
      const entry = 'get_user_pages_remote';
      const got = yield* u.must(u.gup({ entry, address: at, pages: 1, pid, locked: 'held' }));
      const bytes = yield* u.must(u.gupRead(got.fd, 0, 0, 1));
      yield* u.must(u.close(got.fd));
      yield* u.must(u.wait());
      const gone = yield* u.gup({ entry, address: at, pages: 1, pid });
      return [got.pages, got.locked, [...bytes], gone];
    };
    expect(value(program)).toEqual([1, true, [7], errno('ESRCH')]);
  });

  it('moves what must stay movable before a pin that lasts', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(at, 7n));
      const flags = ['FOLL_WRITE'];
      const entry = 'pin_user_pages_unlocked';
      const short = yield* u.must(u.gup({ entry, address: at, pages: 1, flags }));
      const refused = yield* u.gup({ entry, address: at, pages: 1, flags: ['WRITE', 'LONGTERM'] });
      yield* u.must(u.close(short.fd));
      const long = yield* u.must(u.gup({ entry, address: at, pages: 1, flags: ['WRITE', 'LONGTERM'] }));
      yield* u.must(u.close(long.fd));
      return [refused, long.pages, long.frames[0] !== short.frames[0], yield* u.must(u.load(at))];
    };
    expect(value(program, { movable: '4MiB' })).toEqual([errno('ENOMEM'), 1, true, 7n]);
  });
});

describe('what gup refuses', () => {
  it('answers to bad arguments as each entry does, and the world has the warning', () => {
    const program: Program = function* (u) {
      const flags = ['FOLL_TOUCH'];
      const pin = yield* u.must(u.gup({ entry: 'pin_user_pages', address: 0n, pages: 1, flags }));
      return [pin.pages, yield* u.gup({ entry: 'get_user_pages', address: 0n, pages: 1, flags })];
    };
    const look = (world: WorldView) => {
      expect(world.warnings).toEqual([
        { place: 'is_valid_gup_args', text: 'a flag of GUP itself from outside', task: 'program' },
      ]);
      expect(world.counter('warning')).toBe(1);
    };
    expect(value(program, {}, look)).toEqual([0, errno('EINVAL')]);
  });

  it.each([
    ['an entry that there is not', { entry: 'get_user_page' }, 'did you mean "get_user_pages"'],
    ['a flag that there is not', { flags: ['FOLL_COW'] }, '"FOLL_COW" is not known'],
    ['a pid where there is none', { pid: 3 }, 'has no pid and no locked'],
  ])('%s is a mistake', (_name, args, text) => {
    const program: Program = function* (u) {
      yield* u.gup({ entry: 'get_user_pages', address: 0n, pages: 1, ...args } as GupArguments);
    };
    expect(() => value(program)).toThrow(text);
  });
});

describe('the helpers', () => {
  it('fault a buffer in, or say how much of it cannot be reached', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: 3 * PAGE, prot: 'rw' }));
      yield* u.must(u.mprotect(at + BigInt(2 * PAGE), PAGE, 'r'));
      const safe = yield* u.must(u.faultIn('safe_writeable', at + 100n, 3 * PAGE - 100));
      const read = yield* u.must(u.faultIn('readable', at + 100n, 3 * PAGE - 100));
      const one = yield* u.must(u.fixupUserFault({ address: at, write: true }));
      const none = yield* u.fixupUserFault({ address: at + BigInt(2 * PAGE), write: true });
      return [safe, read, one.unlocked, none.ok];
    };
    expect(value(program)).toEqual([PAGE, 0, false, false]);
  });

  it('pin folios of a memfd', () => {
    const program: Program = function* (u) {
      const fd = yield* u.must(u.memfdCreate('m'));
      yield* u.must(u.ftruncate(fd, 3 * PAGE));
      const pins = yield* u.must(u.memfdPinFolios(fd, { start: 100, end: 2 * PAGE }));
      const beyond = yield* u.memfdPinFolios(fd, { start: 0, end: 3 * PAGE });
      yield* u.must(u.close(pins.fd));
      return [pins.folios, pins.offset, beyond.ok];
    };
    expect(value(program)).toEqual([3, 100, false]);
  });
});

describe('vmsplice', () => {
  it('shows in the pipe what the page holds when it is read, not when it was put there', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      yield* u.must(u.storeBytes(at + BigInt(PAGE) - 2n, Uint8Array.of(1, 2, 3, 4)));
      const pipe = yield* u.must(u.pipe());
      const put = yield* u.must(u.vmsplice(pipe.write, at + BigInt(PAGE) - 2n, 4));
      yield* u.must(u.storeBytes(at + BigInt(PAGE) - 1n, Uint8Array.of(9)));
      const first = yield* u.must(u.pipeRead(pipe.read, 1));
      yield* u.must(u.munmap(at, 2 * PAGE));
      const rest = yield* u.must(u.pipeRead(pipe.read, 100));
      return [put, [...first], [...rest]];
    };
    expect(value(program)).toEqual([4, [1], [9, 3, 4]]);
  });

  it('puts in 16 pages, waits for room, and ends where a page cannot be had', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: 20 * PAGE, prot: 'rw' }));
      yield* u.must(u.munmap(at + BigInt(18 * PAGE), 2 * PAGE));
      const pipe = yield* u.must(u.pipe());
      const full = yield* u.must(u.vmsplice(pipe.write, at, 17 * PAGE));
      const more = yield* u.vmsplice(pipe.write, at, 1, { nonblock: true });
      yield* u.must(
        u.fork(function* (child) {
          yield* child.must(child.pipeRead(pipe.read, 2 * PAGE));
        }, 'child'),
      );
      const waited = yield* u.must(u.vmsplice(pipe.write, at + BigInt(17 * PAGE), 2 * PAGE));
      const hole = yield* u.vmsplice(pipe.write, at + BigInt(18 * PAGE), 1);
      yield* u.must(u.wait());
      return [full / PAGE, more, waited / PAGE, hole];
    };
    expect(value(program)).toEqual([16, errno('EAGAIN'), 1, errno('EFAULT')]);
  });

  it('tells of the end that is closed, and of descriptors that are not this end of a pipe', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      const unread = yield* u.must(u.pipe());
      yield* u.must(u.vmsplice(unread.write, at, 8));
      const wrongEnd = [yield* u.vmsplice(unread.read, at, 8), yield* u.pipeRead(unread.write, 8)];
      yield* u.must(u.close(unread.read));
      const unwritten = yield* u.must(u.pipe());
      yield* u.must(u.vmsplice(unwritten.write, at, 8));
      yield* u.must(u.close(unwritten.write));
      const left = yield* u.must(u.pipeRead(unwritten.read, 100));
      const end = yield* u.must(u.pipeRead(unwritten.read, 100));
      return [...wrongEnd, yield* u.vmsplice(unread.write, at, 8), left.length, end.length];
    };
    const bad = errno('EBADF');
    expect(value(program)).toEqual([bad, bad, errno('EPIPE'), 8, 0]);
  });

  it('leaves no reference behind when both ends are closed', () => {
    const program: Program = function* (u) {
      const at = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(at, 1n));
      const pipe = yield* u.must(u.pipe());
      yield* u.must(u.vmsplice(pipe.write, at, PAGE));
      yield* u.must(u.close(pipe.write));
      yield* u.must(u.close(pipe.read));
      return at;
    };
    let address = 0n;
    const at = value(program, {}, (world) => {
      address = world.value('program') as bigint;
      expect(world.process('program')?.pageAt(address)?.refcount ?? 1).toBe(1);
    });
    expect(at).toBe(address);
  });
});
