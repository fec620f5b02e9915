/**
 * The notes of a QEMU core: for each processor a CORE prstatus and, for x86-64, a note `QEMU` with the control
 * registers. Other notes (VMCOREINFO) are kept as bytes.
 * @see System V ABI, "Note Section"; Linux include/linux/elfcore.h (elf_prstatus); QEMU target/i386/arch_dump.c
 * (x86_64_elf_prstatus, QEMUCPUState)
 */
import type { ByteSource } from './byte-source.ts';
import { coreError, Fields, readFields } from './fields.ts';

export interface CoreNote {
  readonly name: string;
  readonly type: number;
  /** Where the descriptor starts in the file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const NOTE_HEADER_BYTES = 12;
const NT_PRSTATUS = 1;
const aligned = (size: number): number => Math.ceil(size / 4) * 4;

/** Every note of one PT_NOTE segment. @throws InputError when a note reaches past the segment */
export function readNotes(source: ByteSource, offset: number, size: number): CoreNote[] {
  const notes: CoreNote[] = [];
  const end = offset + size;
  for (let at = offset; at < end; ) {
    if (at + NOTE_HEADER_BYTES > end) noteError(source, at, NOTE_HEADER_BYTES, end);
    const header = readFields(source, at, NOTE_HEADER_BYTES, 'a note');
    const nameBytes = header.u32(0);
    const descriptorBytes = header.u32(4);
    const descriptor = at + NOTE_HEADER_BYTES + aligned(nameBytes);
    // The padding after the last descriptor may be missing.
    if (descriptor + descriptorBytes > end) noteError(source, at, descriptor + descriptorBytes - at, end);
    const name = new Uint8Array(nameBytes);
    source.read(at + NOTE_HEADER_BYTES, name);
    const bytes = new Uint8Array(descriptorBytes);
    source.read(descriptor, bytes);
    const text = String.fromCharCode(...name).replace(/\0+$/, '');
    notes.push({ name: text, type: header.u32(8), offset: descriptor, bytes });
    at = descriptor + aligned(descriptorBytes);
  }
  return notes;
}

function noteError(source: ByteSource, at: number, needed: number, end: number): never {
  const room = `${end - at} bytes to the end of PT_NOTE`;
  throw coreError(source.file, at, 'a note reaches past its segment', `${needed} bytes`, room);
}

/** What the two notes of one processor say. */
export interface X86CoreCpu {
  /** The control registers, when the core has the note `QEMU`. */
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rflags: bigint;
  /** Bits 1:0 of the CS selector. */
  readonly cpl: number;
}

/** Bytes of QEMUCPUState version 1: up to cr[4], without the later kernel_gs_base. */
const QEMU_STATE_BYTES = 432;
/** Eighteen u64 after version and size: rax rbx rcx rdx rsi rdi rsp rbp r8-r15 rip rflags. */
const registerAt = (index: number): number => 8 + 8 * index;
/** Segments: cs ds es fs gs ss ldt tr gdt idt, 24 bytes each; the selector first. */
const CODE_SEGMENT = registerAt(18);
const CONTROL_REGISTERS = CODE_SEGMENT + 10 * 24;

/**
 * The processors of an x86-64 core, in order; empty when there is no note `QEMU`.
 * @throws InputError for a note of another version or size
 */
export function x86CoreCpus(file: string, notes: readonly CoreNote[]): X86CoreCpu[] {
  return notes.filter(({ name }) => name === 'QEMU').map((note) => x86CoreCpu(file, note));
}

function x86CoreCpu(file: string, { offset, bytes }: CoreNote): X86CoreCpu {
  if (bytes.length < QEMU_STATE_BYTES) {
    const expected = `at least ${QEMU_STATE_BYTES} bytes`;
    throw coreError(file, offset, 'the note QEMU (QEMUCPUState) is too short', expected, `${bytes.length}`);
  }
  const state = new Fields(file, offset, bytes);
  state.expect(0, 'unknown version of QEMUCPUState', 1, state.u32(0));
  state.expect(4, 'the size in QEMUCPUState is not that of the note', bytes.length, state.u32(4));
  return {
    cr0: state.u64(CONTROL_REGISTERS),
    cr2: state.u64(CONTROL_REGISTERS + 16),
    cr3: state.u64(CONTROL_REGISTERS + 24),
    cr4: state.u64(CONTROL_REGISTERS + 32),
    rip: state.u64(registerAt(16)),
    rsp: state.u64(registerAt(6)),
    rflags: state.u64(registerAt(17)),
    cpl: state.u32(CODE_SEGMENT) & 3,
  };
}

/** How many processors the core describes: one CORE prstatus each. */
export function processorCount(notes: readonly CoreNote[]): number {
  return notes.filter(({ name, type }) => name === 'CORE' && type === NT_PRSTATUS).length;
}
