/**
 * Which faults are resolved under the lock of the VMA, and which need mmap_lock after all? Each kind of fault once by its own
 * program, and once by the write or read of another process through `access_remote_vm`: under V4 (`--design v4`) that
 * faults under the lock of the VMA as well. Userfaultfd: a program's fault lets the lock go and waits; a remote access may
 * not, and ends there.
 * `tablewalk run examples/questions/faults-under-vma-lock.ts --design v4`
 * @see David Hildenbrand, 26 June 2026, and Rik van Riel, 26 June 2026, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock";
 * Linux mm/memory.c, `vmf_can_call_fault`, `__vmf_anon_prepare`
 */
import { defineScenario, type Task, type User, type WorldView } from 'tablewalk';

const PAGE = 4096;
const HUGE = 2 ** 21;
const PLACE = 0x4000_0000n;

interface Kind {
  readonly name: string;
  readonly write: boolean;
  /** Makes the mapping, and gives the address to touch. */
  readonly prepare: (u: User) => Task<bigint>;
  /** What the program does before it touches it. */
  readonly before?: (u: User) => Task<void>;
}

function* map(u: User, more: object = {}): Task<bigint> {
  return yield* u.must(u.mmap({ address: PLACE, bytes: 4 * PAGE, prot: 'rw', fixed: true, ...more }));
}

function* mapTouched(u: User): Task<bigint> {
  const memory = yield* map(u);
  yield* u.must(u.store(memory, 1n));
  return memory;
}

function* mapFile(u: User, shared: boolean): Task<bigint> {
  const fd = yield* u.must(u.memfdCreate('data'));
  yield* u.must(u.pwrite(fd, new Uint8Array(4 * PAGE).fill(1), 0));
  return yield* map(u, { fd, shared });
}

function* mapDevice(u: User, fill: 'fault' | 'mixed'): Task<bigint> {
  const fd = yield* u.must(u.openDevice({ bytes: 4 * PAGE, fill }));
  return yield* map(u, { fd, shared: true });
}

/** Who touches the page must be served: by a thread that `serve` starts. */
function* withUserfaultfd(u: User): Task<bigint> {
  const memory = yield* map(u);
  const uffd = yield* u.must(u.userfaultfd());
  yield* u.must(uffd.register({ address: memory, bytes: 4 * PAGE, missing: true }));
  return memory;
}

/** The first descriptor of a program is 3. */
const UFFD = 3;

function* serve(u: User): Task<void> {
  yield* u.must(
    u.cloneVm(function* (t) {
      const uffd = t.uffd(UFFD);
      yield* t.must(uffd.read());
      yield* t.must(uffd.copy({ address: PLACE, bytes: PAGE, from: new Uint8Array(PAGE) }));
    }, 'handler'),
  );
}

const KINDS: readonly Kind[] = [
  { name: 'anonymous, read: the zero page', write: false, prepare: map },
  { name: 'anonymous, the first write to a VMA', write: true, prepare: map },
  {
    name: 'anonymous, write where the VMA has its anon_vma',
    write: true,
    *prepare(u) {
      return (yield* mapTouched(u)) + BigInt(PAGE);
    },
  },
  {
    name: 'anonymous, write to the zero page',
    write: true,
    *prepare(u) {
      const memory = yield* mapTouched(u);
      yield* u.must(u.load(memory + BigInt(PAGE)));
      return memory + BigInt(PAGE);
    },
  },
  {
    name: 'anonymous, write after a fork whose child is gone',
    write: true,
    *prepare(u) {
      const memory = yield* mapTouched(u);
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.compute(1);
        }, 'child'),
      );
      yield* u.must(u.wait(child));
      return memory;
    },
  },
  { name: 'file, read', write: false, prepare: (u) => mapFile(u, true) },
  { name: 'file, shared, write', write: true, prepare: (u) => mapFile(u, true) },
  { name: 'file, private, write: a copy', write: true, prepare: (u) => mapFile(u, false) },
  {
    name: 'file, private, write to a page that was read: a copy',
    write: true,
    *prepare(u) {
      const memory = yield* mapFile(u, false);
      yield* u.must(u.load(memory));
      return memory;
    },
  },
  {
    name: 'in swap',
    write: false,
    *prepare(u) {
      const memory = yield* mapTouched(u);
      yield* u.must(u.madvise(memory, PAGE, 'PAGEOUT'));
      return memory;
    },
  },
  {
    name: 'NUMA hint',
    write: false,
    *prepare(u) {
      const memory = yield* mapTouched(u);
      yield* u.must(u.changeProtNuma(memory, PAGE));
      return memory;
    },
  },
  {
    name: 'transparent huge page, write',
    write: true,
    *prepare(u) {
      const memory = yield* map(u, { bytes: HUGE });
      yield* u.must(u.madvise(memory, HUGE, 'HUGEPAGE'));
      return memory;
    },
  },
  { name: 'hugetlb, write', write: true, prepare: (u) => map(u, { bytes: HUGE, hugetlb: true }) },
  {
    name: 'exclusive to a device',
    write: false,
    *prepare(u) {
      const memory = yield* mapTouched(u);
      const device = yield* u.must(u.openMirrorDevice());
      yield* u.must(u.makeDeviceExclusive(device, memory));
      return memory;
    },
  },
  { name: 'device, page by page (no map_pages)', write: false, prepare: (u) => mapDevice(u, 'fault') },
  { name: 'device, VM_MIXEDMAP (no map_pages)', write: false, prepare: (u) => mapDevice(u, 'mixed') },
  {
    name: 'just below a stack',
    write: true,
    *prepare(u) {
      return (yield* map(u, { growsDown: true })) - 8n;
    },
  },
  { name: 'userfaultfd, missing', write: false, prepare: withUserfaultfd, before: serve },
];

