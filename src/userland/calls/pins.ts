/** The calls of `User` for drivers that pin memory. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { ibDeregMr, ibRegMr, RdmaDevice, rdmaOpen } from '../../kernel/consumers/ib-umem.ts';
import {
  type FixedRequest,
  IoRing,
  ioReadFixed,
  ioRegisterBuffers,
  ioUnregisterBuffers,
  ioUringSetup,
  ioWriteFixed,
} from '../../kernel/consumers/io-uring-buffers.ts';
import { Ioas, ioasAttach, ioasMap, ioasUnmap, iommufdOpen } from '../../kernel/consumers/iommufd.ts';
import { PinningDevice } from '../../kernel/consumers/pinning-device.ts';
import { VduseDevice, vduseDeregUmem, vduseOpen, vduseRegUmem } from '../../kernel/consumers/vduse.ts';
import { VfioContainer, vfioMapDma, vfioOpen, vfioUnmapDma } from '../../kernel/consumers/vfio-type1.ts';
import {
  VhostVdpa,
  vhostIotlbInvalidate,
  vhostIotlbUpdate,
  vhostVdpaOpen,
} from '../../kernel/consumers/vhost-vdpa.ts';
import {
  VideoDevice,
  videobufFree,
  videobufInitUser,
  videoOpen,
} from '../../kernel/consumers/videobuf-dma-sg.ts';
import { XdpSocket, xdpSocket, xdpUmemReg } from '../../kernel/consumers/xdp-umem.ts';
import { EBADF } from '../../kernel/errno.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { type Outcome, success } from '../outcome.ts';
import type * as args from '../pin-arguments.ts';
import type { MemoryRange } from '../ranges.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import { mappedFileOf } from './files.ts';
import { openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';
import { rangeVectors, shownRanges } from './range-vectors.ts';

const OPTIONS: Readonly<Record<args.DriverName, readonly string[]>> = {
  io_uring: ['form'],
  vfio: [],
  iommufd: ['account', 'attached'],
  rdma: ['adapter'],
  xdp: [],
  'vhost-vdpa': [],
  vduse: ['bounceBytes'],
  videobuf: [],
};

/** @throws InputError for a word that is not among those allowed */
function oneOf<T extends string>(value: T, allowed: readonly T[], what: string): T {
  if (allowed.includes(value)) return value;
  throw new InputError(what, { expected: allowed.join(', '), found: String(value) });
}

function* open(
  { task }: ProcessContext,
  name: args.DriverName,
  options: args.DriverOptions,
): Task<PinningDevice> {
  switch (name) {
    case 'io_uring':
      return yield* ioUringSetup(task, options.form ?? 'today');
    case 'vfio':
      return vfioOpen(task);
    case 'iommufd': {
      const ioas = iommufdOpen(task, options.account ?? 'user');
      if (options.attached !== false) yield* ioasAttach(task, ioas);
      return ioas;
    }
    case 'rdma':
      return rdmaOpen(task, options.adapter ?? 'core');
    case 'xdp':
      return xdpSocket(task);
    case 'vhost-vdpa':
      return yield* vhostVdpaOpen(task);
    case 'vduse':
      return vduseOpen(task, word(options.bounceBytes ?? 65536, 'openDriver: bounceBytes'));
    case 'videobuf':
      return videoOpen(task);
  }
}

export function openDriver(
  context: ProcessContext,
  name: args.DriverName,
  options: args.DriverOptions,
): Task<Outcome<number>> {
  oneOf(name, Object.keys(OPTIONS) as args.DriverName[], 'openDriver: name');
  checkKeys(options, OPTIONS[name], `openDriver ${name}`);
  if (options.form !== undefined) oneOf(options.form, ['today', 'v4', '6.4'], 'openDriver: form');
  if (options.account !== undefined) oneOf(options.account, ['user', 'mm'], 'openDriver: account');
  if (options.adapter !== undefined) {
    oneOf(options.adapter, ['core', 'siw', 'usnic', 'qib'], 'openDriver: adapter');
  }
  return systemCall(context, 'open', [`/dev/${name}`], open(context, name, options), (device) => {
    const file = new OpenFile(`file of ${device.name}`, device, (current) => device.release(current));
    return success(context.task.files.install(file));
  });
}

