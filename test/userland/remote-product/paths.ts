/** Every path into another process' memory, as one call each. */
import type { Task } from '../../../src/base/task.ts';
import type { User } from '../../../src/userland/user.ts';

/** A place in the memory of process `pid`. */
interface Place {
  readonly pid: number;
  readonly at: bigint;
}

export interface RemotePath {
  /** Run by the target before, where the kernel has to be told of the place. */
  readonly prepare?: (u: User, at: bigint) => Task<unknown>;
  /** What it gives: anything that can be compared. Run by the caller, or by the target itself if `own`. */
  readonly call: (u: User, place: Place) => Task<unknown>;
  readonly own?: true;
  readonly arm64?: true;
  /** Whatever fails is tried again after it was waited for, and so for ever where it never comes. */
  readonly comes?: true;
}

/** From the end of the first page; over three pages. */
const AT_BORDER = 4096n - 12n;
const FEW = 24;
const MANY = 9000;
const data = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(0x7a);

/** A word in a page, a few bytes over a border, many over several: each has a design that leaves it to mmap_lock. */
function sized(call: (u: User, pid: number, at: bigint, bytes: number) => Task<unknown>): RemotePath['call'] {
  return function* (u, { pid, at }) {
    return [
      yield* call(u, pid, at + 8n, 8),
      yield* call(u, pid, at + AT_BORDER, FEW),
      yield* call(u, pid, at + 100n, MANY),
    ];
  };
}

/** As the tracer of a process that is stopped. */
function traced(call: (u: User, place: Place) => Task<unknown>): RemotePath['call'] {
  return function* (u, place) {
    yield* u.must(u.ptraceAttach(place.pid));
    const result = yield* call(u, place);
    yield* u.must(u.ptraceDetach(place.pid));
    return result;
  };
}

const PINS = ['FOLL_WRITE', 'FOLL_LONGTERM'];

function gup(flags: readonly string[], noPages: boolean, locked: boolean): RemotePath['call'] {
  return function* (u, { pid, at }) {
    const got = yield* u.gup({
      entry: noPages ? 'get_user_pages_remote' : 'pin_user_pages_remote',
      address: at,
      pages: 3,
      flags,
      pid,
      noPages,
      ...(locked ? { locked: 'held' } : {}),
    });
    if (!got.ok) return got;
    if (got.value.fd >= 0) yield* u.must(u.gupRelease(got.value.fd));
    return { pages: got.value.pages };
  };
}

function* guest(u: User, at: bigint, asyncPageFaults: boolean): Task<unknown> {
  const slots = [{ guest: 0n, address: (at + 4095n) & ~4095n, bytes: 4 * 4096 }];
  const fd = yield* u.must(u.kvmCreateVm({ slots, asyncPageFaults }));
  const got = [yield* u.kvmRead(fd, 4090n, 100), yield* u.kvmWrite(fd, 8190n, data(8))];
  const { fast, slow, remapped, async } = yield* u.must(u.kvmPageFaults(fd));
  return [got, fast, slow, remapped, async];
}

