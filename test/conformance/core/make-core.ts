/** Builds ELF64 cores byte by byte, as QEMU's dump-guest-memory lays them out, so that a test can spoil one field. */

export interface CorePage {
  readonly physicalAddress: number;
  /** Entries by index. */
  readonly entries: Readonly<Record<number, bigint>>;
}

export interface CoreNoteBytes {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
}

export interface CoreParts {
  readonly machine?: number;
  readonly pages?: readonly CorePage[];
  readonly notes?: readonly CoreNoteBytes[];
  /** Counts the program headers in section header 0 (PN_XNUM), padding with empty PT_NULL to this many. */
  readonly programHeaders?: number;
}

const PAGE = 4096;
const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

function noteBytes({ name, type, bytes }: CoreNoteBytes): Uint8Array {
  const out = new Uint8Array(12 + roundUp(name.length + 1, 4) + roundUp(bytes.length, 4));
  const view = new DataView(out.buffer);
  view.setUint32(0, name.length + 1, true);
  view.setUint32(4, bytes.length, true);
  view.setUint32(8, type, true);
  for (let at = 0; at < name.length; at++) out[12 + at] = name.charCodeAt(at);
  out.set(bytes, 12 + roundUp(name.length + 1, 4));
  return out;
}

/** Header, program headers (one PT_NOTE, one PT_LOAD a page), section header 0, notes, pages. */
export function makeCore(parts: CoreParts = {}): Uint8Array {
  const pages = parts.pages ?? [];
  const notes = (parts.notes ?? []).map(noteBytes);
  const noteSize = notes.reduce((sum, note) => sum + note.length, 0);
  const headers = Math.max(parts.programHeaders ?? 0, 1 + pages.length);
  const sectionAt = 64 + 56 * headers;
  const noteAt = sectionAt + 64;
  const pagesAt = roundUp(noteAt + noteSize, PAGE);
  const out = new Uint8Array(pagesAt + pages.length * PAGE);
  const view = new DataView(out.buffer);
  out.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 4, true);
  view.setUint16(18, parts.machine ?? 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 8, true);
  view.setUint16(54, 56, true);
  const extended = headers >= 0xffff;
  view.setUint16(56, extended ? 0xffff : headers, true);
  if (extended) {
    view.setBigUint64(40, BigInt(sectionAt), true);
    view.setUint32(sectionAt + 44, headers, true);
  }
  const header = (index: number, type: number, offset: number, physical: number, size: number): void => {
    const at = 64 + 56 * index;
    view.setUint32(at, type, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 24, BigInt(physical), true);
    view.setBigUint64(at + 32, BigInt(size), true);
    view.setBigUint64(at + 40, BigInt(size), true);
  };
  header(0, 4, noteAt, 0, noteSize);
  let next = noteAt;
  for (const note of notes) {
    out.set(note, next);
    next += note.length;
  }
  pages.forEach((page, index) => {
    const offset = pagesAt + index * PAGE;
    // The last headers, so that a reader that stops early misses them.
    header(headers - pages.length + index, 1, offset, page.physicalAddress, PAGE);
    for (const [entry, value] of Object.entries(page.entries)) {
      view.setBigUint64(offset + Number(entry) * 8, value, true);
    }
  });
  return out;
}

/** A QEMUCPUState, version 1 (QEMU target/i386/arch_dump.c): 440 bytes. */
export function qemuState(registers: {
  readonly cr0?: bigint;
  readonly cr2?: bigint;
  readonly cr3: bigint;
  readonly cr4?: bigint;
  readonly cs?: number;
}): CoreNoteBytes {
  const bytes = new Uint8Array(440);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 1, true);
  view.setUint32(4, 440, true);
  view.setUint32(152, registers.cs ?? 0x10, true);
  view.setBigUint64(392, registers.cr0 ?? 0x8005_0033n, true);
  view.setBigUint64(408, registers.cr2 ?? 0n, true);
  view.setBigUint64(416, registers.cr3, true);
  view.setBigUint64(424, registers.cr4 ?? 0x20n, true);
  return { name: 'QEMU', type: 0, bytes };
}

/** An elf_prstatus of AArch64 (Linux include/linux/elfcore.h; QEMU target/arm/arch_dump.c): 392 bytes. */
export function prstatusArm64(pc = 0n, pstate = 0n): CoreNoteBytes {
  const bytes = new Uint8Array(392);
  const view = new DataView(bytes.buffer);
  view.setUint32(32, 1, true);
  view.setBigUint64(112 + 32 * 8, pc, true);
  view.setBigUint64(112 + 33 * 8, pstate, true);
  return { name: 'CORE', type: 1, bytes };
}
