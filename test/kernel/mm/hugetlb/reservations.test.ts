/**
 * Promises of huge pages under random programs of several processes. At every moment each promise is backed by a free
 * page, each page is in the pool or in use, and no fault of a mapping that was promised its pages fails; at the end
 * everything is back.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../../src/kernel/mm/fallocate.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import { hugetlbMemfdCreate } from '../../../../src/kernel/mm/hugetlb/hugetlb-file.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { fput, type MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import { MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { mmOf } from '../process-world.ts';
import { at, HUGE, HugetlbWorld, RW } from './hugetlb-world.ts';

const SLOTS = 6;
const POOL = 8;
const MADV_DONTNEED = 4;
const MIB2 = 0x20_0000n;
const MAYMOVE_FIXED = 3;

const slot = fc.nat({ max: SLOTS - 1 });
const pages = fc.integer({ min: 1, max: 3 });
const operation = fc.oneof(
  fc.record({ op: fc.constant('map' as const), who: fc.nat(3), slot, pages, kind: fc.nat(4) }),
  fc.record({ op: fc.constant('unmap' as const), who: fc.nat(3), slot, pages }),
  fc.record({ op: fc.constant('write' as const), who: fc.nat(3), slot }),
  fc.record({ op: fc.constant('read' as const), who: fc.nat(3), slot }),
  fc.record({ op: fc.constant('dontneed' as const), who: fc.nat(3), slot, pages }),
  fc.record({ op: fc.constant('protect' as const), who: fc.nat(3), slot, readOnly: fc.boolean() }),
  fc.record({ op: fc.constant('move' as const), who: fc.nat(3), slot, to: slot }),
  fc.record({ op: fc.constant('fork' as const), who: fc.nat(3) }),
  fc.record({ op: fc.constant('exit' as const), who: fc.nat(3) }),
  fc.record({ op: fc.constant('truncate' as const), size: fc.nat(5) }),
  fc.record({ op: fc.constant('hole' as const), slot, pages }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const KINDS = [MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_NORESERVE, MAP_SHARED, MAP_PRIVATE];
/** From here on the mapping is of the file. */
const FILE_KIND = 3;

class Program {
  readonly world = new HugetlbWorld({ kernel: { hugepages2M: POOL } });
  readonly #tasks: TaskStruct[] = [this.world.process('first')];
  /** A child used a page that its owner had unmapped: as in Linux, one promise too many could be made meanwhile. */
  #overPromised = false;
  readonly #file = hugetlbMemfdCreate(this.world.kernel, 'a', 0) as MappedFile;

  run(step: Operation): void {
    const { world } = this;
    const task = this.#tasks['who' in step ? step.who % this.#tasks.length : 0];
    if (task === undefined) return;
    switch (step.op) {
      case 'map': {
        const file = step.kind >= FILE_KIND ? this.#file : null;
        const offset = file === null ? 0 : step.slot * HUGE;
        const flags = KINDS[step.kind] as number;
        world.mapHuge(task, step.slot * HUGE, step.pages * HUGE, { flags, file, offset });
        return;
      }
      case 'unmap':
        world.unmapHuge(task, step.slot * HUGE, step.pages * HUGE);
        return;
      case 'write':
        this.#touch(task, step.slot, true);
        return;
      case 'read':
        this.#touch(task, step.slot, false);
        return;
      case 'dontneed':
        world.run(task, sysMadvise(task, at(step.slot * HUGE), BigInt(step.pages) * MIB2, MADV_DONTNEED));
        return;
      case 'protect':
        world.run(task, sysMprotect(task, at(step.slot * HUGE), MIB2, step.readOnly ? PROT_READ : RW));
        return;
      default:
        this.#more(step, task);
    }
  }

  #more(step: Operation, task: TaskStruct): void {
    const { world } = this;
    switch (step.op) {
      case 'move':
        this.#move(task, step.slot, step.to);
        return;
      case 'fork':
        if (this.#tasks.length < 4) this.#tasks.push(world.fork(task, `child ${this.#tasks.length}`));
        return;
      case 'exit':
        if (this.#tasks.length > 1) this.#exit(task);
        return;
      case 'truncate':
        world.run(task, fileTruncate(task, this.#file, BigInt(step.size) * MIB2));
        return;
      case 'hole': {
        const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        const [from, length] = [BigInt(step.slot) * MIB2, BigInt(step.pages) * MIB2];
        world.run(task, fileFallocate(task, this.#file, mode, from, length));
        return;
      }
      default:
    }
  }

  #touch(task: TaskStruct, place: number, write: boolean): void {
    const promised = this.#isPromised(task, place);
    const outcome = write ? this.world.put(task, place * HUGE, 1) : this.world.get(task, place * HUGE);
    const failed = outcome !== null && typeof outcome !== 'number' && outcome.signal === 7;
    if (promised && !this.#overPromised) expect(failed).toBe(false);
  }

  /** A private mapping of anonymous memory that owns its promises: it never lacks a page. */
  #isPromised(task: TaskStruct, place: number): boolean {
    const vma = mmOf(task).vmas.lookup(Number(at(place * HUGE) >> 12n));
    const data = vma?.privateData as { readonly owner: boolean } | undefined | null;
    return vma?.file !== this.#file && data?.owner === true;
  }

  /** Whole VMAs only: of a part, Linux loses the promises of the rest. */
  #move(task: TaskStruct, from: number, to: number): void {
    const vma = mmOf(task).vmas.lookup(Number(at(from * HUGE) >> 12n));
    if (vma === null) return;
    const length = BigInt(vma.pages) << 12n;
    const start = BigInt(vma.start) << 12n;
    this.world.run(task, sysMremap(task, start, length, length, MAYMOVE_FIXED, at((8 + to) * HUGE)));
  }

  #exit(task: TaskStruct): void {
    this.world.exit(task);
    this.#tasks.splice(this.#tasks.indexOf(task), 1);
  }

  check(): void {
    const { pool } = this.world;
    if (pool.restoring > 0) this.#overPromised = true;
    expect(pool.resvHugePages + pool.restoring).toBeGreaterThanOrEqual(0);
    if (!this.#overPromised) expect(pool.resvHugePages).toBeLessThanOrEqual(pool.freeHugePages);
    expect(pool.freeHugePages).toBeLessThanOrEqual(POOL);
    expect(this.world.stale()).toEqual([]);
  }

  end(): void {
    for (const task of [...this.#tasks]) this.#exit(task);
    const last = this.world.process('last');
    this.world.run(last, fput(this.world.kernel.frames, this.#file));
    expect(this.world.counters).toBe(`${POOL}/0`);
  }
}

describe('promises of huge pages', () => {
  it('add up under random programs of up to four processes', () => {
    fc.assert(
      fc.property(fc.array(operation, { minLength: 5, maxLength: 40 }), (steps) => {
        const program = new Program();
        for (const step of steps) {
          program.run(step);
          program.check();
        }
        program.end();
      }),
      { numRuns: 150, seed: 20 },
    );
  }, 60_000);
});
