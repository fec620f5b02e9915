/**
 * The calls a YAML program may make: for each its arguments, and the call of `User` it stands for. Messages about
 * unknown names come from this table; docs/scenarios.md lists it.
 */
import { z } from 'zod';
import type { Task } from '../../base/task.ts';
import { success } from '../outcome.ts';
import type { Program } from '../scenario.ts';
import type { Share } from '../share.ts';
import { asNumber, type CallDefinition, call, dropUndefined } from './define-call.ts';
import { mappingCalls } from './mapping-calls.ts';
import {
  accessBytes,
  bytes,
  count,
  length,
  type Operand,
  operand,
  operandValue,
  protection,
  variableName,
} from './values.ts';

/** `true` is the default size. */
const hugePageSize = z.union([z.boolean(), z.enum(['2MiB', '1GiB'])]);
const width = accessBytes.default(8);
const pid = operand(31);
/** A list of ranges of another address space. */
const vectors = z.array(z.strictObject({ address: operand(), bytes })).min(1);

type Vector = { readonly address: Operand; readonly bytes: number };

function* resolve(list: readonly Vector[], share: Share): Task<{ address: bigint; bytes: number }[]> {
  const resolved: { address: bigint; bytes: number }[] = [];
  for (const { address, bytes: length } of list) {
    resolved.push({ address: yield* operandValue(address, share), bytes: length });
  }
  return resolved;
}

/** `size` bytes of `value`, little-endian, the word repeated. */
function repeatWord(value: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * (i % 8))) & 0xffn));
}

const memoryCalls = {
  mmap: call(
    {
      address: operand().optional(),
      bytes: length,
      prot: protection,
      shared: z.boolean().optional(),
      fixed: z.boolean().optional(),
      noreplace: z.boolean().optional(),
      growsDown: z.boolean().optional(),
      populate: z.boolean().optional(),
      locked: z.boolean().optional(),
      noreserve: z.boolean().optional(),
      droppable: z.boolean().optional(),
      hugetlb: hugePageSize.optional(),
      fd: operand(31).optional(),
      offset: length.optional(),
    },
    function* ({ u, share }, { address, fd, ...rest }) {
      const at = address === undefined ? {} : { address: yield* operandValue(address, share) };
      const file = fd === undefined ? {} : { fd: yield* asNumber(fd, share) };
      return yield* u.mmap({ ...dropUndefined(rest), ...at, ...file });
    },
    ['address'],
  ),
  munmap: call(
    { address: operand(), bytes: length },
    function* ({ u, share }, args) {
      return yield* u.munmap(yield* operandValue(args.address, share), args.bytes);
    },
    ['address'],
  ),
  mprotect: call(
    { address: operand(), bytes: length, prot: protection },
    function* ({ u, share }, args) {
      return yield* u.mprotect(yield* operandValue(args.address, share), args.bytes, args.prot);
    },
    ['address'],
  ),
  brk: call({ address: operand() }, function* ({ u, share }, args) {
    return yield* u.brk(yield* operandValue(args.address, share));
  }),
  load: call({ address: operand(), bytes: width }, function* ({ u, share }, args) {
    return yield* u.load(yield* operandValue(args.address, share), args.bytes);
  }),
  store: call({ address: operand(), value: operand(), bytes: width }, function* ({ u, share }, args) {
    const value = yield* operandValue(args.value, share);
    return yield* u.store(yield* operandValue(args.address, share), value, args.bytes);
  }),
  'fetch-add': call({ address: operand(), value: operand() }, function* ({ u, share }, args) {
    const value = yield* operandValue(args.value, share);
    return yield* u.fetchAdd(yield* operandValue(args.address, share), value);
  }),
  swap: call({ address: operand(), value: operand() }, function* ({ u, share }, args) {
    const value = yield* operandValue(args.value, share);
    return yield* u.swap(yield* operandValue(args.address, share), value);
  }),
  'compare-and-swap': call(
    { address: operand(), expected: operand(), value: operand() },
    function* ({ u, share }, args) {
      const expected = yield* operandValue(args.expected, share);
      const value = yield* operandValue(args.value, share);
      return yield* u.compareAndSwap(yield* operandValue(args.address, share), expected, value);
    },
  ),
  fetch: call({ address: operand() }, function* ({ u, share }, args) {
    return yield* u.fetch(yield* operandValue(args.address, share));
  }),
};

