/**
 * Reads an ELF64 core as QEMU's `dump-guest-memory` writes it: header, program headers, notes, and the pages of guest
 * memory by physical address. Every deviation is an `InputError` with the byte offset, what was expected and what was
 * found. Sections are not read, except number 0, which holds the count of program headers when there are 65,535 or
 * more. Big-endian cores and kdump-compressed dumps are refused by name.
 * @see System V ABI, "ELF Header" and "Program Header"; Linux include/uapi/linux/elf.h (PN_XNUM); QEMU dump/dump.c
 */
import { hex } from '../../base/u64.ts';
import { type ByteSource, openBytes } from './byte-source.ts';
import { type CoreNote, readNotes } from './elf-notes.ts';
import { coreError, type Fields, readFields } from './fields.ts';

/** e_machine. */
export const Machine = { X86_64: 62, AArch64: 183 } as const;

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const ET_CORE = 4;
const PT_LOAD = 1;
const PT_NOTE = 4;
/** e_phnum says: the count is in sh_info of section header 0. */
const PN_XNUM = 0xffff;
const PAGE_BYTES = 4096;

/** One PT_LOAD: memory that the file holds. */
export interface CoreSegment {
  /** p_paddr: guest-physical byte address. */
  readonly physicalAddress: bigint;
  /** p_vaddr: 0 unless the dump was made with paging. */
  readonly virtualAddress: bigint;
  readonly fileOffset: number;
  /** Bytes in the file; memory past them is not in the dump, whatever p_memsz says. */
  readonly fileBytes: number;
}

export interface ElfCore {
  readonly file: string;
  readonly source: ByteSource;
  /** e_machine, one of `Machine`. */
  readonly machine: number;
  readonly segments: readonly CoreSegment[];
  readonly notes: readonly CoreNote[];
}

/** Opens a core file, .gz too. @throws InputError for anything that is not a core of a machine named in `Machine` */
export async function openElfCore(file: string): Promise<ElfCore> {
  return readElfCore(await openBytes(file));
}

/** Reads headers and notes; pages are read later, by `CoreMemory`. @throws InputError */
export function readElfCore(source: ByteSource): ElfCore {
  checkMagic(source);
  const header = readFields(source, 0, HEADER_BYTES, 'the ELF header');
  checkIdentification(header);
  const machine = header.u16(18);
  if (machine !== Machine.X86_64 && machine !== Machine.AArch64) {
    header.fail(18, 'core of another machine (e_machine)', '62 (x86-64) or 183 (AArch64)', `${machine}`);
  }
  const segments: CoreSegment[] = [];
  const notes: CoreNote[] = [];
  const count = programHeaderCount(source, header);
  const start = offsetField(header, 32, 'e_phoff', source);
  const table = readFields(source, start, count * PROGRAM_HEADER_BYTES, 'the program headers');
  for (let index = 0; index < count; index++) {
    const at = index * PROGRAM_HEADER_BYTES;
    const type = table.u32(at);
    if (type === PT_LOAD) addSegment(segments, table, at, index, source);
    if (type === PT_NOTE) {
      const { offset, size } = fileRange(table, at, `program header ${index} (PT_NOTE)`, source);
      notes.push(...readNotes(source, offset, size));
    }
  }
  if (segments.length === 0) table.fail(0, 'no PT_LOAD: the core holds no memory', 'at least one', 'none');
  return { file: source.file, source, machine, segments, notes };
}

/** The first bytes decide what kind of file it is, so that a wrong one is named even when it is short. */
function checkMagic(source: ByteSource): void {
  const bytes = new Uint8Array(Math.min(8, source.size));
  source.read(0, bytes);
  const text = String.fromCharCode(...bytes);
  if (text.startsWith('\x7fELF')) return;
  const kdump = text.startsWith('KDUMP') || text.startsWith('makedump');
  const found = kdump
    ? 'a kdump-compressed dump'
    : bytes.length === 0
      ? 'an empty file'
      : JSON.stringify(text);
  throw coreError(source.file, 0, 'not an ELF file', String.raw`"\x7fELF"`, found);
}

