/** Pages that have to be faulted in, and pages that are written. */

import { PROT_READ } from '../../../kernel/mm/mman.ts';
import { sysMprotect } from '../../../kernel/mm/mprotect.ts';
import { rootTable } from '../../../kernel/mm/page-table-alloc.ts';
import { sysFork } from '../../../kernel/process/fork.ts';
import { type Access, addressOf, PAGE_BYTES, type ProtocolMachine, WORD_BYTES } from './machine.ts';
import { leftText, mannerOf, mannerText, reasonsOf } from './manner.ts';

/** A VMA far away, which a writer changes. */
const FAR = 4096;

/** A thread of the target begins to change the rights of a page and stops just before it lets mmap_lock go. */
export function holdMmapLock({ hand, system, writer }: ProtocolMachine, page: number): void {
  system.loop.start(writer, sysMprotect(writer, addressOf(page), BigInt(PAGE_BYTES), PROT_READ));
  hand.untilBefore(writer, 'vma_end_write_all');
}

/** A page that nobody has touched is read. */
export function readAbsentPage(machine: ProtocolMachine): {
  readonly access: Access;
  readonly faulted: boolean;
} {
  machine.map(0, 4);
  machine.map(FAR, 2);
  const access = machine.access(addressOf(0), WORD_BYTES);
  const { pageTables } = machine.system.kernel;
  const faulted = pageTables.lookupPte(rootTable(machine.mm), Number(addressOf(0) >> 12n));
  return { access, faulted };
}

/**
 * The first page of a VMA is written while a writer holds mmap_lock, of which such a fault needs a moment: the fault lets the
 * VMA go if that was held.
 */
export function writeAbsentPageBesideWriter(machine: ProtocolMachine): Access {
  const { hand, reader, writer } = machine;
  machine.map(0, 4);
  machine.map(FAR, 2);
  holdMmapLock(machine, FAR);
  const pending = machine.begin(addressOf(0), WORD_BYTES, true);
  if (!hand.allToTheEnd([reader, writer]))
    throw new Error('a write beside mprotect does not come to its end');
  return pending.result();
}

export function absentText(
  { access, faulted }: ReturnType<typeof readAbsentPage>,
  besideWriter: Access,
): string {
  if (!faulted || access.moved !== WORD_BYTES) return 'not read';
  const text = mannerText(access, 'faults under the VMA lock', 'faults under mmap_lock');
  if (mannerOf(access) !== 'own') return text;
  return `${text}; else (${reasonsOf(besideWriter)}) on under mmap_lock`;
}

/** A page that is there, with a pte that may be written. */
export function writePresentPage(machine: ProtocolMachine): Access {
  machine.map(0, 2);
  machine.fill(0, 2);
  return machine.access(addressOf(0), WORD_BYTES, true);
}

/** A page that is there and shared with a child: the pte may not be written, and has to be made so by a fault. */
export function writeSharedPage(machine: ProtocolMachine): Access {
  const { target } = machine;
  machine.map(0, 2);
  machine.fill(0, 2);
  const child = machine.run(target, sysFork(target, 'child'));
  if (typeof child === 'number') throw new Error(`fork gave ${child}`);
  return machine.access(addressOf(0), WORD_BYTES, true);
}

export function writesText(present: Access, shared: Access): string {
  const text = mannerText(present, 'yes, under the VMA lock', 'yes');
  if (mannerOf(present) !== 'own' || mannerOf(shared) === 'own') return text;
  return `if the pte is writable; else ${leftText(shared)}`;
}
