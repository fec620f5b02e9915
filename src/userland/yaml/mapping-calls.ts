/** The calls of a YAML program that change, lock and ask about mappings, and those for files of memory. */
import { z } from 'zod';
import type { Advice } from '../user-mappings.ts';
import { asNumber, call, dropUndefined } from './define-call.ts';
import { bytes, count, length, operand, operandValue, protection } from './values.ts';

const flag = z.boolean().optional();
const fd = operand(31);
const pid = operand(31);
const range = { address: operand(), bytes: length };
const key = z.union([operand(31), z.literal(-1)]);

export const mappingCalls = {
  mremap: call(
    {
      ...range,
      newBytes: length,
      mayMove: flag,
      fixed: flag,
      dontUnmap: flag,
      newAddress: operand().optional(),
    },
    function* ({ u, share }, { address, newAddress, ...rest }) {
      const to = newAddress === undefined ? {} : { newAddress: yield* operandValue(newAddress, share) };
      return yield* u.mremap({ ...dropUndefined(rest), address: yield* operandValue(address, share), ...to });
    },
    ['address', 'newAddress'],
  ),
  madvise: call(
    { ...range, advice: z.string() },
    function* ({ u, share }, args) {
      const address = yield* operandValue(args.address, share);
      return yield* u.madvise(address, args.bytes, args.advice as Advice);
    },
    ['address'],
  ),
  'process-madvise': call({ pid, ...range, advice: z.string() }, function* ({ u, share }, args) {
    const target = yield* asNumber(args.pid, share);
    const address = yield* operandValue(args.address, share);
    return yield* u.processMadvise(target, [{ address, bytes: args.bytes }], args.advice as Advice);
  }),
  mlock: call({ ...range, onFault: z.boolean().default(false) }, function* ({ u, share }, args) {
    const address = yield* operandValue(args.address, share);
    return yield* u.mlock(address, args.bytes, { onFault: args.onFault });
  }),
  munlock: call(range, function* ({ u, share }, args) {
    return yield* u.munlock(yield* operandValue(args.address, share), args.bytes);
  }),
  mlockall: call({ current: flag, future: flag, onFault: flag }, ({ u }, args) =>
    u.mlockall(dropUndefined(args)),
  ),
  munlockall: call({}, ({ u }) => u.munlockall()),
  mincore: call({ address: operand(), bytes }, function* ({ u, share }, args) {
    return yield* u.mincore(yield* operandValue(args.address, share), args.bytes);
  }),
  msync: call({ ...range, async: flag, invalidate: flag, sync: flag }, function* ({ u, share }, args) {
    const { address, bytes: size, ...flags } = args;
    return yield* u.msync(yield* operandValue(address, share), size, dropUndefined(flags));
  }),
  mseal: call(
    range,
    function* ({ u, share }, args) {
      return yield* u.mseal(yield* operandValue(args.address, share), args.bytes);
    },
    ['address'],
  ),
  'pkey-alloc': call({ disableAccess: flag, disableWrite: flag }, ({ u }, args) =>
    u.pkeyAlloc(dropUndefined(args)),
  ),
  'pkey-free': call({ key: operand(31) }, function* ({ u, share }, args) {
    return yield* u.pkeyFree(yield* asNumber(args.key, share));
  }),
  'pkey-mprotect': call(
    { ...range, prot: protection, key },
    function* ({ u, share }, args) {
      const number = args.key === -1 ? -1 : yield* asNumber(args.key, share);
      return yield* u.pkeyMprotect(yield* operandValue(args.address, share), args.bytes, args.prot, number);
    },
    ['address'],
  ),
  'memfd-create': call(
    {
      name: z.string(),
      cloexec: flag,
      allowSealing: flag,
      hugetlb: z.union([z.boolean(), z.enum(['2MiB', '1GiB'])]).optional(),
    },
    ({ u }, { name, ...flags }) => u.memfdCreate(name, dropUndefined(flags)),
  ),
  open: call(
    {
      path: z.string(),
      mode: z.enum(['r', 'w', 'rw']).optional(),
      create: flag,
      exclusive: flag,
      truncate: flag,
    },
    ({ u }, { path, ...how }) => u.open(path, dropUndefined(how)),
  ),
  unlink: call({ path: z.string() }, ({ u }, args) => u.unlink(args.path)),
  close: call({ fd }, function* ({ u, share }, args) {
    return yield* u.close(yield* asNumber(args.fd, share));
  }),
  ftruncate: call({ fd, bytes: length }, function* ({ u, share }, args) {
    return yield* u.ftruncate(yield* asNumber(args.fd, share), args.bytes);
  }),
  fallocate: call(
    { fd, offset: length, bytes: length, keepSize: flag, punchHole: flag },
    function* ({ u, share }, { fd: descriptor, ...rest }) {
      return yield* u.fallocate(yield* asNumber(descriptor, share), dropUndefined(rest));
    },
  ),
  pread: call({ fd, bytes, offset: length.default(0n) }, function* ({ u, share }, args) {
    return yield* u.pread(yield* asNumber(args.fd, share), args.bytes, args.offset);
  }),
  pwrite: call(
    { fd, value: operand(), bytes: count(0, 8).default(8), offset: length.default(0n) },
    function* ({ u, share }, args) {
      const value = yield* operandValue(args.value, share);
      const data = new Uint8Array(new BigUint64Array([value]).buffer).subarray(0, args.bytes);
      return yield* u.pwrite(yield* asNumber(args.fd, share), data, args.offset);
    },
  ),
};