function checkIdentification(header: Fields): void {
  header.expect(4, 'wrong class (EI_CLASS)', 2, header.u8(4), 'ELFCLASS64');
  header.expect(5, 'wrong byte order (EI_DATA)', 1, header.u8(5), 'little-endian');
  header.expect(6, 'unknown version (EI_VERSION)', 1, header.u8(6));
  header.expect(16, 'not a core (e_type)', ET_CORE, header.u16(16), 'ET_CORE');
  header.expect(20, 'unknown version (e_version)', 1, header.u32(20));
  // QEMU before 8.0 stores the size of a pointer here (dump/dump.c, prepare_elf64_header).
  if (header.u16(52) !== 8) header.expect(52, 'wrong header size (e_ehsize)', HEADER_BYTES, header.u16(52));
  const entry = 'wrong program header size (e_phentsize)';
  header.expect(54, entry, PROGRAM_HEADER_BYTES, header.u16(54));
}

function programHeaderCount(source: ByteSource, header: Fields): number {
  const count = header.u16(56);
  if (count === 0) header.fail(56, 'no program headers (e_phnum)', 'at least one', '0');
  if (count !== PN_XNUM) return count;
  const start = offsetField(header, 40, 'e_shoff', source);
  if (start === 0)
    header.fail(40, 'e_phnum is PN_XNUM but there is no section header (e_shoff)', 'an offset', '0');
  const section = readFields(source, start, SECTION_HEADER_BYTES, 'section header 0');
  const real = section.u32(44);
  if (real < PN_XNUM) {
    section.fail(
      44,
      'e_phnum is PN_XNUM but section header 0 counts fewer (sh_info)',
      '65535 or more',
      `${real}`,
    );
  }
  return real;
}

/** A file offset: an u64 that must lie within the file. */
function offsetField(fields: Fields, at: number, name: string, source: ByteSource): number {
  const value = fields.u64(at);
  if (value > BigInt(source.size)) {
    fields.fail(at, `${name} lies past the end of the file`, `at most ${hex(source.size)}`, hex(value));
  }
  return Number(value);
}

/** p_offset and p_filesz, checked against the size of the file. */
function fileRange(
  table: Fields,
  at: number,
  what: string,
  source: ByteSource,
): { readonly offset: number; readonly size: number } {
  const offset = table.u64(at + 8);
  const size = table.u64(at + 32);
  if (offset + size > BigInt(source.size)) {
    const end = hex(offset + size);
    table.fail(at + 8, `${what} ends past the end of the file`, `at most ${hex(source.size)}`, end);
  }
  return { offset: Number(offset), size: Number(size) };
}

function addSegment(
  segments: CoreSegment[],
  table: Fields,
  at: number,
  index: number,
  source: ByteSource,
): void {
  // Memory that the dump leaves out has p_filesz 0 and p_offset -1 (QEMU dump/dump.c, get_offset_range).
  if (table.u64(at + 32) === 0n) return;
  const what = `program header ${index} (PT_LOAD)`;
  const { offset, size } = fileRange(table, at, what, source);
  const physicalAddress = table.u64(at + 24);
  if (physicalAddress % BigInt(PAGE_BYTES) !== 0n || size % PAGE_BYTES !== 0) {
    const found = `p_paddr ${hex(physicalAddress)}, p_filesz ${hex(size)}`;
    table.fail(at, `${what} is not made of whole pages`, 'multiples of 4096', found);
  }
  if (physicalAddress + BigInt(size) > 1n << 52n) {
    table.fail(at + 24, `${what} lies past the largest physical address`, 'below 2^52', hex(physicalAddress));
  }
  segments.push({ physicalAddress, virtualAddress: table.u64(at + 16), fileOffset: offset, fileBytes: size });
}