/** A call on a device of one kind; -EBADF for a descriptor of something else. */
function on<Device extends PinningDevice, T>(
  context: ProcessContext,
  kind: abstract new (...all: never[]) => Device,
  fd: number,
  shown: readonly [name: string, ...rest: string[]],
  call: (device: Device) => Task<number>,
  toOutcome: (result: number) => Outcome<T>,
): Task<Outcome<T>> {
  const device = openFileOf(context, fd)?.value;
  const body = device instanceof kind ? call(device) : atomically(() => -EBADF);
  return systemCall(context, 'ioctl', [`${fd}`, ...shown], body, toOutcome);
}

export function ioUringRegisterBuffers(
  context: ProcessContext,
  fd: number,
  ranges: readonly MemoryRange[],
): Task<Outcome<void>> {
  const vectors = rangeVectors(ranges, 'ioUringRegisterBuffers');
  const buffers = vectors.map(({ base, length }) => ({ address: base as bigint, bytes: length }));
  const shown = ['IORING_REGISTER_BUFFERS', shownRanges(vectors)] as const;
  const call = (ring: IoRing) => ioRegisterBuffers(context.task, ring, buffers);
  return on(context, IoRing, fd, shown, call, doneOrErrno);
}

export function ioUringUnregisterBuffers(context: ProcessContext, fd: number): Task<Outcome<void>> {
  const call = (ring: IoRing) => ioUnregisterBuffers(context.task, ring);
  return on(context, IoRing, fd, ['IORING_UNREGISTER_BUFFERS'], call, doneOrErrno);
}

const FIXED_KEYS = ['file', 'offset', 'buffer', 'address', 'bytes'] as const;

export function ioUringFixed(
  context: ProcessContext,
  name: 'ioUringReadFixed' | 'ioUringWriteFixed',
  fd: number,
  request: args.FixedRequestArguments,
): Task<Outcome<number>> {
  checkKeys(request, FIXED_KEYS, name);
  const file = mappedFileOf(context, request.file);
  const address = word(request.address, `${name}: address`);
  const bytes = word(request.bytes, `${name}: bytes`);
  const offset = byteCount(request.offset ?? 0, `${name}: offset`);
  const read = name === 'ioUringReadFixed';
  const opcode = read ? 'IORING_OP_READ_FIXED' : 'IORING_OP_WRITE_FIXED';
  const call = (ring: IoRing): Task<number> => {
    if (file === null) return atomically(() => -EBADF);
    const fixed: FixedRequest = { file, offset, buffer: request.buffer ?? 0, address, bytes };
    return read ? ioReadFixed(context.task, ring, fixed) : ioWriteFixed(context.task, ring, fixed);
  };
  return on(context, IoRing, fd, [opcode, hexAddress(address), `${bytes}`], call, countOrErrno);
}

const MAP_KEYS = ['iova', 'address', 'bytes', 'read', 'write'] as const;
const UNMAP_KEYS = ['iova', 'bytes', 'all'] as const;

function mapRequest(map: args.DmaMapArguments, what: string) {
  checkKeys(map, MAP_KEYS, what);
  return {
    iova: word(map.iova, `${what}: iova`),
    address: word(map.address, `${what}: address`),
    bytes: word(map.bytes, `${what}: bytes`),
    read: map.read !== false,
    write: map.write !== false,
  };
}

function unmapRequest(unmap: args.DmaUnmapArguments, what: string) {
  checkKeys(unmap, UNMAP_KEYS, what);
  return {
    iova: word(unmap.iova ?? 0n, `${what}: iova`),
    bytes: word(unmap.bytes ?? 0, `${what}: bytes`),
    all: unmap.all === true,
  };
}

export function vfioMap(context: ProcessContext, fd: number, map: args.DmaMapArguments): Task<Outcome<void>> {
  const request = mapRequest(map, 'vfioMapDma');
  const { iova, address, bytes } = request;
  const shown = ['VFIO_IOMMU_MAP_DMA', hexAddress(iova), hexAddress(address), hex(bytes)] as const;
  const call = (container: VfioContainer) => vfioMapDma(context.task, container, request);
  return on(context, VfioContainer, fd, shown, call, doneOrErrno);
}

