/** The kernel's own looks into processes, as programs make them: strings, BPF programs, core dumps, execve, breakpoints. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

const isX86 = architecture.name === 'x86_64';

/** What `program` returned. */
function value(program: Program, settings: object = {}): unknown {
  const scenario = defineScenario({ title: 'probes', programs: { program }, ...settings });
  const { outcome, programs } = runScenario(scenario, { architecture });
  expect(outcome).toEqual({ kind: 'finished' });
  return programs[0]?.value;
}

const errno = (name: string, number: number) => ({ ok: false, errno: name, number });
const EFAULT = errno('EFAULT', 14);
const EINVAL = errno('EINVAL', 22);
const ESRCH = errno('ESRCH', 3);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

/** Two pages in a row, the second one mapped or not, and `written` so that it ends with the first `over` bytes in the second. */
function* pages(u: User, written: string, over: number, second = 'rw') {
  const page = yield* u.must(u.mmap({ bytes: 8192, prot: 'rw' }));
  const at = page + 4096n - BigInt(written.length - over);
  yield* u.must(u.storeBytes(at, bytes(written)));
  if (second === 'hole') yield* u.must(u.munmap(page + 4096n, 4096));
  else if (second !== 'rw') yield* u.must(u.mprotect(page + 4096n, 4096, second));
  return at;
}

describe('access_process_vm', () => {
  it('gives as many bytes as there are, and writes as many', () => {
    const found = value(function* (u) {
      const at = yield* pages(u, 'abcd', 0, 'hole');
      const read = yield* u.must(u.accessProcessVm(u.pid, at, 8));
      const written = yield* u.must(u.accessProcessVmWrite(u.pid, at, bytes('wxyz++')));
      return [read, written, yield* u.must(u.loadBytes(at, 4)), yield* u.accessProcessVm(99, at, 8)];
    });
    expect(found).toEqual([bytes('abcd'), 4, bytes('wxyz'), ESRCH]);
  });

  it('has the flags that the caller passes', () => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      const file = yield* u.must(u.memfdCreate('file'));
      yield* u.must(u.ftruncate(file, 4096));
      const mapped = yield* u.must(u.mmap({ bytes: 4096, prot: 'r', fd: file }));
      yield* u.must(u.storeBytes(page, bytes('x')));
      yield* u.must(u.mprotect(page, 4096, 'none'));
      const read = (at: bigint, flags: readonly ('FORCE' | 'FOLL_ANON' | 'NOFAULT')[]) =>
        u.must(u.accessProcessVm(u.pid, at, 1, flags as readonly 'FORCE'[]));
      return [
        yield* read(page, []),
        yield* read(page, ['FORCE']),
        yield* read(mapped, ['NOFAULT']),
        yield* read(mapped, ['FOLL_ANON']),
        yield* read(mapped, []),
      ].map(({ length }) => length);
    });
    expect(found).toEqual([0, 1, 0, 0, 1]);
  });
});

describe('copy_remote_vm_str', () => {
  it.each([
    ['ends within the page', 'abc\0', 0, 16, { bytes: 3, data: 'abc\0' }],
    ['goes on in the next page', 'abc\0', 2, 16, { bytes: 3, data: 'abc\0' }],
    ['has its NUL first in the next page', 'abc\0', 1, 16, { bytes: 3, data: 'abc\0' }],
    ['is cut', 'abcdef\0', 0, 4, { bytes: 3, data: 'abc\0' }],
    ['is cut where the page ends', 'abcdef\0', 3, 4, { bytes: 3, data: 'abc\0' }],
    ['is cut behind it', 'abcdef\0', 3, 6, { bytes: 5, data: 'abcde\0' }],
  ])('gives a string that %s', (_, written, over, room, result) => {
    const found = value(function* (u) {
      const at = yield* pages(u, written, over);
      return yield* u.must(u.copyRemoteVmStr(u.pid, at, room));
    }) as { bytes: number; data: Uint8Array };
    expect({ bytes: found.bytes, data: text(found.data.subarray(0, result.data.length)) }).toEqual(result);
  });

  it.each([
    ['is not mapped', 'hole'],
    ['may not be read', 'none'],
  ])('fails where the next page %s, with what came before and a NUL', (_, second) => {
    const found = value(function* (u) {
      const at = yield* pages(u, 'abc', 0, second);
      const data = new Uint8Array(8).fill(0x2e);
      return [yield* u.copyRemoteVmStr(u.pid, at, data), text(data)];
    });
    expect(found).toEqual([EFAULT, 'abc\0....']);
  });

  it('lets no stack grow, where access_process_vm does', () => {
    const found = value(function* (u) {
      const stack = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw', growsDown: true }));
      const data = new Uint8Array(4).fill(1);
      const string = yield* u.copyRemoteVmStr(u.pid, stack - 4096n, data);
      return [string, data[0], (yield* u.must(u.accessProcessVm(u.pid, stack - 4096n, 4))).length];
    });
    expect(found).toEqual([EFAULT, 0, 4]);
  });

  it('gives nothing for no room', () => {
    expect(
      value(function* (u) {
        return yield* u.must(u.copyRemoteVmStr(u.pid, 0x1000n, 0));
      }),
    ).toEqual({ bytes: 0, data: new Uint8Array(0) });
  });
});

