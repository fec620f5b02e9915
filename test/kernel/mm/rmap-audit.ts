/**
 * Whether every page is found from the other side: each VMA with a file is among the file's mappings, with the range it
 * has, each chain entry lies in the tree of its anon_vma, and from the page of every pte a walk comes back to this pte.
 */
import { EntryFlag, pagesPerEntry } from '../../../src/arch/paging-format.ts';
import type { IntervalNode } from '../../../src/base/interval-tree.ts';
import { atomically } from '../../../src/base/task.ts';
import type { Kernel } from '../../../src/kernel/kernel.ts';
import { isSharedMayWrite } from '../../../src/kernel/mm/i-mmap.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { pteIndex } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { rmapWalk } from '../../../src/kernel/mm/rmap-walk.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { VM_HUGETLB } from '../../../src/kernel/mm/vma-flags.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { finish } from './support.ts';

/** What is wrong, in words. Nothing may be running. */
export function rmapInconsistencies(kernel: Kernel): string[] {
  const wrong: string[] = [];
  const tasks = [...kernel.tasks.values()];
  const mms = new Set<MmStruct>();
  for (const { mm } of tasks) if (mm !== null) mms.add(mm);
  const vmas = [...mms].flatMap((mm) => [...mm.vmas]);
  checkFiles(vmas, wrong);
  checkAnonVmas(vmas, wrong);
  const [current] = tasks;
  if (current === undefined) return wrong;
  const visits = new Map<number, Set<string>>();
  for (const mm of mms) if (mm.pgd >= 0) for (const vma of mm.vmas) checkPages(current, vma, visits, wrong);
  return wrong;
}

const rangeOf = (vma: VmArea): string => `[${vma.pgoff}, ${vma.pgoff + vma.pages - 1}]`;

/** The entry of a tree that should be the VMA's. */
function checkNode(node: IntervalNode | null, owner: VmArea | undefined, vma: VmArea, wrong: string[]): void {
  if (node === null || !node.inTree) wrong.push(`${vma.name} is not in a tree where it should be`);
  else if (owner !== vma) wrong.push(`${vma.name} has the node of ${owner?.name}`);
  else if (`[${node.first}, ${node.last}]` !== rangeOf(vma)) {
    wrong.push(`${vma.name} covers ${rangeOf(vma)}, its node [${node.first}, ${node.last}]`);
  }
}

/** VMAs by what they have, in lists. */
function grouped<K>(vmas: readonly VmArea[], keysOf: (vma: VmArea) => readonly K[]): Map<K, VmArea[]> {
  const groups = new Map<K, VmArea[]>();
  for (const vma of vmas) {
    for (const key of keysOf(vma)) groups.set(key, [...(groups.get(key) ?? []), vma]);
  }
  return groups;
}

function checkFiles(vmas: readonly VmArea[], wrong: string[]): void {
  const byMapping = grouped(vmas, ({ file }) => (file === null ? [] : [file.mapping]));
  for (const [mapping, users] of byMapping) {
    for (const vma of users) checkNode(vma.iMmapNode, vma.iMmapNode?.vma, vma, wrong);
    if (mapping.iMmap.size !== users.length) {
      wrong.push(`${mapping.name} has ${mapping.iMmap.size} mappings, ${users.length} VMAs map it`);
    }
    const writable = users.filter(({ flags }) => isSharedMayWrite(flags)).length;
    if (mapping.iMmapWritable >= 0 && mapping.iMmapWritable !== writable) {
      wrong.push(`${mapping.name} counts ${mapping.iMmapWritable} writable mappings, has ${writable}`);
    }
    if (mapping.iMmapRwsem.isLocked() || mapping.iRwsem.isLocked())
      wrong.push(`${mapping.name} is still locked`);
  }
}

function checkAnonVmas(vmas: readonly VmArea[], wrong: string[]): void {
  for (const vma of vmas) for (const chain of vma.anonVmaChain) checkNode(chain, chain.vma, vma, wrong);
  const byAnonVma = grouped(vmas, (vma) => vma.anonVmaChain.map(({ anonVma }) => anonVma));
  for (const [anonVma, users] of byAnonVma) {
    if (anonVma.chains.size !== users.length) {
      wrong.push(`anon_vma ${anonVma.id} has ${anonVma.chains.size} entries, ${users.length} VMAs`);
    }
    if (anonVma.rwsem.isLocked()) wrong.push(`anon_vma ${anonVma.id} is still locked`);
  }
}

/** Every present pte of a small page of the VMA. */
function checkPages(
  current: TaskStruct,
  vma: VmArea,
  visits: Map<number, Set<string>>,
  wrong: string[],
): void {
  if ((vma.flags & VM_HUGETLB) !== 0) return;
  const { frames, pageTables } = vma.mm.kernel;
  const root = rootTable(vma.mm);
  for (let page = vma.start; page < vma.end; page++) {
    const table = pageTables.lookup(root, page, pageTables.lastLevel);
    if (table === null) {
      const span = pagesPerEntry(pageTables.format, pageTables.lastLevel - 1);
      page += span - (page % span) - 1;
      continue;
    }
    pageTables.read(table, pteIndex(pageTables, page));
    const flags = pageTables.flags(table.level);
    if ((flags & EntryFlag.Present) === 0 || (flags & EntryFlag.Special) !== 0) continue;
    const frame = pageTables.frame(table.level);
    if (!placesOf(current, frame, visits).has(`${vma.name} ${page}`)) {
      wrong.push(
        `frame 0x${frame.toString(16)} of ${vma.name} page ${page} (offset ${frames.index(frame)}) is not found by its rmap`,
      );
    }
  }
}

/** Where the rmap says that a frame may be mapped. */
function placesOf(current: TaskStruct, frame: number, visits: Map<number, Set<string>>): Set<string> {
  let places = visits.get(frame);
  if (places === undefined) {
    const found = new Set<string>();
    const { frames } = current.kernel;
    const inFolio = frame - frames.head(frame);
    finish(
      rmapWalk(current, frame, (vma, page) =>
        atomically(() => {
          const first = page - Math.max(0, vma.pgoff - frames.index(frames.head(frame)));
          found.add(`${vma.name} ${first + inFolio}`);
          return true;
        }),
      ),
    );
    places = found;
    visits.set(frame, places);
  }
  return places;
}