export function vfioUnmap(
  context: ProcessContext,
  fd: number,
  unmap: args.DmaUnmapArguments,
): Task<Outcome<number>> {
  const { iova, bytes, all } = unmapRequest(unmap, 'vfioUnmapDma');
  const shown = ['VFIO_IOMMU_UNMAP_DMA', hexAddress(iova), hex(bytes)] as const;
  const call = (container: VfioContainer) => vfioUnmapDma(context.task, container, iova, bytes, all);
  return on(context, VfioContainer, fd, shown, call, countOrErrno);
}

export function iommufdMap(
  context: ProcessContext,
  fd: number,
  map: args.DmaMapArguments,
): Task<Outcome<void>> {
  const request = mapRequest(map, 'iommufdMap');
  const shown = ['IOMMU_IOAS_MAP', hexAddress(request.iova), hexAddress(request.address)] as const;
  return on(context, Ioas, fd, shown, (ioas) => ioasMap(context.task, ioas, request), doneOrErrno);
}

export function iommufdUnmap(
  context: ProcessContext,
  fd: number,
  unmap: args.DmaUnmapArguments,
): Task<Outcome<number>> {
  const { iova, bytes, all } = unmapRequest(unmap, 'iommufdUnmap');
  const shown = ['IOMMU_IOAS_UNMAP', hexAddress(iova), hex(bytes)] as const;
  const call = (ioas: Ioas) => ioasUnmap(context.task, ioas, iova, bytes, all);
  return on(context, Ioas, fd, shown, call, countOrErrno);
}

export function iommufdAttach(context: ProcessContext, fd: number): Task<Outcome<void>> {
  const call = (ioas: Ioas) => ioasAttach(context.task, ioas);
  return on(context, Ioas, fd, ['VFIO_DEVICE_ATTACH_IOMMUFD_PT'], call, doneOrErrno);
}

export function regMr(
  context: ProcessContext,
  fd: number,
  region: args.MemoryRegionArguments,
): Task<Outcome<number>> {
  checkKeys(region, ['address', 'bytes', 'write', 'onDemand'], 'ibRegMr');
  const request = {
    address: word(region.address, 'ibRegMr: address'),
    bytes: word(region.bytes, 'ibRegMr: bytes'),
    write: region.write !== false,
    onDemand: region.onDemand === true,
  };
  const shown = ['REG_MR', hexAddress(request.address), hex(request.bytes)] as const;
  const call = (device: RdmaDevice) => ibRegMr(context.task, device, request);
  return on(context, RdmaDevice, fd, shown, call, countOrErrno);
}

export function deregMr(context: ProcessContext, fd: number, key: number): Task<Outcome<void>> {
  const call = (device: RdmaDevice) => ibDeregMr(context.task, device, key);
  return on(context, RdmaDevice, fd, ['DEREG_MR', `${key}`], call, doneOrErrno);
}

const XDP_KEYS = ['address', 'bytes', 'chunkSize', 'headroom', 'unalignedChunks'] as const;

export function xdpUmem(
  context: ProcessContext,
  fd: number,
  umem: args.XdpUmemArguments,
): Task<Outcome<void>> {
  checkKeys(umem, XDP_KEYS, 'xdpUmemReg');
  const request = {
    address: word(umem.address, 'xdpUmemReg: address'),
    bytes: word(umem.bytes, 'xdpUmemReg: bytes'),
    chunkSize: umem.chunkSize ?? 4096,
    headroom: umem.headroom ?? 0,
    unalignedChunks: umem.unalignedChunks === true,
  };
  const shown = ['XDP_UMEM_REG', hexAddress(request.address), hex(request.bytes)] as const;
  const call = (socket: XdpSocket) => xdpUmemReg(context.task, socket, request);
  return on(context, XdpSocket, fd, shown, call, doneOrErrno);
}

export function vhostMap(
  context: ProcessContext,
  fd: number,
  map: args.VhostMapArguments,
): Task<Outcome<void>> {
  checkKeys(map, ['iova', 'address', 'bytes', 'access'], 'vhostVdpaMap');
  const update = {
    iova: word(map.iova, 'vhostVdpaMap: iova'),
    address: word(map.address, 'vhostVdpaMap: address'),
    bytes: word(map.bytes, 'vhostVdpaMap: bytes'),
    access: oneOf(map.access ?? 'rw', ['ro', 'wo', 'rw'], 'vhostVdpaMap: access'),
  };
  const shown = ['VHOST_IOTLB_UPDATE', hexAddress(update.iova), hexAddress(update.address)] as const;
  const call = (device: VhostVdpa) => vhostIotlbUpdate(context.task, device, update);
  return on(context, VhostVdpa, fd, shown, call, doneOrErrno);
}