describe('bpf_copy_from_user_task', () => {
  it('copies everything, or zeroes the whole destination', () => {
    const found = value(function* (u) {
      const at = yield* pages(u, 'abcd', 0, 'hole');
      const data = new Uint8Array(8).fill(0xff);
      return [
        yield* u.must(u.bpfCopyFromUserTask(u.pid, at, 4)),
        yield* u.bpfCopyFromUserTask(u.pid, at, data),
        data,
        yield* u.bpfCopyFromUserTask(u.pid, at, 4, 1),
        yield* u.must(u.bpfCopyFromUserTask(u.pid, 0n, 0)),
        yield* u.bpfCopyFromUserTask(99, at, 4),
      ];
    });
    expect(found).toEqual([bytes('abcd'), EFAULT, new Uint8Array(8), EINVAL, new Uint8Array(0), ESRCH]);
  });

  it('has no FOLL_FORCE', () => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'none' }));
      return yield* u.bpfCopyFromUserTask(u.pid, page, 4);
    });
    expect(found).toEqual(EFAULT);
  });
});

describe('bpf_copy_from_user_task_str', () => {
  it.each([
    ['counts the NUL', 'ab\0', 0, 8, 0, 3, 'ab\0.....'],
    ['pads with zeros', 'ab\0', 0, 8, 1, 3, 'ab\0\0\0\0\0\0'],
    ['counts the NUL of a string that is cut', 'abcdef\0', 0, 4, 0, 4, 'abc\0'],
    ['pads nothing of a string that is cut', 'abcdef\0', 0, 4, 1, 4, 'abc\0'],
  ])('%s', (_, written, over, room, flags, count, left) => {
    const found = value(function* (u) {
      const at = yield* pages(u, written, over);
      const data = new Uint8Array(room).fill(0x2e);
      const { bytes: counted } = yield* u.must(u.bpfCopyFromUserTaskStr(u.pid, at, data, flags));
      return [counted, text(data)];
    });
    expect(found).toEqual([count, left]);
  });

  it.each([
    [0, EFAULT, 'ab\0.....'],
    [1, EFAULT, '\0\0\0\0\0\0\0\0'],
    [2, EINVAL, '........'],
  ])('with flags %i that fails leaves', (flags, error, left) => {
    const found = value(function* (u) {
      const at = yield* pages(u, 'ab', 0, 'hole');
      const data = new Uint8Array(8).fill(0x2e);
      return [yield* u.bpfCopyFromUserTaskStr(u.pid, at, data, flags), text(data)];
    });
    expect(found).toEqual([error, left]);
  });
});

describe('get_cmdline', () => {
  const strings = function* (u: User, written: string, args: number, environment: number) {
    const file = yield* u.must(u.memfdCreate('strings'));
    yield* u.must(u.ftruncate(file, 4096));
    const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw', fd: file, shared: true }));
    yield* u.must(u.storeBytes(page, bytes(written)));
    yield* u.must(u.setArguments(page, args, environment));
    yield* u.must(u.mprotect(page, 4096, 'none'));
    return page;
  };

  it.each([
    ['arguments', 'a\0bc\0E=1\0', 5, 4, 16, 'a\0bc\0'],
    ['as much as fits', 'a\0bc\0E=1\0', 5, 4, 3, 'a\0b'],
    ['a title that ends in the arguments', 'ti\0cZE=1\0', 5, 4, 16, 'ti'],
    ['a title that goes on into the environment', 'title and\0', 5, 5, 16, 'title and'],
  ])('gives %s, from memory that cmdline does not show', (_, written, args, environment, room, shown) => {
    const found = value(function* (u) {
      yield* strings(u, written, args, environment);
      return [yield* u.must(u.getCmdline(u.pid, room)), yield* u.must(u.procCmdline(u.pid, 16))];
    });
    expect(found).toEqual([bytes(shown), new Uint8Array(0)]);
  });

  it('gives nothing before there are strings', () => {
    expect(
      value(function* (u) {
        return yield* u.must(u.getCmdline(u.pid, 16));
      }),
    ).toEqual(new Uint8Array(0));
  });
});

describe('is_setting_trap_flag', () => {
  it.each([
    ['POPF', [0x9d], true],
    ['IRET behind REX', [0x48, 0xcf], true],
    ['POPF behind prefixes', [0x66, 0xf3, 0x2e, 0x9d], true],
    ['PUSHF', [0x9c, 0x9d], false],
    ['prefixes without end', Array.from({ length: 15 }, () => 0x66), false],
  ])('of %s, in memory that may only be executed', (_, code, sets) => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      yield* u.must(u.storeBytes(page, Uint8Array.from(code)));
      yield* u.must(u.mprotect(page, 4096, 'x'));
      return yield* u.must(u.isSettingTrapFlag(u.pid, page));
    });
    expect(found).toBe(sets && isX86);
  });

  it('is answered no where nothing can be read', () => {
    expect(
      value(function* (u) {
        return yield* u.must(u.isSettingTrapFlag(u.pid, 0x10000n));
      }),
    ).toBe(false);
  });
});

