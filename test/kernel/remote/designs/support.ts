/** A reader and a target under one of the designs, and what a test wants to know of a transfer. */
import type { SchedPoint, Task } from '../../../../src/base/task.ts';
import type { DesignName } from '../../../../src/kernel/remote/design-names.ts';
import { designNamed } from '../../../../src/kernel/remote/designs/registry.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { BASE_PAGE, mmOf, ProcessWorld, type ProcessWorldOptions } from '../../mm/process-world.ts';

export const RW = 3;
/** A page at a boundary of 2 MiB. */
export const HUGE_AT = 8;

export class DesignWorld extends ProcessWorld {
  readonly target: TaskStruct;
  readonly reader: TaskStruct;

  constructor(design: DesignName, { kernel = {}, ...options }: ProcessWorldOptions = {}) {
    super({
      memoryBytes: 0x200_0000,
      ...options,
      kernel: { swapPages: 64, hugepages2M: 2, lockdep: true, ...kernel },
    });
    this.kernel.remoteAccess = designNamed(design);
    this.target = this.process('target', 0);
    this.reader = this.process('reader', (options.cpus ?? 1) > 1 ? 1 : 0);
  }

  /** Stores `value` in the first byte of each page. */
  fill(page: number, pages: number, value = 1): void {
    for (let i = 0; i < pages; i++) this.store(this.target, page + i, value + i);
  }

  /** `__access_remote_vm` of the target's memory, as the reader. */
  transfer(page: number, buffer: Uint8Array, gupFlags = 0, offset = 0): Task<number> {
    const { mm } = { mm: mmOf(this.target) };
    const design = this.kernel.remoteAccess;
    if (design === null) throw new Error('no design');
    this.kernel.remoteCounters.calls++;
    return design.accessRemoteVm(this.reader, {
      mm,
      page: BASE_PAGE + page,
      offset,
      buffer,
      length: buffer.length,
      gupFlags,
    });
  }

  /** Bytes moved, and the first byte of each page of them. */
  read(page: number, pages: number, gupFlags = 0): readonly number[] {
    const buffer = new Uint8Array(pages * 4096);
    const moved = this.run(this.reader, this.transfer(page, buffer, gupFlags));
    return [moved, ...firstBytes(buffer, moved)];
  }

  get fallbacks(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.kernel.remoteCounters.fallbackReasons());
  }

  /** Nobody holds a lock of the target's memory, and every count is right. */
  leftovers(): readonly string[] {
    const { mm } = this.target;
    const held =
      mm === null ? [] : [...mm.vmas].filter(({ refcount }) => refcount !== 1).map(({ name }) => name);
    if (mm?.mmapLock.isLocked()) held.push(mm.mmapLock.name);
    return [
      ...held,
      ...this.inconsistencies(),
      ...(this.kernel.lockdep?.reports ?? []).map((one) => one.summary),
    ];
  }
}

export function firstBytes(buffer: Uint8Array, moved: number): number[] {
  const bytes: number[] = [];
  for (let at = 0; at < moved; at += 4096) bytes.push(buffer[at] as number);
  return bytes;
}

/** The same path; every point that it passes goes to `log`. */
export function* logged<T>(path: Task<T>, log: SchedPoint[]): Task<T> {
  for (;;) {
    const step = path.next();
    if (step.done) return step.value;
    log.push(step.value);
    yield step.value;
  }
}
