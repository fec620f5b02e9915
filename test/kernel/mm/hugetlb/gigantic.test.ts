/** Pages of 1 GiB: one entry of a pud table maps them, and memory is only taken where something is written. */
import { describe, expect, it } from 'vitest';
import { EINVAL } from '../../../../src/kernel/errno.ts';
import { MAP_HUGE_1GB, MAP_PRIVATE, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { pageRuns } from '../../../../src/kernel/mm/pagemap.ts';
import { mmOf } from '../process-world.ts';
import { at, HugetlbWorld } from './hugetlb-world.ts';

const GIB = 0x4_0000;
const LAST = GIB - 1;

function world(): HugetlbWorld {
  return new HugetlbWorld({ memoryBytes: 0xe000_0000, kernel: { hugepages1G: 2 } });
}

describe('a page of 1 GiB', () => {
  it('is mapped by one entry, and read and written anywhere', () => {
    const machine = world();
    const task = machine.process();
    expect(machine.mapHuge(task, 0, 1, { flags: MAP_PRIVATE | MAP_HUGE_1GB })).toBe(0);
    const tables = mmOf(task).pgtablesBytes;
    machine.put(task, 0, 1);
    machine.put(task, LAST, 2);
    expect([machine.get(task, 0), machine.get(task, LAST), machine.get(task, 0x1234)]).toEqual([1, 2, 0]);
    expect([machine.entry(task, LAST), task.minFlt]).toEqual(['Xwd', 1]);
    // Tables down to the pud level and none below: one with 4 levels.
    expect(mmOf(task).pgtablesBytes - tables).toBe(4096);
    const first = Number(at(0) >> 12n);
    expect(pageRuns(mmOf(task), first, first + GIB)).toEqual([{ start: first, count: GIB, flags: 'PXT' }]);
    expect(machine.kernel.machine.memory.chunkCount).toBeLessThan(16);
  });

  it('is copied as a whole after fork, and freed with its last user', () => {
    const machine = world();
    const parent = machine.process('parent');
    const gigantic = machine.kernel.hugetlb.hstates[1];
    machine.mapHuge(parent, 0, GIB, { flags: MAP_PRIVATE | MAP_HUGE_1GB });
    machine.put(parent, LAST, 7);
    const child = machine.fork(parent);
    machine.put(child, 0, 8);
    expect([machine.get(child, LAST), machine.get(parent, 0)]).toEqual([7, 0]);
    expect(gigantic?.freeHugePages).toBe(0);
    machine.exit(child);
    machine.exit(parent);
    expect([gigantic?.freeHugePages, gigantic?.resvHugePages]).toEqual([2, 0]);
    expect(machine.stale()).toEqual([]);
  });

  it('cannot be cut', () => {
    const machine = world();
    const task = machine.process();
    machine.mapHuge(task, 0, GIB, { flags: MAP_SHARED | MAP_HUGE_1GB });
    machine.put(task, 0, 1);
    expect(machine.unmapHuge(task, 0, 512)).toBe(-EINVAL);
    expect(machine.unmapHuge(task, 0, GIB)).toBe(0);
    expect(machine.stale()).toEqual([]);
  });
});
