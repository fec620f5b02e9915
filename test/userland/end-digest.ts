/**
 * The state at the end of a run as a text in which frames have numbers in the order in which they are met, so that two runs
 * that only took other frames have the same: what programs returned, shared variables, VMAs, entries of page tables, bytes,
 * counts of references and of mappings.
 */
import { rootTable } from '../../src/kernel/mm/page-table-alloc.ts';
import type { TaskStruct } from '../../src/kernel/task-struct.ts';
import type { RunOutcome } from '../../src/userland/scenario-runner.ts';

/** Pages looked at of one VMA. */
const MOST_PAGES = 1100;

export function endDigest({ end, system, share, processes }: RunOutcome): string {
  const lines: string[] = [end.kind];
  const frames = new Map<number, number>();
  for (const context of processes.contexts) {
    const { task } = context;
    lines.push(
      `${task.name} ${text(processes.valueOf(context))} ${context.killedBy?.signal ?? ''} ${task.exitState}`,
    );
    lines.push(...memoryOf(task, frames));
  }
  lines.push(text(share.entries()));
  const { frames: table } = system.kernel;
  lines.push(`${table.foliosInUse().length} folios in use, ${table.freeFrames} frames free`);
  return lines.join('\n');
}

function memoryOf(task: TaskStruct, numbers: Map<number, number>): string[] {
  const { mm, kernel } = task;
  if (mm === null) return [];
  const lines = [`rss ${[...mm.rss]} vm ${mm.totalVm} locked ${mm.lockedVm}`];
  for (const vma of mm.vmas) {
    lines.push(`${vma.start} ${vma.end} ${vma.flags} ${vma.pgoff} ${vma.refcount} ${vma.anonVma !== null}`);
    const last = Math.min(vma.end, vma.start + MOST_PAGES);
    for (let page = vma.start; page < last; page++) {
      const level = kernel.pageTables.lookupLeaf(rootTable(mm), page);
      if (level !== -1) lines.push(`${page}: ${entryText(task, page, level, numbers)}`);
    }
  }
  return lines;
}

function entryText(
  { kernel }: TaskStruct,
  page: number,
  level: number,
  numbers: Map<number, number>,
): string {
  const { pageTables, frames, machine } = kernel;
  const flags = pageTables.flags(level);
  const frame = pageTables.frameInLeaf(page, level);
  if (!frames.owns(frame) || (flags & 1) === 0) return `${flags}`;
  const known = numbers.get(frame);
  if (known !== undefined) return `${flags} frame ${known}`;
  numbers.set(frame, numbers.size);
  const bytes = new Uint8Array(4096);
  machine.memory.readBytes(frame, 0, bytes);
  let hash = 0;
  for (const byte of bytes) hash = (Math.imul(hash, 31) + byte) | 0;
  const counts = `${frames.refcount(frame)} ${frames.mapcount(frame)} ${frames.flags(frame)}`;
  return `${flags} frame ${numbers.size - 1}: ${counts} ${hash}`;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? `${inner}n` : inner)) ?? '';
