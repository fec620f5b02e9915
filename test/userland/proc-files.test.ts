/** /proc/PID/mem and cmdline read into the reader's own memory, and what PR_SET_MM_MAP makes cmdline show. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

/** What `program` returned. */
function value(program: Program): unknown {
  const scenario = defineScenario({ title: 'files of /proc', programs: { program } });
  const { outcome, programs } = runScenario(scenario, { architecture });
  expect(outcome).toEqual({ kind: 'finished' });
  return programs[0]?.value;
}

const errno = (name: string, number: number) => ({ ok: false, errno: name, number });

describe('/proc/PID/cmdline', () => {
  it('shows the strings at the addresses that were set, and nothing before', () => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      const before = yield* u.must(u.procCmdline(u.pid, 16));
      // "ls\0"
      yield* u.must(u.store(page, 0x736cn));
      yield* u.must(u.setArguments(page, 3));
      const into = yield* u.must(u.procCmdlineInto(u.pid, 16, page + 64n));
      return [before, yield* u.must(u.procCmdline(u.pid, 16)), into, yield* u.must(u.load(page + 64n))];
    });
    expect(found).toEqual([new Uint8Array(0), Uint8Array.of(0x6c, 0x73, 0), 3, 0x736cn]);
  });

  it('gives errno for no process, a buffer that is not there, and addresses outside user space', () => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      yield* u.must(u.setArguments(page, 3));
      return [
        yield* u.procCmdline(99, 16),
        yield* u.procCmdlineInto(u.pid, 16, 0x10000n),
        yield* u.setArguments(1n << 63n, 3),
      ];
    });
    expect(found).toEqual([errno('ENOENT', 2), errno('EFAULT', 14), errno('EINVAL', 22)]);
  });
});

describe('/proc/PID/mem', () => {
  it('is read into and written from memory of the caller', () => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      yield* u.must(u.store(page, 0x1122n));
      const handle = yield* u.must(u.procMemOpen(u.pid));
      const read = yield* u.must(u.procMemReadInto(handle, page, 8, page + 8n));
      const wrote = yield* u.must(u.procMemWriteFrom(handle, page + 16n, 8, page + 8n));
      return [read, wrote, yield* u.must(u.load(page + 16n))];
    });
    expect(found).toEqual([8, 8, 0x1122n]);
  });

  it('gives errno for a bad handle, and for a buffer that is not there', () => {
    const found = value(function* (u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw', populate: true }));
      const handle = yield* u.must(u.procMemOpen(u.pid));
      return [
        yield* u.procMemReadInto(99, page, 8, page),
        yield* u.procMemWriteFrom(99, page, 8, page),
        yield* u.procMemReadInto(handle, page, 8, 0x10000n),
        yield* u.procMemWriteFrom(handle, page, 8, 0x10000n),
      ];
    });
    const [bad, fault] = [errno('EBADF', 9), errno('EFAULT', 14)];
    expect(found).toEqual([bad, bad, fault, fault]);
  });
});
