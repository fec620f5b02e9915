/** Whether every page is found from the other side: from the page of every pte a walk comes back to this pte. */
import { EntryFlag, pagesPerEntry } from '../../../src/arch/paging-format.ts';
import { atomically } from '../../../src/base/task.ts';
import type { Kernel } from '../../../src/kernel/kernel.ts';
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
  const [current] = tasks;
  if (current === undefined) return wrong;
  const visits = new Map<number, Set<string>>();
  for (const mm of mms) if (mm.pgd >= 0) for (const vma of mm.vmas) checkPages(current, vma, visits, wrong);
  return wrong;
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