const processCalls = {
  fork: call({ program: z.string() }, function* ({ u, children }, args) {
    return yield* u.fork(children[args.program] as Program, args.program);
  }),
  exit: call({ status: count(0, 255).default(0) }, function* ({ u }, args) {
    return yield* u.exit(args.status);
  }),
  wait: call({ pid: pid.optional() }, function* ({ u, share }, args) {
    const result = yield* u.wait(args.pid === undefined ? undefined : yield* asNumber(args.pid, share));
    return result.ok ? success(result.value.status) : result;
  }),
  kill: call({ pid, signal: z.enum(['SIGKILL']) }, function* ({ u, share }, args) {
    return yield* u.kill(yield* asNumber(args.pid, share), args.signal);
  }),
  setuid: call({ uid: count(0, 0xffff_fffe) }, function* ({ u }, args) {
    return yield* u.setuid(args.uid);
  }),
  compute: call({ cycles: count(0, 2 ** 40) }, function* ({ u }, args) {
    yield* u.compute(args.cycles);
    return success(undefined);
  }),
  set: call({ variable: variableName, value: operand() }, function* ({ share }, args) {
    share.set(args.variable, yield* operandValue(args.value, share));
    return success(undefined);
  }),
  'wait-for': call({ variable: variableName }, function* ({ share }, args) {
    return success(yield* share.wait(args.variable));
  }),
  'pid-of': call({ program: z.string() }, function* ({ u }, args) {
    yield* u.compute(0);
    return success(u.pidOf(args.program));
  }),
};

const remoteCalls = {
  'ptrace-attach': call({ pid }, function* ({ u, share }, args) {
    return yield* u.ptraceAttach(yield* asNumber(args.pid, share));
  }),
  'ptrace-detach': call({ pid }, function* ({ u, share }, args) {
    return yield* u.ptraceDetach(yield* asNumber(args.pid, share));
  }),
  peek: call({ pid, address: operand() }, function* ({ u, share }, args) {
    return yield* u.peek(yield* asNumber(args.pid, share), yield* operandValue(args.address, share));
  }),
  poke: call({ pid, address: operand(), value: operand() }, function* ({ u, share }, args) {
    const target = yield* asNumber(args.pid, share);
    const value = yield* operandValue(args.value, share);
    return yield* u.poke(target, yield* operandValue(args.address, share), value);
  }),
  'mem-open': call({ pid }, function* ({ u, share }, args) {
    return yield* u.procMemOpen(yield* asNumber(args.pid, share));
  }),
  'mem-read': call({ handle: pid, address: operand(), bytes }, function* ({ u, share }, args) {
    const handle = yield* asNumber(args.handle, share);
    return yield* u.procMemRead(handle, yield* operandValue(args.address, share), args.bytes);
  }),
  'mem-write': call(
    { handle: pid, address: operand(), value: operand(), bytes },
    function* ({ u, share }, args) {
      const handle = yield* asNumber(args.handle, share);
      const data = repeatWord(yield* operandValue(args.value, share), args.bytes);
      return yield* u.procMemWrite(handle, yield* operandValue(args.address, share), data);
    },
  ),
  'process-vm-readv': call({ pid, remote: vectors }, function* ({ u, share }, args) {
    const target = yield* asNumber(args.pid, share);
    const result = yield* u.processVmReadv(target, yield* resolve(args.remote, share));
    return result.ok ? success(result.value.data) : result;
  }),
  'process-vm-writev': call({ pid, remote: vectors, value: operand() }, function* ({ u, share }, args) {
    const target = yield* asNumber(args.pid, share);
    const size = args.remote.reduce((sum, vector) => sum + vector.bytes, 0);
    const data = repeatWord(yield* operandValue(args.value, share), size);
    return yield* u.processVmWritev(target, yield* resolve(args.remote, share), data);
  }),
};

/** STG and its kin: the tag is that of `from`, or of the address itself. */
const tagStore = (name: 'stg' | 'st2g' | 'stzg' | 'stz2g'): CallDefinition =>
  call({ address: operand(), from: operand().optional() }, function* ({ u, share }, args) {
    const address = yield* operandValue(args.address, share);
    return yield* u[name](address, args.from === undefined ? address : yield* operandValue(args.from, share));
  });