describe('tomoyo_dump_page', () => {
  it('copies the strings of the new program from the place on, and this one goes on', () => {
    const found = value(function* (u) {
      const args = { path: '/bin/sh', argv: ['sh', '-c'], envp: ['E=1'] };
      const first = yield* u.must(u.tomoyoDumpPage(args));
      const second = yield* u.must(u.tomoyoDumpPage({ ...args, offset: 3 }));
      const at = Number(first.position & 0xfffn);
      const shown = text(first.data.subarray(at)).split('\0').slice(0, 4);
      const before = first.data.subarray(0, at).every((byte) => byte === 0);
      return [
        shown,
        before,
        second.position - first.position,
        second.data[at],
        text(second.data.subarray(at + 3, at + 5)),
      ];
    });
    expect(found).toEqual([['sh', '-c', 'E=1', '/bin/sh'], true, 3n, 0, '-c']);
  });

  it('fails beyond the stack, and as execve does', () => {
    const found = value(function* (u) {
      return [
        yield* u.tomoyoDumpPage({ offset: 0x10000 }),
        yield* u.tomoyoDumpPage({ offset: -0x2000 }),
        yield* u.tomoyoDumpPage({ argv: ['x'.repeat(140000)] }),
      ];
    });
    expect(found).toEqual([errno('ENOMEM', 12), errno('ENOMEM', 12), errno('E2BIG', 7)]);
  });
});

function* code(u: User) {
  const fd = yield* u.must(u.memfdCreate('code'));
  yield* u.must(u.ftruncate(fd, 4096));
  const at = yield* u.must(u.mmap({ bytes: 4096, prot: 'rx', fd }));
  return { fd, at };
}

describe('a uprobe', () => {
  it('counts who fetches the instruction, also a child that inherits it', () => {
    const found = value(function* (u) {
      const { fd, at } = yield* code(u);
      const probe = yield* u.must(u.uprobeRegister({ fd, offset: 16 }));
      yield* u.must(u.fetch(at + 16n));
      yield* u.must(u.fetch(at + 32n));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.must(c.fetch(at + 16n));
        }),
      );
      yield* u.must(u.wait(child));
      const hits = yield* u.must(u.uprobeHits(probe));
      const shown = yield* u.must(u.load(at + 16n, 1));
      yield* u.must(u.uprobeUnregister(probe));
      yield* u.must(u.fetch(at + 16n));
      return [hits, shown, yield* u.must(u.load(at + 16n, 1)), yield* u.uprobeHits(probe)];
    });
    expect(found).toEqual([2, isX86 ? 0xccn : 0xa0n, 0n, errno('EBADF', 9)]);
  });

  it('is for one process alone, if it says so', () => {
    const found = value(function* (u) {
      const { fd, at } = yield* code(u);
      const probe = yield* u.must(u.uprobeRegister({ fd, offset: 16, pid: u.pid }));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.must(c.fetch(at + 16n));
          yield* c.exit(Number(yield* c.must(c.load(at + 16n, 1))));
        }),
      );
      const { status } = yield* u.must(u.wait(child));
      return [yield* u.must(u.uprobeHits(probe)), status];
    });
    // The child's first fetch takes the breakpoint away.
    expect(found).toEqual([0, 0]);
  });

  it("is a signal where the breakpoint is the program's own", () => {
    const found = value(function* (u) {
      const { fd, at } = yield* code(u);
      yield* u.must(u.uprobeRegister({ fd, offset: 16 }));
      const own = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwx' }));
      yield* u.must(u.storeBytes(own, yield* u.must(u.loadBytes(at + 16n, 4))));
      return yield* u.attempt(u.fetch(own));
    });
    expect(found).toEqual({ ok: false, signal: 'SIGTRAP', code: 'SI_KERNEL', address: 0n });
  });

  it('is refused where it cannot be', () => {
    const found = value(function* (u) {
      const { fd } = yield* code(u);
      return [
        yield* u.uprobeRegister({ fd: 99, offset: 0 }),
        yield* u.uprobeRegister({ fd, offset: 8192 }),
        yield* u.uprobeRegister({ fd, offset: 0, refCtrOffset: 1 }),
        yield* u.uprobeRegister({ fd, offset: 4096 }),
        yield* u.uprobeRegister({ fd, offset: 0, pid: 99 }),
        yield* u.uprobeUnregister(fd),
      ];
    });
    const EBADF = errno('EBADF', 9);
    // No mapping has the end of the file: nothing is looked at.
    const registered = { ok: true, value: 4 };
    expect(found).toEqual([EBADF, EINVAL, EINVAL, registered, ESRCH, EINVAL]);
  });
});
