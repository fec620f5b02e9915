/**
 * Pipes that vmsplice fills with pages of a program: not copies, but references (get_user_pages_fast, FOLL_GET, for reading).
 * The bytes are looked at when somebody reads the pipe, whatever has become of the mapping by then.
 * Left out: write(2), splice and tee, vmsplice from a pipe, SPLICE_F_GIFT, F_SETPIPE_SZ, SIGPIPE, packets.
 * @see Linux fs/splice.c, `vmsplice_to_pipe`, `iter_to_pipe`, `add_to_pipe`; fs/pipe.c, `pipe_read`, `pipe_release`
 */
import { SharedObject, type Task } from '../../base/task.ts';
import { EAGAIN, EPIPE } from '../errno.ts';
import { getUserPagesFast } from '../gup/get-user-pages-fast.ts';
import { putUserPage } from '../gup/pin.ts';
import type { Kernel } from '../kernel.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import { WaitQueue } from '../lock/wait-queue.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_BYTES = 4096;
/** Slots of a pipe, and pages that vmsplice gets at a time. */
const PIPE_DEF_BUFFERS = 16;

/** Bytes of one page. @see `struct pipe_buffer` */
interface PipeBuffer {
  readonly frame: number;
  offset: number;
  bytes: number;
}

/** @see `struct pipe_inode_info` */
export class Pipe extends SharedObject {
  readers = 1;
  writers = 1;
  /** Oldest first. Under the mutex, as all that follows. */
  readonly buffers: PipeBuffer[] = [];
  readonly mutex: RwSemaphore;
  readonly readWait: WaitQueue;
  readonly writeWait: WaitQueue;

  constructor(kernel: Kernel) {
    super(`pipe ${kernel.nextSerial('pipe')}`);
    this.mutex = new RwSemaphore(`pipe_mutex of ${this.name}`);
    this.readWait = new WaitQueue(`rd_wait of ${this.name}`);
    this.writeWait = new WaitQueue(`wr_wait of ${this.name}`);
  }

  get full(): boolean {
    return this.buffers.length >= PIPE_DEF_BUFFERS;
  }

  /** Would a read get bytes, or the end? */
  get readable(): boolean {
    return this.buffers.length > 0 || this.writers === 0;
  }
}

/** One end, as a descriptor has it. */
export class PipeEnd {
  readonly pipe: Pipe;
  readonly writes: boolean;

  constructor(pipe: Pipe, writes: boolean) {
    this.pipe = pipe;
    this.writes = writes;
  }
}

/**
 * Puts references to the pages of [address, address + bytes) into the pipe. Bytes, fewer when the pipe is full or a page
 * cannot be had; or -EFAULT, -EPIPE (nobody reads), -EAGAIN (full, and `nonblock`), -ERESTARTSYS.
 */
export function* vmspliceToPipe(
  current: TaskStruct,
  pipe: Pipe,
  address: bigint,
  bytes: number,
  nonblock: boolean,
): Task<number> {
  if (bytes === 0) return 0;
  yield* pipe.mutex.downWrite(current);
  let result = yield* waitForSpace(current, pipe, nonblock);
  if (result === 0) result = yield* pagesToPipe(current, pipe, address, bytes);
  yield* pipe.mutex.upWrite(current);
  if (result > 0) yield* pipe.readWait.wakeUp();
  return result;
}

/** Comes and returns with the mutex. @see `wait_for_space` */
function* waitForSpace(current: TaskStruct, pipe: Pipe, nonblock: boolean): Task<number> {
  for (;;) {
    if (pipe.readers === 0) return -EPIPE;
    if (!pipe.full) return 0;
    if (nonblock) return -EAGAIN;
    yield* pipe.mutex.upWrite(current);
    const room = (): boolean => pipe.readers === 0 || !pipe.full;
    const interrupted = yield* pipe.writeWait.waitEventInterruptible(current, room, () =>
      current.signalPending(),
    );
    yield* pipe.mutex.downWrite(current);
    if (interrupted !== 0) return interrupted;
  }
}

