/** The calls of `User` on the kernel's own test of GUP. What they mean is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { hexAddress } from '../../base/u64.ts';
import {
  emptyGupTestResult,
  GUP_TEST_COMMANDS,
  GUP_TEST_MAX_PAGES_TO_DUMP,
  type GupTestCommand,
  GupTestFile,
  gupTestIoctl,
  pinLongtermTestRead,
  pinLongtermTestStart,
  pinLongtermTestStop,
} from '../../kernel/consumers/gup-test.ts';
import { EACCES, EBADF } from '../../kernel/errno.ts';
import * as foll from '../../kernel/gup/foll-flags.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, word } from '../units.ts';
import type { GupTestArguments, GupTestFigures, PinLongtermArguments } from '../user-gup.ts';
import { type FlagTable, listBits, wordNumber } from './flag-words.ts';
import { openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';

const FOLL_WORDS: FlagTable = Object.fromEntries(
  Object.entries(foll).flatMap(([name, bit]) =>
    name.startsWith('FOLL_') && typeof bit === 'number' ? [[name.slice(5), bit]] : [],
  ),
);
const COMMAND_WORDS: FlagTable = Object.fromEntries(GUP_TEST_COMMANDS.map((name, at) => [name, at]));
const KEYS = ['address', 'bytes', 'pagesPerCall', 'flags', 'dumpPin', 'whichPages'] as const;

export function gupTestOpen(context: ProcessContext): Task<Outcome<number>> {
  const { task } = context;
  const call = atomically(() => {
    // Mode 0600 of root's.
    if (task.euid !== 0) return -EACCES;
    const file = new GupTestFile();
    return task.files.install(
      new OpenFile('gup_test', file, function* (current) {
        yield* pinLongtermTestStop(current, file);
      }),
    );
  });
  return systemCall(context, 'open', ['/sys/kernel/debug/gup_test'], call, countOrErrno);
}

/** Runs `body` on the file; -EBADF when it is another one. */
function* onFile(
  context: ProcessContext,
  descriptor: number,
  body: (file: GupTestFile) => Task<number>,
): Task<number> {
  const value = openFileOf(context, descriptor)?.value;
  return value instanceof GupTestFile ? yield* body(value) : -EBADF;
}

export function gupTest(
  context: ProcessContext,
  descriptor: number,
  commandWord: GupTestCommand,
  args: GupTestArguments,
): Task<Outcome<GupTestFigures>> {
  checkKeys(args, KEYS, 'gupTest');
  const command = GUP_TEST_COMMANDS[wordNumber(commandWord, COMMAND_WORDS, '', 'gupTest')] as GupTestCommand;
  const addr = word(args.address, 'gupTest: address');
  const size = word(args.bytes, 'gupTest: bytes');
  const request = {
    addr,
    size,
    nrPagesPerCall: byteCount(args.pagesPerCall ?? 1, 'gupTest: pagesPerCall'),
    gupFlags: listBits(args.flags ?? [], FOLL_WORDS, 'FOLL_', 'gupTest: flags'),
    dumpUsesPin: args.dumpPin === true,
    whichPages: (args.whichPages ?? []).slice(0, GUP_TEST_MAX_PAGES_TO_DUMP),
  };
  const result = emptyGupTestResult();
  const call = onFile(context, descriptor, () => gupTestIoctl(context.task, command, request, result));
  const shown = [`${descriptor}`, command, hexAddress(addr), `${size}`];
  return systemCall(context, 'ioctl', shown, call, (error) => {
    if (error < 0) return errnoFailure(error);
    const { getCycles, putCycles, size: bytes, whichPages, dumped } = result;
    return success({ getCycles, putCycles, bytes, pages: bytes / 4096, whichPages, dumped });
  });
}

export function pinLongtermStart(
  context: ProcessContext,
  descriptor: number,
  args: PinLongtermArguments,
): Task<Outcome<void>> {
  checkKeys(args, ['address', 'bytes', 'write', 'fast'], 'pinLongtermStart');
  const request = {
    addr: word(args.address, 'pinLongtermStart: address'),
    size: word(args.bytes, 'pinLongtermStart: bytes'),
    write: args.write === true,
    fast: args.fast === true,
  };
  const call = onFile(context, descriptor, (file) => pinLongtermTestStart(context.task, file, request));
  const shown = [`${descriptor}`, 'PIN_LONGTERM_TEST_START', hexAddress(request.addr), `${request.size}`];
  return systemCall(context, 'ioctl', shown, call, doneOrErrno);
}

export function pinLongtermStop(context: ProcessContext, descriptor: number): Task<Outcome<void>> {
  const call = onFile(context, descriptor, (file) => pinLongtermTestStop(context.task, file));
  return systemCall(context, 'ioctl', [`${descriptor}`, 'PIN_LONGTERM_TEST_STOP'], call, doneOrErrno);
}

export function pinLongtermRead(
  context: ProcessContext,
  descriptor: number,
  target: bigint,
): Task<Outcome<void>> {
  const to = word(target, 'pinLongtermRead: target');
  const call = onFile(context, descriptor, (file) => pinLongtermTestRead(context.task, file, to));
  const shown = [`${descriptor}`, 'PIN_LONGTERM_TEST_READ', hexAddress(to)];
  return systemCall(context, 'ioctl', shown, call, doneOrErrno);
}
