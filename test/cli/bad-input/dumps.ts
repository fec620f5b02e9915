/** Bad core dumps, register files and recorded translations. Each command line and the one line that it gives; see bad-input.test.ts. */
import type { Rows } from './row.ts';

export const dumps: Rows = {
  'core dumps': [
    {
      command: 'walk --dump empty.core 0',
      says: 'empty.core: byte 0x0: not an ELF file: expected "\\x7fELF", found an empty file',
    },
    {
      command: 'walk --dump text.core 0',
      says: 'text.core: byte 0x0: not an ELF file: expected "\\x7fELF", found "this is "',
    },
    {
      command: 'walk --dump wrong-header.core 0',
      says: 'wrong-header.core: byte 0x20: e_phoff lies past the end of the file: expected at most 0x2000, found 0xffffffff',
    },
    {
      command: 'walk --dump cut.core 0',
      says: 'cut.core: byte 0x40: the file ends in the middle of the program headers: expected 2352 bytes, found 36 bytes, then the end of the file',
    },
    {
      command: 'walk --dump cut.core.gz 0',
      says: 'cut.core.gz: the gzip data ends too early: the file is truncated, after 321672 unpacked bytes',
    },
    {
      command: 'walk --dump arm64.core 0',
      says: 'arm64.core: an AArch64 core does not hold the translation registers: expected --regs with TTBR0_EL1, TTBR1_EL1, TCR_EL1, SCTLR_EL1 and MAIR_EL1',
    },
    {
      command: 'walk --dump no-note.core 0',
      says: 'no-note.core: the core has no note QEMU with the control registers: give --regs or --cr3',
    },
    {
      command: 'walk --dump arm64.core --cr3 0 0',
      says: 'arm64.core: option --cr3 is for x86-64 cores: expected --regs, with --root, --ttbr0 or --ttbr1',
    },
    {
      command: 'walk --dump arm64.core --regs arch.regs.json 0',
      says: 'arch.regs.json: field arch: expected "arm64", as the core says, found "sparc"',
    },
    { command: 'walk --dump folder.core 0', says: 'folder.core: is a folder, a file was expected' },
  ],
  'files of registers': [
    {
      command: 'walk --dump good.core --regs text.regs.json 0',
      says: 'text.regs.json: not JSON: Unexpected token \'C\', "CR3 is 0x1000 " is not valid JSON',
    },
    { command: 'walk --dump good.core --regs gzip.regs.json 0', says: 'gzip.regs.json: not UTF-8 text' },
    {
      command: 'walk --dump good.core --regs list.regs.json 0',
      says: 'list.regs.json: not a JSON object: expected an object, found []',
    },
    {
      command: 'walk --dump good.core --regs no-cr3.regs.json 0',
      says: 'no-cr3.regs.json: field cr3: expected a hexadecimal string "0x…" of at most 64 bits, found nothing',
    },
    {
      command: 'walk --dump good.core --regs wide.regs.json 0',
      says: 'wide.regs.json: field cr3: expected a hexadecimal string "0x…" of at most 64 bits, found "0x11062000110620001"',
    },
    {
      command: 'walk --dump good.core --regs levels.regs.json 0',
      says: 'levels.regs.json: field levels: expected 4, as CR4.LA57 says, found 5',
    },
    {
      command: 'walk --dump good.core --regs arch.regs.json 0',
      says: 'arch.regs.json: field arch: expected "x86_64", as the core says, found "sparc"',
    },
    {
      command: 'walk --dump good.core --regs folder.json 0',
      says: 'folder.json: is a folder, a file was expected',
    },
    { command: 'walk --dump good.core --regs nothere 0', says: 'nothere: no such file' },
  ],
  'files of recorded translations': [
    {
      command: 'maps --dump good.core --check row.truth.jsonl',
      says: 'row.truth.jsonl:2: field pa: expected a hexadecimal string "0x…" of at most 64 bits, found nothing',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check size.truth.jsonl',
      says: 'size.truth.jsonl:1: field size: expected 4096, 2097152 or 1073741824, found 8192',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check unaligned.truth.jsonl',
      says: 'unaligned.truth.jsonl:1: field va: expected an address of a page (bits 11:0 clear), found "0x1234"',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check twice.truth.jsonl',
      says: 'twice.truth.jsonl:2: two rows for 0x1000; the first is line 1',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check empty.jsonl',
      says: 'empty.jsonl: no rows to check',
      until: /registers from the core/,
    },
  ],
};