const moveTag = (name: 'addg' | 'subg'): CallDefinition =>
  call({ address: operand(), bytes: count(0, 1008), tags: count(0, 15) }, function* ({ u, share }, args) {
    return yield* u[name](yield* operandValue(args.address, share), args.bytes, args.tags);
  });

const tagBlock = (name: 'dcZva' | 'dcGva' | 'dcGzva'): CallDefinition =>
  call({ address: operand() }, function* ({ u, share }, args) {
    return yield* u[name](yield* operandValue(args.address, share));
  });

const ZERO: Operand = { variable: undefined, constant: 0n };
const tagMask = count(0, 0xffff);
/** One byte a granule, a page's worth at most. Of each byte Linux takes the low bits. */
const tagList = z.array(count(0, 255)).min(1).max(256);

const tagCalls = {
  'tagged-address-control': call(
    {
      enable: z.boolean().optional(),
      mode: z.enum(['none', 'sync', 'async', 'both']).optional(),
      tags: tagMask.optional(),
    },
    ({ u }, args) => u.setTaggedAddressControl(dropUndefined(args)),
  ),
  'tag-check-preference': call({ mode: z.enum(['async', 'sync', 'asymm']) }, ({ u }, args) =>
    u.setTagCheckPreference(args.mode),
  ),
  'tag-check-override': call({ on: z.boolean() }, ({ u }, args) => u.setTagCheckOverride(args.on)),
  irg: call({ address: operand(), exclude: tagMask.default(0) }, function* ({ u, share }, args) {
    return yield* u.irg(yield* operandValue(args.address, share), args.exclude);
  }),
  addg: moveTag('addg'),
  subg: moveTag('subg'),
  subp: call({ address: operand(), other: operand() }, function* ({ u, share }, args) {
    const other = yield* operandValue(args.other, share);
    return yield* u.subp(yield* operandValue(args.address, share), other);
  }),
  gmi: call({ address: operand(), mask: operand().default(ZERO) }, function* ({ u, share }, args) {
    const mask = yield* operandValue(args.mask, share);
    return yield* u.gmi(yield* operandValue(args.address, share), mask);
  }),
  ldg: call({ address: operand() }, function* ({ u, share }, args) {
    return yield* u.ldg(yield* operandValue(args.address, share));
  }),
  stg: tagStore('stg'),
  st2g: tagStore('st2g'),
  stzg: tagStore('stzg'),
  stz2g: tagStore('stz2g'),
  stgp: call({ address: operand(), first: operand(), second: operand() }, function* ({ u, share }, args) {
    const first = yield* operandValue(args.first, share);
    const second = yield* operandValue(args.second, share);
    return yield* u.stgp(yield* operandValue(args.address, share), first, second);
  }),
  'dc-zva': tagBlock('dcZva'),
  'dc-gva': tagBlock('dcGva'),
  'dc-gzva': tagBlock('dcGzva'),
  'peek-tags': call({ pid, address: operand(), granules: count(0, 2 ** 16) }, function* ({ u, share }, args) {
    const target = yield* asNumber(args.pid, share);
    return yield* u.peekTags(target, yield* operandValue(args.address, share), args.granules);
  }),
  'poke-tags': call({ pid, address: operand(), tags: tagList }, function* ({ u, share }, args) {
    const target = yield* asNumber(args.pid, share);
    const tags = Uint8Array.from(args.tags);
    return yield* u.pokeTags(target, yield* operandValue(args.address, share), tags);
  }),
};

/** By name in the file. */
export const CALLS: Readonly<Record<string, CallDefinition>> = {
  ...memoryCalls,
  ...mappingCalls,
  ...processCalls,
  ...remoteCalls,
  ...tagCalls,
};

/** The argument that a call with a plain value instead of a map means: `fork: child`, `wait-for: ready`. */
export const PLAIN_ARGUMENT: Readonly<Record<string, string>> = {
  fork: 'program',
  exit: 'status',
  compute: 'cycles',
  'wait-for': 'variable',
  'pid-of': 'program',
  'ptrace-attach': 'pid',
  'ptrace-detach': 'pid',
  'mem-open': 'pid',
  wait: 'pid',
  close: 'fd',
  unlink: 'path',
  'memfd-create': 'name',
};
