/** Calls about files: their size, their holes, reading and writing them with memory of the caller's. */
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../../src/kernel/mm/fallocate.ts';
import { sysPread, sysPwrite } from '../../../../src/kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import { fileRead, fileWrite } from '../../../../src/kernel/mm/memfd.ts';
import { addressOf } from '../process-world.ts';
import { type Call, pick } from './step.ts';

const MODES = [FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, FALLOC_FL_KEEP_SIZE];
const PAGE = 4096;

export const fileCalls = {
  ftruncate(world, task, [, , , , other, choice]) {
    const file = world.descriptor(choice);
    const pages = file.mapping.huge === null ? other % 14 : (other % 5) * 512;
    const part = file.mapping.huge === null ? choice % 2 : 0;
    return fileTruncate(task, file, BigInt(pages * PAGE + part * 100));
  },
  fallocate(world, task, [, , , pages, other, choice]) {
    const file = world.descriptor(choice);
    const unit = file.mapping.huge === null ? PAGE : 512 * PAGE;
    const length = Math.min(pages, 6) * unit + (choice % 5 === 0 ? 512 : 0);
    const mode = pick(MODES, Math.floor(choice / 3));
    return fileFallocate(task, file, mode, BigInt((other % 12) * unit), BigInt(length));
  },
  pread: (world, task, [, , page, , other, choice]) =>
    sysPread(task, world.descriptor(choice), addressOf(page, 100), 5000n, BigInt((other % 12) * PAGE)),
  pwrite: (world, task, [, , page, , other, choice]) =>
    sysPwrite(task, world.descriptor(choice), addressOf(page, 100), 5000n, BigInt((other % 12) * PAGE)),
  read: (world, task, [, , , , other, choice]) =>
    fileRead(task, world.descriptor(choice), (other % 12) * PAGE, new Uint8Array(6000)),
  write: (world, task, [, , , , other, choice]) =>
    fileWrite(task, world.descriptor(choice), (other % 12) * PAGE + 9, new Uint8Array(6000).fill(1)),
} satisfies Record<string, Call>;
