/** Every remote path against every kind of mapping: result, faults counted for the caller, and the page afterwards. */
import { describe, expect, it } from 'vitest';
import { EFAULT, EIO } from '../../../src/kernel/errno.ts';
import { PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { openProcMem, readProcMem, writeProcMem } from '../../../src/kernel/remote/proc-pid-mem.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../src/kernel/remote/process-vm.ts';
import {
  ptraceInterrupt,
  ptracePeekData,
  ptracePokeData,
  ptraceSeize,
} from '../../../src/kernel/remote/ptrace.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, MAP_SHARED, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const OLD = [1, 2, 3, 4, 5, 6, 7, 8];
const NEW = [9, 9, 9, 9, 8, 8, 8, 8];
const ZEROS = [0, 0, 0, 0, 0, 0, 0, 0];

type Path = 'readv' | 'writev' | 'peek' | 'poke' | 'mem read' | 'mem write';
const WRITES: readonly Path[] = ['writev', 'poke', 'mem write'];

interface Kind {
  /** Makes one page at BASE. */
  readonly make: (world: World, target: TaskStruct) => void;
  /** What the page holds before. */
  readonly holds: readonly number[];
}

const written = (prot: number): Kind => ({
  holds: OLD,
  make: (world, target) => {
    world.map(target, 0, 1, RW);
    world.store(target, BASE, OLD);
    if (prot !== RW) world.protect(target, BASE, 1, prot);
  },
});
const untouched = (prot: number, flags?: number): Kind => ({
  holds: ZEROS,
  make: (world, target) => void world.map(target, 0, 1, prot, flags),
});
const forked = (prot: number): Kind => ({
  holds: OLD,
  make: (world, target) => {
    written(prot).make(world, target);
    world.fork(target, 'child');
  },
});

const KINDS = {
  'rw, written': written(RW),
  'rw, untouched': untouched(RW),
  'rw, read once': {
    holds: ZEROS,
    make: (world, target) => {
      world.map(target, 0, 1, RW);
      world.load(target, BASE, 1);
    },
  },
  'none, written before': written(PROT_NONE),
  'none, untouched': untouched(PROT_NONE),
  'r, written before': written(PROT_READ),
  'r, untouched': untouched(PROT_READ),
  'w only, written before': written(PROT_WRITE),
  'w only, untouched': untouched(PROT_WRITE),
  'x only, untouched': untouched(PROT_EXEC),
  hole: { holds: ZEROS, make: () => undefined },
  'shared rw, untouched': untouched(RW, MAP_SHARED),
  'shared r, untouched': untouched(PROT_READ, MAP_SHARED),
  'shared none, untouched': untouched(PROT_NONE, MAP_SHARED),
  'rw, shared by fork': forked(RW),
  'r, shared by fork': forked(PROT_READ),
  'none, shared by fork': forked(PROT_NONE),
  'rw, unshared by a pin': {
    holds: OLD,
    make: (world, target) => {
      forked(RW).make(world, target);
      const reader = world.process('pinner');
      access(world, reader, target, 'readv');
    },
  },
} as const satisfies Record<string, Kind>;

type Row = readonly [
  kind: keyof typeof KINDS,
  Record<Path, readonly [result: number, faults: number, page: string]>,
];

/** One line for each kind: process_vm_readv, writev; PEEK; POKE; /proc/pid/mem read, write. */
const row = (
  kind: keyof typeof KINDS,
  readv: readonly [number, number, string],
  writev: readonly [number, number, string],
  forcedRead: readonly [number, number, string],
  forcedWrite: readonly [number, number, string],
): Row => {
  const asPtrace = ([result, faults, page]: readonly [number, number, string]) =>
    [result === 8 ? 0 : -EIO, faults, page] as const;
  const peek = asPtrace(forcedRead);
  const poke = asPtrace(forcedWrite);
  return [kind, { readv, writev, peek, poke, 'mem read': forcedRead, 'mem write': forcedWrite }];
};

const ROWS: readonly Row[] = [
  // As recorded: process_vm_* needs the permission, the others have FOLL_FORCE.
  row('rw, written', [8, 0, 'Xw'], [8, 0, 'Xw'], [8, 0, 'Xw'], [8, 0, 'Xw']),
  row('rw, untouched', [8, 1, 'Z'], [8, 1, 'Xw'], [8, 1, 'Z'], [8, 1, 'Xw']), // d002
  row('rw, read once', [8, 0, 'Z'], [8, 1, 'Xw'], [8, 0, 'Z'], [8, 1, 'Xw']), // d006
  row('none, written before', [-EFAULT, 0, 'X'], [-EFAULT, 0, 'X'], [8, 0, 'X'], [8, 0, 'X']), // d003
  row('none, untouched', [-EFAULT, 0, '-'], [-EFAULT, 0, '-'], [8, 1, 'Z'], [8, 1, 'X']), // d002, d003
  row('r, written before', [8, 0, 'X'], [-EFAULT, 0, 'X'], [8, 0, 'X'], [8, 0, 'X']), // d005
  row('r, untouched', [8, 1, 'Z'], [-EFAULT, 0, '-'], [8, 1, 'Z'], [8, 1, 'X']), // d005
  row('w only, written before', [-EFAULT, 0, 'Xw'], [8, 0, 'Xw'], [8, 0, 'Xw'], [8, 0, 'Xw']), // d007
  row('w only, untouched', [-EFAULT, 0, '-'], [8, 1, 'Xw'], [8, 1, 'Z'], [8, 1, 'Xw']), // d007
  row('x only, untouched', [-EFAULT, 0, '-'], [-EFAULT, 0, '-'], [8, 1, 'Z'], [8, 1, 'X']), // d008
  row('hole', [-EFAULT, 0, '-'], [-EFAULT, 0, '-'], [-EIO, 0, '-'], [-EIO, 0, '-']), // d004
  // As recorded: a shared mapping is never forced.
  // Shared memory without write notification is mapped writable at once (mm/vma.c, vma_wants_writenotify).
  row('shared rw, untouched', [8, 1, 'Fw'], [8, 1, 'Fw'], [8, 1, 'Fw'], [8, 1, 'Fw']), // d010
  row('shared r, untouched', [8, 1, 'F'], [-EFAULT, 0, '-'], [8, 1, 'F'], [-EIO, 0, '-']), // d010
  row('shared none, untouched', [-EFAULT, 0, '-'], [-EFAULT, 0, '-'], [8, 1, 'F'], [-EIO, 0, '-']),
  // As recorded: a pin unshares and leaves the entry read-only, a reference does not.
  row('rw, shared by fork', [8, 1, 'X'], [8, 1, 'Xw'], [8, 0, 'm2'], [8, 1, 'Xw']), // d030, d031
  row('r, shared by fork', [8, 1, 'X'], [-EFAULT, 0, 'm2'], [8, 0, 'm2'], [8, 1, 'X']), // d032
  row('none, shared by fork', [-EFAULT, 0, 'm2'], [-EFAULT, 0, 'm2'], [8, 0, 'm2'], [8, 1, 'X']), // d032
  // mm/gup.c, can_follow_write_common: a writable mapping takes a real write fault, forced or not.
  row('rw, unshared by a pin', [8, 0, 'X'], [8, 1, 'Xw'], [8, 0, 'X'], [8, 1, 'Xw']),
];

/** The path's own result, and the bytes of a read that came back whole. */
function access(world: World, caller: TaskStruct, target: TaskStruct, path: Path) {
  const buffer = Uint8Array.from(WRITES.includes(path) ? NEW : ZEROS);
  const vector = { pid: target.pid, localCount: 1, remoteCount: 1, flags: 0 };
  const local = [{ base: buffer, length: 8n }];
  const remote = [{ base: BASE, length: 8n }];
  switch (path) {
    case 'readv':
      return { buffer, ...world.counted(caller, sysProcessVmReadv(caller, { ...vector, local, remote })) };
    case 'writev':
      return { buffer, ...world.counted(caller, sysProcessVmWritev(caller, { ...vector, local, remote })) };
    case 'peek':
      return { buffer, ...world.counted(caller, ptracePeekData(caller, target.pid, BASE, buffer)) };
    case 'poke':
      return { buffer, ...world.counted(caller, ptracePokeData(caller, target.pid, BASE, buffer)) };
    default: {
      const file = world.run(caller, openProcMem(caller, target.pid));
      if (typeof file === 'number') throw new Error(`open gave ${file}`);
      const call = path === 'mem read' ? readProcMem : writeProcMem;
      return { buffer, ...world.counted(caller, call(caller, file, BASE, buffer, 8n)) };
    }
  }
}

function attach(world: World, caller: TaskStruct, target: TaskStruct): void {
  expect(world.run(caller, ptraceSeize(caller, target.pid))).toBe(0);
  expect(world.run(caller, ptraceInterrupt(caller, target.pid))).toBe(0);
}

const PATHS: readonly Path[] = ['readv', 'writev', 'peek', 'poke', 'mem read', 'mem write'];

describe.each(ROWS)('a page that is %s', (kind, expected) => {
  it.each(PATHS)('%s', (path) => {
    const world = new World();
    const target = world.process('target');
    const caller = world.process('caller');
    KINDS[kind].make(world, target);
    attach(world, caller, target);

    const { buffer, result, faults } = access(world, caller, target, path);

    const [wanted, wantedFaults, page] = expected[path];
    expect({ result, faults, page: world.state(target, BASE) }).toEqual({
      result: wanted,
      faults: wantedFaults,
      page,
    });
    const worked = wanted === 8 || wanted === 0;
    if (worked && !WRITES.includes(path)) expect([...buffer]).toEqual(KINDS[kind].holds);
    if (worked) {
      const now = WRITES.includes(path) ? NEW : KINDS[kind].holds;
      expect(readFrame(world, target)).toEqual(now);
    }
    expect(heldReferences(world, target)).toBe(0);
  });
});

/** References beyond those that page tables hold: pins and gets that somebody forgot would show here. */
function heldReferences(world: World, target: TaskStruct): number {
  const frame = world.frameAt(target, BASE);
  const { frames } = world.kernel;
  if (frame < 0 || frames.isZeroFrame(frame)) return 0;
  return (
    frames.refcount(frame) -
    frames.mapcount(frame) -
    (frames.mapping(frame)?.kind === 'address_space' ? 1 : 0)
  );
}

function readFrame(world: World, target: TaskStruct): number[] {
  const bytes = new Uint8Array(8);
  const frame = world.frameAt(target, BASE);
  if (frame >= 0) world.system.machine.memory.readBytes(frame, 0, bytes);
  return [...bytes];
}