/** @see `iter_to_pipe` */
function* pagesToPipe(current: TaskStruct, pipe: Pipe, address: bigint, bytes: number): Task<number> {
  let done = 0;
  while (done < bytes) {
    const at = address + BigInt(done);
    const offset = Number(at & 0xfffn);
    const wanted = Math.min(Math.ceil((offset + bytes - done) / PAGE_BYTES), PIPE_DEF_BUFFERS);
    const frames = new Array<number>(wanted).fill(-1);
    const got = yield* getUserPagesFast(current, Number(at >> 12n), wanted, 0, frames);
    if (got <= 0) return done > 0 ? done : got;
    const added = addPages(pipe, frames, got, offset, bytes - done);
    done += added.bytes;
    for (let i = added.pages; i < got; i++) yield* putUserPage(current, frames[i] as number);
    if (added.pages < got) return done > 0 ? done : -EAGAIN;
  }
  return done;
}

/** As many as the pipe has room for. @see `add_to_pipe` */
function addPages(pipe: Pipe, frames: readonly number[], count: number, first: number, most: number) {
  let bytes = 0;
  let pages = 0;
  for (let offset = first; pages < count && !pipe.full; pages++) {
    const part = Math.min(most - bytes, PAGE_BYTES - offset);
    pipe.buffers.push({ frame: frames[pages] as number, offset, bytes: part });
    bytes += part;
    offset = 0;
  }
  return { bytes, pages };
}

/** read(2): fills `target` with what is there, waits when nothing is. Bytes, 0 when nobody writes any more, -ERESTARTSYS. */
export function* pipeRead(current: TaskStruct, pipe: Pipe, target: Uint8Array): Task<number> {
  if (target.length === 0) return 0;
  yield* pipe.mutex.downWrite(current);
  let done = 0;
  for (;;) {
    const wasFull = pipe.full;
    done += yield* takeBytes(current, pipe, target);
    if (wasFull && !pipe.full) yield* pipe.writeWait.wakeUp();
    if (done > 0 || pipe.writers === 0) break;
    yield* pipe.mutex.upWrite(current);
    const interrupted = yield* pipe.readWait.waitEventInterruptible(
      current,
      () => pipe.readable,
      () => current.signalPending(),
    );
    if (interrupted !== 0) return interrupted;
    yield* pipe.mutex.downWrite(current);
  }
  yield* pipe.mutex.upWrite(current);
  return done;
}

/** Copies from the oldest pages, and gives back those that are empty then. */
function* takeBytes(current: TaskStruct, pipe: Pipe, target: Uint8Array): Task<number> {
  const { copyPoints, machine } = current.kernel;
  let done = 0;
  while (done < target.length) {
    const [buffer] = pipe.buffers;
    if (buffer === undefined) break;
    const part = target.subarray(done, done + buffer.bytes);
    yield copyPoints.of(buffer.frame, part.length, false);
    machine.memory.readBytes(buffer.frame, buffer.offset, part);
    buffer.offset += part.length;
    buffer.bytes -= part.length;
    done += part.length;
    if (buffer.bytes > 0) break;
    pipe.buffers.shift();
    yield* putUserPage(current, buffer.frame);
  }
  return done;
}

/** The last descriptor of one end is closed; that of the other end gives the pages back. @see `pipe_release`, `free_pipe_info` */
export function* pipeRelease(current: TaskStruct, { pipe, writes }: PipeEnd): Task<void> {
  yield* pipe.mutex.downWrite(current);
  if (writes) pipe.writers--;
  else pipe.readers--;
  yield* pipe.readWait.wakeUpAll();
  yield* pipe.writeWait.wakeUpAll();
  yield* pipe.mutex.upWrite(current);
  if (pipe.readers + pipe.writers > 0) return;
  for (const { frame } of pipe.buffers.splice(0)) yield* putUserPage(current, frame);
}
