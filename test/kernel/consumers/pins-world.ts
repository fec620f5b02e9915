/** A process and every driver that pins memory, in one form: how it is opened, given memory, and what its device calls it. */
import type { Task } from '../../../src/base/task.ts';
import {
  ibDeregMr,
  ibRegMr,
  type RdmaDevice,
  type RdmaDriver,
  rdmaOpen,
} from '../../../src/kernel/consumers/ib-umem.ts';
import {
  type IoRing,
  ioRegisterBuffers,
  ioUnregisterBuffers,
  ioUringSetup,
} from '../../../src/kernel/consumers/io-uring-buffers.ts';
import type { IoPinForm } from '../../../src/kernel/consumers/io-uring-pages.ts';
import {
  type Ioas,
  type IommufdAccount,
  ioasAttach,
  ioasMap,
  ioasUnmap,
  iommufdOpen,
} from '../../../src/kernel/consumers/iommufd.ts';
import type { PinningDevice } from '../../../src/kernel/consumers/pinning-device.ts';
import {
  type VduseDevice,
  vduseDeregUmem,
  vduseOpen,
  vduseRegUmem,
} from '../../../src/kernel/consumers/vduse.ts';
import {
  type VfioContainer,
  vfioMapDma,
  vfioOpen,
  vfioUnmapDma,
} from '../../../src/kernel/consumers/vfio-type1.ts';
import {
  type VhostVdpa,
  vhostIotlbInvalidate,
  vhostIotlbUpdate,
  vhostVdpaOpen,
} from '../../../src/kernel/consumers/vhost-vdpa.ts';
import {
  type VideoDevice,
  videobufFree,
  videobufInitUser,
  videoOpen,
} from '../../../src/kernel/consumers/videobuf-dma-sg.ts';
import { type XdpSocket, xdpSocket, xdpUmemReg } from '../../../src/kernel/consumers/xdp-umem.ts';
import { OpenFile } from '../../../src/kernel/process/descriptors.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { PAGE, type World } from '../support/world.ts';

/** Pages that every test gives a driver. */
export const PAGES = 4;
const BYTES = BigInt(PAGES) * PAGE;
const IOVA = 0x40_0000n;

/** What counts the pages of a driver: `pinned_vm` or `locked_vm` of the mm, `locked_vm` of the user. */
export type Account = 'pinned' | 'locked' | 'user';

/** A driver. `map` and `unmap` give 0 or more, or -errno. */
export interface Driver<Device extends PinningDevice = PinningDevice> {
  readonly name: string;
  open(world: World, task: TaskStruct): Device;
  map(task: TaskStruct, device: Device, address: bigint): Task<number>;
  unmap(task: TaskStruct, device: Device): Task<unknown>;
  /** What the device calls the first byte. */
  at(address: bigint): bigint;
  /** Of a process without capabilities. */
  readonly counts: readonly Account[];
  /** With CAP_IPC_LOCK, what still counts. */
  readonly countsForRoot: readonly Account[];
  /** -errno above RLIMIT_MEMLOCK, and with CAP_IPC_LOCK; 0 where it makes no difference. */
  readonly overLimit: number;
  readonly overLimitForRoot: number;
  /** -errno where the third page is not there. */
  readonly hole: number;
}

const driver = <Device extends PinningDevice>(each: Driver<Device>): Driver => each as unknown as Driver;
const identity = (address: bigint): bigint => address;

const ring = (form: IoPinForm): Driver =>
  driver<IoRing>({
    name: `io_uring, ${form}`,
    open: (world, task) => world.run(task, ioUringSetup(task, form)),
    map: (task, device, address) => ioRegisterBuffers(task, device, [{ address, bytes: BYTES }]),
    unmap: ioUnregisterBuffers,
    at: identity,
    counts: ['pinned', 'user'],
    countsForRoot: ['pinned'],
    overLimit: -12,
    overLimitForRoot: 0,
    hole: -14,
  });