export const PATHS: Readonly<Record<string, RemotePath>> = {
  access_process_vm: { call: sized((u, pid, at, bytes) => u.accessProcessVm(pid, at, bytes)) },
  'access_process_vm, FORCE': {
    call: sized((u, pid, at, bytes) => u.accessProcessVm(pid, at, bytes, ['FORCE'])),
  },
  'access_process_vm, ANON': {
    call: sized((u, pid, at, bytes) => u.accessProcessVm(pid, at, bytes, ['ANON'])),
  },
  'access_process_vm, NOFAULT': {
    call: sized((u, pid, at, bytes) => u.accessProcessVm(pid, at, bytes, ['NOFAULT'])),
  },
  'access_process_vm, written': {
    call: sized((u, pid, at, bytes) => u.accessProcessVmWrite(pid, at, data(bytes))),
  },
  'access_process_vm, written, FORCE': {
    call: sized((u, pid, at, bytes) => u.accessProcessVmWrite(pid, at, data(bytes), ['FORCE'])),
  },
  PTRACE_PEEKDATA: {
    call: traced(function* (u, { pid, at }) {
      return [yield* u.peek(pid, at), yield* u.peek(pid, at + 4096n - 4n), yield* u.peek(pid, at + 8192n)];
    }),
  },
  PTRACE_POKEDATA: {
    call: traced(function* (u, { pid, at }) {
      return [
        yield* u.poke(pid, at, 0x1122n),
        yield* u.poke(pid, at + 4096n - 4n, ~0n & 0xffff_ffff_ffff_ffffn),
        yield* u.poke(pid, at + 8192n, 3n),
      ];
    }),
  },
  '/proc/PID/mem, read': {
    *call(u, { pid, at }) {
      const mem = yield* u.must(u.procMemOpen(pid));
      return yield* sized((_, __, from, bytes) => u.procMemRead(mem, from, bytes))(u, { pid, at });
    },
  },
  '/proc/PID/mem, written': {
    *call(u, { pid, at }) {
      const mem = yield* u.must(u.procMemOpen(pid));
      return yield* sized((_, __, from, bytes) => u.procMemWrite(mem, from, data(bytes)))(u, { pid, at });
    },
  },
  '/proc/PID/cmdline': {
    prepare: (u, at) => u.setArguments(at + AT_BORDER, MANY - FEW, FEW),
    call: (u, { pid }) => u.procCmdline(pid, MANY),
  },
  '/proc/PID/environ': {
    prepare: (u, at) => u.setArguments(at + AT_BORDER, FEW, MANY - FEW),
    *call(u, { pid }) {
      const own = yield* u.must(u.mmap({ bytes: 12288, prot: 'rw' }));
      const got = yield* u.procEnvironInto(pid, MANY, own);
      return [got, yield* u.must(u.loadBytes(own, MANY))];
    },
  },
  get_cmdline: {
    prepare: (u, at) => u.setArguments(at + AT_BORDER, MANY, 0),
    call: (u, { pid }) => u.getCmdline(pid, MANY),
  },
  process_vm_readv: {
    call: sized((u, pid, address, bytes) => u.processVmReadv(pid, [{ address, bytes }])),
  },
  'process_vm_readv of two ranges': {
    call: (u, { pid, at }) =>
      u.processVmReadv(pid, [
        { address: at + 4n, bytes: 8 },
        { address: at + AT_BORDER, bytes: 5000 },
      ]),
  },
  process_vm_writev: {
    call: sized((u, pid, address, bytes) => u.processVmWritev(pid, [{ address, bytes }], data(bytes))),
  },
  bpf_copy_from_user_task: {
    call: sized((u, pid, at, bytes) => u.bpfCopyFromUserTask(pid, at, data(bytes))),
  },
  bpf_copy_from_user_task_str: {
    call: sized((u, pid, at, bytes) => u.bpfCopyFromUserTaskStr(pid, at, data(bytes), bytes % 2)),
  },
  copy_remote_vm_str: { call: sized((u, pid, at, bytes) => u.copyRemoteVmStr(pid, at, data(bytes))) },
  'copy_remote_vm_str, FORCE': {
    call: sized((u, pid, at, bytes) => u.copyRemoteVmStr(pid, at, data(bytes), ['FORCE'])),
  },
  'single step': { call: (u, { pid, at }) => u.isSettingTrapFlag(pid, at + 4096n - 2n) },
  PTRACE_PEEKMTETAGS: { arm64: true, call: traced((u, { pid, at }) => u.peekTags(pid, at + 4064n, 8)) },
  PTRACE_POKEMTETAGS: {
    arm64: true,
    call: traced((u, { pid, at }) => u.pokeTags(pid, at + 4064n, Uint8Array.of(1, 2, 3, 4))),
  },
  pin_user_pages_remote: { call: gup([], false, false) },
  'pin_user_pages_remote for vfio': { call: gup(PINS, false, true) },
  'get_user_pages_remote without pages': { call: gup(['FOLL_WRITE'], true, true) },
  make_device_exclusive: {
    *call(u, { pid, at }) {
      const fd = yield* u.must(u.openMirrorDevice(pid));
      const made = [yield* u.makeDeviceExclusive(fd, at), yield* u.makeDeviceExclusive(fd, at, 3 * 4096)];
      const pages = yield* u.must(u.deviceExclusivePages(fd));
      yield* u.must(u.close(fd));
      return [made, pages.map((page) => page - at)];
    },
  },
  'KVM, the vCPU waits itself': { own: true, call: (u, { at }) => guest(u, at, false) },
  'KVM, by a worker': { own: true, comes: true, call: (u, { at }) => guest(u, at, true) },
  vfio: {
    own: true,
    *call(u, { at }) {
      const fd = yield* u.must(u.openDriver('vfio'));
      const mapped = yield* u.vfioMapDma(fd, { iova: 0n, address: at, bytes: 3 * 4096 });
      const read = yield* u.dmaRead(fd, 4090n, 12);
      yield* u.must(u.close(fd));
      return [mapped, read];
    },
  },
  'core dump': {
    own: true,
    *call(u) {
      const dump = yield* u.must(u.coreDump());
      return [dump?.mappings, dump?.pages.length, dump?.pages.map(({ data: page }) => page[0])];
    },
  },
};