export function vhostUnmap(
  context: ProcessContext,
  fd: number,
  unmap: args.DmaUnmapArguments,
): Task<Outcome<void>> {
  const { iova, bytes } = unmapRequest(unmap, 'vhostVdpaUnmap');
  const shown = ['VHOST_IOTLB_INVALIDATE', hexAddress(iova), hex(bytes)] as const;
  const call = (device: VhostVdpa) => vhostIotlbInvalidate(context.task, device, iova, bytes);
  return on(context, VhostVdpa, fd, shown, call, doneOrErrno);
}

export function vduseReg(
  context: ProcessContext,
  fd: number,
  umem: args.VduseUmemArguments,
): Task<Outcome<void>> {
  checkKeys(umem, ['iova', 'address', 'bytes'], 'vduseRegUmem');
  const iova = word(umem.iova ?? 0n, 'vduseRegUmem: iova');
  const address = word(umem.address, 'vduseRegUmem: address');
  const bytes = word(umem.bytes, 'vduseRegUmem: bytes');
  const shown = ['VDUSE_IOTLB_REG_UMEM', hexAddress(address), hex(bytes)] as const;
  const call = (device: VduseDevice) => vduseRegUmem(context.task, device, iova, address, bytes);
  return on(context, VduseDevice, fd, shown, call, doneOrErrno);
}

export function vduseDereg(context: ProcessContext, fd: number, bytes: Word): Task<Outcome<void>> {
  const length = word(bytes, 'vduseDeregUmem: bytes');
  const call = (device: VduseDevice) => vduseDeregUmem(context.task, device, 0n, length);
  return on(context, VduseDevice, fd, ['VDUSE_IOTLB_DEREG_UMEM', hex(length)], call, doneOrErrno);
}

export function videobufMap(
  context: ProcessContext,
  fd: number,
  address: bigint,
  bytes: Word,
  capture: boolean,
): Task<Outcome<void>> {
  const at = word(address, 'videobufMap: address');
  const length = word(bytes, 'videobufMap: bytes');
  const shown = ['VIDIOC_QBUF', hexAddress(at), hex(length)] as const;
  const call = (device: VideoDevice) => videobufInitUser(context.task, device, at, length, capture);
  return on(context, VideoDevice, fd, shown, call, doneOrErrno);
}

export function videobufUnmap(context: ProcessContext, fd: number): Task<Outcome<void>> {
  const call = (device: VideoDevice) => videobufFree(context.task, device);
  return on(context, VideoDevice, fd, ['VIDIOC_STREAMOFF'], call, doneOrErrno);
}

export function dmaRead(
  context: ProcessContext,
  fd: number,
  address: bigint,
  bytes: Word,
): Task<Outcome<Uint8Array>> {
  const at = word(address, 'dmaRead: address');
  const buffer = new Uint8Array(byteCount(bytes, 'dmaRead: bytes'));
  const call = (device: PinningDevice) => device.dmaRead(context.task, at, buffer);
  return on(context, PinningDevice, fd, ['DMA read', hexAddress(at), `${buffer.length}`], call, (got) =>
    got < 0 ? errnoFailure(got) : success(buffer.slice(0, got)),
  );
}

export function dmaWrite(
  context: ProcessContext,
  fd: number,
  address: bigint,
  data: Uint8Array,
): Task<Outcome<number>> {
  const at = word(address, 'dmaWrite: address');
  const call = (device: PinningDevice) => device.dmaWrite(context.task, at, data);
  return on(context, PinningDevice, fd, ['DMA write', hexAddress(at), `${data.length}`], call, countOrErrno);
}

/** Counters of pages that drivers keep, of this process and its user. */
export function pinnedPages({ task }: ProcessContext): {
  readonly pinned: number;
  readonly locked: number;
  readonly user: number;
} {
  return {
    pinned: task.mm?.pinnedVm ?? 0,
    locked: task.mm?.lockedVm ?? 0,
    user: task.kernel.users.of(task.uid).lockedVm,
  };
}