const iommufd = (account: IommufdAccount): Driver =>
  driver<Ioas>({
    name: `iommufd, ${account}`,
    open(world, task) {
      const ioas = iommufdOpen(task, account);
      world.run(task, ioasAttach(task, ioas));
      return ioas;
    },
    map: (task, ioas, address) =>
      ioasMap(task, ioas, { iova: IOVA, address, bytes: BYTES, read: true, write: true }),
    unmap: (task, ioas) => ioasUnmap(task, ioas, IOVA, BYTES, false),
    at: () => IOVA,
    counts: ['pinned', account === 'mm' ? 'locked' : 'user'],
    countsForRoot: ['pinned'],
    overLimit: -12,
    overLimitForRoot: 0,
    hole: -14,
  });

const rdma = (adapter: RdmaDriver): Driver =>
  driver<RdmaDevice>({
    name: `rdma, ${adapter}`,
    open: (_world, task) => rdmaOpen(task, adapter),
    map: (task, device, address) =>
      ibRegMr(task, device, { address, bytes: BYTES, write: true, onDemand: false }),
    unmap: (task, device) => ibDeregMr(task, device, 1),
    at: identity,
    counts: ['pinned'],
    countsForRoot: ['pinned'],
    overLimit: -12,
    overLimitForRoot: adapter === 'siw' ? -12 : 0,
    hole: -14,
  });

export const DRIVERS: readonly Driver[] = [
  ring('today'),
  ring('6.4'),
  ring('v4'),
  driver<VfioContainer>({
    name: 'vfio',
    open: (_world, task) => vfioOpen(task),
    map: (task, container, address) =>
      vfioMapDma(task, container, { iova: IOVA, address, bytes: BYTES, read: true, write: true }),
    unmap: (task, container) => vfioUnmapDma(task, container, IOVA, BYTES, false),
    at: () => IOVA,
    counts: ['locked'],
    countsForRoot: ['locked'],
    overLimit: -12,
    overLimitForRoot: 0,
    hole: -14,
  }),
  iommufd('user'),
  iommufd('mm'),
  rdma('core'),
  rdma('siw'),
  rdma('usnic'),
  rdma('qib'),
  driver<XdpSocket>({
    name: 'xdp',
    open: (_world, task) => xdpSocket(task),
    map: (task, socket, address) =>
      xdpUmemReg(task, socket, {
        address,
        bytes: BYTES,
        chunkSize: 4096,
        headroom: 0,
        unalignedChunks: false,
      }),
    unmap: (task, socket) => socket.release(task),
    at: () => 0n,
    counts: ['user'],
    countsForRoot: [],
    overLimit: -105,
    overLimitForRoot: 0,
    hole: -12,
  }),
  driver<VhostVdpa>({
    name: 'vhost-vdpa',
    open: (world, task) => world.run(task, vhostVdpaOpen(task)),
    map: (task, device, address) =>
      vhostIotlbUpdate(task, device, { iova: IOVA, address, bytes: BYTES, access: 'rw' }),
    unmap: (task, device) => vhostIotlbInvalidate(task, device, IOVA, BYTES),
    at: () => IOVA,
    counts: ['pinned'],
    countsForRoot: ['pinned'],
    overLimit: -12,
    overLimitForRoot: -12,
    hole: -12,
  }),
  driver<VduseDevice>({
    name: 'vduse',
    open: (_world, task) => vduseOpen(task, BYTES),
    map: (task, device, address) => vduseRegUmem(task, device, 0n, address, BYTES),
    unmap: (task, device) => vduseDeregUmem(task, device, 0n, BYTES),
    at: () => 0n,
    counts: ['pinned'],
    countsForRoot: ['pinned'],
    overLimit: -12,
    overLimitForRoot: -12,
    hole: -12,
  }),
  driver<VideoDevice>({
    name: 'videobuf',
    open: (_world, task) => videoOpen(task),
    map: (task, device, address) => videobufInitUser(task, device, address, BYTES, true),
    unmap: videobufFree,
    at: () => 0n,
    counts: [],
    countsForRoot: [],
    overLimit: 0,
    overLimitForRoot: 0,
    hole: -22,
  }),
];

/** A descriptor of the process refers to the device. */
export function install(task: TaskStruct, device: PinningDevice): number {
  return task.files.install(new OpenFile(device.name, device, (current) => device.release(current)));
}

/** Pages counted by each account. */
export function counted(task: TaskStruct): Record<Account, number> {
  const { mm, kernel, uid } = task;
  return { pinned: mm?.pinnedVm ?? 0, locked: mm?.lockedVm ?? 0, user: kernel.users.of(uid).lockedVm };
}