function* touch(u: User, address: bigint, write: boolean): Task<void> {
  if (write) yield* u.must(u.store(address, 3n));
  else yield* u.must(u.load(address));
}

/** What the program's own access adds to the faults of its preparation: another program makes that alone. */
function byProgram(world: WorldView, name: string): string {
  const all = world.process(name)?.vmaLocks;
  const before = world.process(`${name}, prepared`)?.vmaLocks;
  if (all === undefined || before === undefined) throw new Error(`no process ${name}`);
  if (all.retry > before.retry) return 'no: begun, and again under mmap_lock (retry)';
  if (all.success > before.success) return 'yes';
  return `no: not begun (${Object.keys(all.reasons).join(', ')})`;
}

function byRemote({ share }: WorldView, at: number): string {
  const left = (kind: number): string => String(share.get(`left up to ${kind}`) ?? '');
  const before = left(at - 1);
  const now = left(at);
  const reasons = now.split(', ').filter((reason) => !before.split(', ').includes(reason));
  const lock = now === before ? 'yes' : `no: ${reasons.map((text) => text.replace(/ \d+$/, '')).join(', ')}`;
  return `${lock}; ${share.get(`got ${at}`)}`;
}

/** What is left to mmap_lock so far; asked after each step, since only the last answer for a kind counts. */
function noteFallbacks({ share, remoteAccess }: WorldView): boolean {
  const kind = share.get('kind');
  const reasons = Object.entries(remoteAccess.fallbacks).map(([reason, times]) => `${reason} ${times}`);
  const name = `left up to ${kind ?? -1}`;
  const text = reasons.join(', ');
  if (share.get(name) !== text) share.set(name, text);
  return true;
}

export default defineScenario({
  title: 'faults by kind, and the lock that they are resolved under',
  cpus: 2,
  placement: { reader: 1 },
  swap: '1MiB',
  hugepages: { '2MiB': 4 },
  timeline: false,
  programs: {
    ...Object.fromEntries(
      KINDS.flatMap(({ name, write, prepare, before }, at) => [
        [
          name,
          function* (u: User): Task<void> {
            const address = yield* prepare(u);
            if (before !== undefined) yield* before(u);
            yield* touch(u, address, write);
          },
        ],
        [`${name}, prepared`, prepare],
        [
          `${name}, target`,
          function* (u: User, share): Task<void> {
            share.set(`place ${at}`, yield* prepare(u));
            yield* share.wait(`got ${at}`);
          },
        ],
      ]),
    ),
    *reader(u, share) {
      for (const [at, { name, write }] of KINDS.entries()) {
        const address = yield* share.waitWord(`place ${at}`);
        const mem = yield* u.must(u.procMemOpen(u.pidOf(`${name}, target`)));
        share.set('kind', at);
        const result = write
          ? yield* u.procMemWrite(mem, address, new Uint8Array(8))
          : yield* u.procMemRead(mem, address, 8);
        yield* u.compute(1);
        share.set(`got ${at}`, result.ok ? 'served' : 'errno' in result ? result.errno : 'signal');
      }
    },
  },
  always: { 'reasons are noted': noteFallbacks },
  report: (world) => [
    {
      heading: `Is it resolved under the lock of the VMA? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: ['fault', 'of the program', 'of a remote access'],
        rows: KINDS.map(({ name }, at) => [name, byProgram(world, name), byRemote(world, at)]),
      },
      notes: [],
    },
  ],
});
